"""K3's outputs for bf16, heads of 64 and 128 states: CUDA C++ from `ssd_outputs.cu`, compiled at first use.

Triton fetches C, C B^T and the tokens before it anew for every block of rows of every head: four times what this needs of the L2
cache. A block of this one goes from head to head of a chunk and keeps what they share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longboard_kernels.device import multiprocessors
from longboard_kernels.nvrtc import compile_source

SOURCE = Path(__file__).with_name("ssd_outputs.cu")
CHUNK, WIDTH, STATES, THREADS = 256, 64, 128, 256  # as the source has them
SHARED_BYTES = 136 * 512 + 3 * (256 * 128 + 64 * 256 + 2 * 1024) + 6 * 8  # products, three stages, barriers


def fits(x: Tensor, b: Tensor, c: Tensor, chunk: int) -> bool:
    """True if `add_outputs` takes this call: bf16, sizes as in the source, aligned rows of eights, and a kernel."""
    return (
        x.is_cuda
        and (chunk, x.shape[3], b.shape[3]) == (CHUNK, WIDTH, STATES)
        and x.dtype == b.dtype == c.dtype == torch.bfloat16
        and all(is_aligned(t) for t in (x, c))
        and compile_for(x.device) is not None
    )


def add_outputs(
    x: Tensor, c: Tensor, products: Tensor, between: Tensor, steps: Tensor, sums: Tensor, skip: Tensor | None, y: Tensor
) -> None:
    """Write y for a call that `fits`, in one launch on the current stream.

    x [B, T, H, 64], c [B, T, G, 128] bf16; products C B^T [B, chunks, G, 256, 256], between [B, chunks, H, 64, 128] bf16; steps
    and sums (of dt a log2 e in each chunk) [B, H, 256 chunks] fp32; skip [H] or None; y [B, T, H, 64] bf16. The last five
    contiguous.
    """
    pairs = between.shape[0] * between.shape[1] * between.shape[2]
    with torch.cuda.device(x.device):
        compile_for(x.device)(
            (min(multiprocessors(x.device), pairs), 1, 1),
            (THREADS, 1, 1),
            list_arguments(x, c, products, between, steps, sums, skip, y),
            SHARED_BYTES,
        )


def is_aligned(t: Tensor) -> bool:
    """Rows that lie one number after the other, each from a 16-byte address, and strides that an int holds in eights."""
    strides = [t.stride(i) for i in (0, 1, 2) if t.shape[i] > 1]
    return t.stride(3) == 1 and t.data_ptr() % 16 == 0 and all(s % 8 == 0 and s < 2**34 for s in strides)


def list_arguments(
    x: Tensor, c: Tensor, products: Tensor, between: Tensor, steps: Tensor, sums: Tensor, skip: Tensor | None, y: Tensor
) -> list[Any]:
    """The kernel's arguments in its order. Steps stand in for a skip that is not there."""
    batch, tokens, heads, _ = x.shape
    groups, chunks = products.shape[2], products.shape[1]
    strides = [t.stride(i) // 8 if t.shape[i] > 1 else 0 for t in (x, c) for i in (0, 1, 2)]
    given = steps if skip is None else skip.float().contiguous()
    sizes = [batch, tokens, heads, heads // groups, groups, chunks]
    return [x, c, products, between, steps, sums, given, y, *sizes, *strides, int(skip is not None)]


def compile_for(device: torch.device) -> Any:
    return compile_source(SOURCE, "ssd_outputs", SHARED_BYTES, device, (9, 0), "Triton makes K3's outputs instead")
