"""Where a call runs: Triton on a CUDA tensor, the plain definition on any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

_interpreting = False


def runs_triton(tensor: Tensor) -> bool:
    """True if a call on `tensor` launches a kernel: on CUDA, and inside `interpreted()` also on a CPU."""
    return tensor.is_cuda or _interpreting


@contextmanager
def interpreted() -> Iterator[None]:
    """Run kernels on CPU tensors in Triton's interpreter. TRITON_INTERPRET=1 has to be set before Triton is imported."""
    global _interpreting
    before, _interpreting = _interpreting, True
    try:
        yield
    finally:
        _interpreting = before


@cache
def multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a CUDA device; of any other 4, so that the interpreter has several workers to divide work among."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
