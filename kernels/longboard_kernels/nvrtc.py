"""CUDA C++ compiled at first use by NVRTC, which comes with torch: no compiler is asked for, no build step."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)


@cache
def compile_source(
    source: Path, name: str, shared_bytes: int, device: torch.device, least: tuple[int, int], instead: str
) -> Any:
    """The kernel `name` of `source` on `device`, with `shared_bytes` of shared memory a block; None where it cannot be had.

    It takes seconds at the first call, which must not be under capture. `least` is the compute capability that it needs. Where
    anything is missing, one warning names the reason and what does the work `instead`.
    """
    here = torch.cuda.get_device_properties(device)
    most = getattr(here, "shared_memory_per_block_optin", shared_bytes)  # a torch that does not tell finds out below
    if torch.version.hip or (here.major, here.minor) < least or most < shared_bytes:
        return None
    try:
        from torch.utils import cpp_extension

        home = cpp_extension.CUDA_HOME
        try:
            cpp_extension.CUDA_HOME = home or ""  # torch wants a toolkit for its headers; the sources include none
            with torch.cuda.device(device):
                kernel = torch.cuda._compile_kernel(source.read_text(), name)
                kernel.set_shared_memory_config(shared_bytes)
        finally:
            cpp_extension.CUDA_HOME = home
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        log.warning("%s was not compiled, %s (%s)", source.name, instead, error, extra={"device": str(device)})
        return None
    return kernel
