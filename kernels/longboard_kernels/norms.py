"""K4: the norms around a block in one pass: residual add with RMSNorm, and RMSNorm with a SiLU gate."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require

WIDEST = 16384  # one row is held in registers


def add_rms_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, *, out_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """h = residual + x;  y = weight * h / rms(h). One read of each, one write of each.

    x         [..., E]  fp32, fp16 or bf16, rows with stride 1
    residual  [..., E]  any of these, contiguous; None: h is x
    weight    [E]
    returns   y [..., E] in `out_dtype` (default: dtype of weight), h [..., E] in the dtype of `residual` (or x itself)

    h is rounded to its dtype before it is normed, as a model does that stores it; sums in fp32.
    Source: Zhang and Sennrich 2019 (RMSNorm, arXiv:1910.07467).
    Held to `add_rms_norm_ref`: two roundings of the output. Cost: four passes over a row; memory-bound.
    Raises KernelInputError for rows wider than 16384 or without stride 1.
    """
    width = x.shape[-1]
    require(width <= WIDEST, f"A row has {width} numbers; add_rms_norm takes up to {WIDEST}.")
    dtype = out_dtype or weight.dtype
    if not runs_triton(x):
        return add_rms_norm_ref(x, residual, weight, eps, out_dtype=dtype)
    rows = x.reshape(-1, width)
    require(rows.stride(1) == 1, f"x has strides {x.stride()}; add_rms_norm needs rows with stride 1.")
    y = torch.empty(x.shape, dtype=dtype, device=x.device)
    h = torch.empty(x.shape, dtype=residual.dtype, device=x.device) if residual is not None else x
    before = residual.contiguous() if residual is not None else x
    block = triton.next_power_of_2(width)
    _add_rms_norm[(rows.shape[0],)](
        rows, before, weight, y, h, eps, rows.stride(0), width,
        HAS_RESIDUAL=residual is not None, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return y, h


def add_rms_norm_ref(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, *, out_dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """The definition: same contract, plain PyTorch, any device."""
    h = x if residual is None else (residual.float() + x.float()).to(residual.dtype)
    wide = h.float()
    y = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * weight.float()
    return y.to(out_dtype or weight.dtype), h


def gated_rms_norm(
    x: Tensor, gate: Tensor | None, weight: Tensor, eps: float, *, group: int = 0, norm_first: bool = False
) -> Tensor:
    """weight * rmsnorm(x * silu(gate)), in groups; or weight * rmsnorm(x) * silu(gate) if `norm_first`.

    x, gate  [..., E]  rows with stride 1, may be slices of a wider tensor; gate None: no gate
    weight   [E]
    group    numbers that share a root mean square; 0: the whole row. A power of two or a divisor of E that fits the registers
    returns  [..., E]  contiguous, dtype of x; sums in fp32

    Source: Dao and Gu 2024 (Mamba-2, arXiv:2405.21060), section 7.1; groups as in its tensor-parallel form.
    Held to `gated_rms_norm_ref`: two roundings. Cost: two reads, one write; memory-bound.
    Raises KernelInputError for a group that does not divide E or is wider than 16384.
    """
    width = x.shape[-1]
    group = group or width
    require(width % group == 0, f"Groups of {group} do not divide a row of {width}.")
    require(group <= WIDEST, f"A group has {group} numbers; gated_rms_norm takes up to {WIDEST}.")
    if not runs_triton(x):
        return gated_rms_norm_ref(x, gate, weight, eps, group=group, norm_first=norm_first)
    rows = x.reshape(-1, width)
    gates = gate.reshape(-1, width) if gate is not None else rows
    require(rows.stride(1) == 1 == gates.stride(1), "gated_rms_norm needs rows with stride 1.")
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    block = triton.next_power_of_2(group)
    _gated_rms_norm[(rows.shape[0], width // group)](
        rows, gates, weight, out, eps, rows.stride(0), gates.stride(0), width, group,
        HAS_GATE=gate is not None, NORM_FIRST=norm_first, BLOCK=block, num_warps=_warps(block),
    )  # fmt: skip
    return out


def gated_rms_norm_ref(
    x: Tensor, gate: Tensor | None, weight: Tensor, eps: float, *, group: int = 0, norm_first: bool = False
) -> Tensor:
    """The definition: same contract, plain PyTorch, any device."""
    wide = x.float()
    gated = torch.nn.functional.silu(gate.float()) if gate is not None else 1.0
    if not norm_first:
        wide = wide * gated
    parts = wide.unflatten(-1, (-1, group or x.shape[-1]))
    normed = (parts * torch.rsqrt(parts.pow(2).mean(-1, keepdim=True) + eps)).flatten(-2) * weight.float()
    return (normed * gated if norm_first else normed).to(x.dtype)


def add_rms_norm_cost(*, rows: int, width: int, itemsize: int = 2, residual_itemsize: int = 4) -> Cost:
    return Cost(nbytes=float(rows * width * (2 * itemsize + 2 * residual_itemsize)))


def gated_rms_norm_cost(*, rows: int, width: int, itemsize: int = 2) -> Cost:
    return Cost(nbytes=3.0 * rows * width * itemsize)


def _warps(block: int) -> int:
    """Warps such that a thread holds 8 or 16 numbers of a row."""
    return min(max(block // tuned.choose("norms")["per_warp"], 1), 16)


@triton.jit
def _add_rms_norm(X, BEFORE, WEIGHT, Y, H, eps, xt, E, HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, BLOCK)
    live = e < E
    h = tl.load(X + row * xt + e, mask=live, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        h += tl.load(BEFORE + row * E + e, mask=live, other=0.0).to(tl.float32)
        kept = h.to(H.dtype.element_ty)
        tl.store(H + row * E + e, kept, mask=live)
        h = kept.to(tl.float32)
    scale = tl.rsqrt(tl.sum(h * h, 0) / E + eps)
    w = tl.load(WEIGHT + e, mask=live, other=0.0).to(tl.float32)
    tl.store(Y + row * E + e, (h * scale * w).to(Y.dtype.element_ty), mask=live)


@triton.jit
def _gated_rms_norm(
    X, GATE, WEIGHT, Y, eps, xt, gt, E, GROUP, HAS_GATE: tl.constexpr, NORM_FIRST: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    inside = tl.arange(0, BLOCK)
    live = inside < GROUP
    e = tl.program_id(1) * GROUP + inside
    x = tl.load(X + row * xt + e, mask=live, other=0.0).to(tl.float32)
    if HAS_GATE:
        g = tl.load(GATE + row * gt + e, mask=live, other=0.0).to(tl.float32)
        g = g / (1.0 + tl.exp(-g))
        if not NORM_FIRST:
            x = x * g
    y = x * tl.rsqrt(tl.sum(x * x, 0) / GROUP + eps)
    y = y * tl.load(WEIGHT + e, mask=live, other=0.0).to(tl.float32)
    if HAS_GATE:
        if NORM_FIRST:
            y = y * g
    tl.store(Y + row * E + e, y.to(Y.dtype.element_ty), mask=live)
