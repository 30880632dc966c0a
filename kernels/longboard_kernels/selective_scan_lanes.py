"""K2's one pass for bf16 and 16 states a channel, four lanes a channel: CUDA C++ from `selective_scan.cu`, compiled at first use.

Our Triton kernel keeps all states of a channel in one lane, so one long sequence is too narrow for it: it cuts the sequence into
segments and pays each exponential twice. Where the source cannot be compiled, one warning says so and Triton takes every call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longboard_kernels.device import multiprocessors
from longboard_kernels.nvrtc import compile_source

SOURCE = Path(__file__).with_name("selective_scan.cu")
STATES, CHANNELS, THREADS = 16, 32, 256  # as the source has them: of a channel; of a block
SHARED_BYTES = 2 * 32 * (320 + 64 + 576)  # two buffers of 32 tokens
SEGMENTED_FROM = 8_192  # tokens from which Triton has segments enough for a narrow model
SHORTEST = 128  # tokens: below, the launch is all that there is, and Triton's is cheaper on the host


def fits(u: Tensor, dt: Tensor, b: Tensor, c: Tensor, z: Tensor | None, states: int) -> bool:
    """True if `scan_in_lanes` takes this call: bf16, 16 states, aligned rows of eights, a kernel, and work that suits it.

    Its time is that of one block until the card is full. So a long sequence with blocks for less than half of the card goes to
    Triton's segments, which fill it. There is no upper bound: two blocks to a multiprocessor hide each other's waits.
    """
    blocks = u.shape[0] * -(-u.shape[2] // CHANNELS)
    rows = [u, dt] if z is None else [u, dt, z]
    return (
        u.is_cuda
        and states == STATES
        and u.shape[1] >= SHORTEST
        and (u.shape[1] < SEGMENTED_FROM or 2 * blocks >= multiprocessors(u.device))
        and u.shape[2] % 8 == 0
        and all(x.dtype == torch.bfloat16 for x in (*rows, b, c))
        and all(is_aligned(x) for x in rows)
        and compile_for(u.device) is not None
    )


def scan_in_lanes(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor | None, z: Tensor | None,
    dt_bias: Tensor | None, state: Tensor | None, *, softplus: bool,
) -> Tensor:  # fmt: skip
    """`selective_scan` for a call that `fits`: one launch on the current stream, and a copy of b or c that is not aligned."""
    kernel = compile_for(u.device)
    y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    kept = state.contiguous() if state is not None else None
    arguments = list_arguments(u, dt, a, b, c, skip, z, dt_bias, kept, y, softplus=softplus)
    with torch.cuda.device(u.device):
        kernel((-(-u.shape[2] // CHANNELS), u.shape[0], 1), (THREADS, 1, 1), arguments, SHARED_BYTES)
    if state is not None and kept is not None and kept is not state:
        state.copy_(kept)
    return y


def is_aligned(x: Tensor) -> bool:
    """Rows that lie one number after the other, each from a 16-byte address, and strides that an int holds in eights."""
    strides = [x.stride(i) for i in (0, 1) if x.shape[i] > 1]
    return x.stride(2) == 1 and x.data_ptr() % 16 == 0 and all(s % 8 == 0 and s < 2**34 for s in strides)


def list_arguments(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor | None, z: Tensor | None,
    dt_bias: Tensor | None, state: Tensor | None, y: Tensor, *, softplus: bool,
) -> list[Any]:  # fmt: skip
    """The kernel's arguments in its order. A tensor that is not there is named by its flag, and another stands in for it."""
    b, c = (x if is_aligned(x) else x.clone(memory_format=torch.contiguous_format) for x in (b, c))
    flags = [softplus, z is not None, skip is not None, dt_bias is not None, state is not None]
    z, skip, dt_bias, state = (u if z is None else z), *(a if x is None else x for x in (skip, dt_bias, state))
    a, skip, dt_bias = (x.float().contiguous() for x in (a, skip, dt_bias))
    strides = [x.stride(i) // 8 if x.shape[i] > 1 else 0 for x in (u, dt, z, b, c) for i in (0, 1)]
    bits = sum(1 << i for i, is_set in enumerate(flags) if is_set)
    return [u, dt, z, b, c, a, skip, dt_bias, y, state, u.shape[1], u.shape[2], *strides, bits]


def compile_for(device: torch.device) -> Any:
    return compile_source(SOURCE, "scan_by_four_lanes", SHARED_BYTES, device, (8, 0), "Triton scans instead")
