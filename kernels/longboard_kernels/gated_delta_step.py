"""K8, one token: the step of the gated delta rule that decoding takes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require
from longboard_kernels.gated_delta import SIZES, to_unit


def gated_delta_step(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor) -> Tensor:
    """h <- e^decay h;   h <- h + k (beta (v - h^T k))^T;   o = h^T q / sqrt(K), q and k scaled to unit length first.

    q, k    [B, G, K]     fp32, fp16 or bf16, stride 1 in K; G divides H
    v       [B, H, V]     any of these dtypes, stride 1 in V; K and V of 16, 32, 64 or 128
    decay   [B, H]        natural logarithm, at most 0
    beta    [B, H]        from 0 to 1
    state   [B, H, K, V]  fp32, contiguous, updated in place
    returns o [B, H, V] contiguous, dtype of q

    Source: Yang et al. 2025 (Gated DeltaNet, arXiv:2412.06464), equation 10. Held to `gated_delta_step_ref`: two roundings.
    Cost: the state read and written; memory-bound.
    Raises KernelInputError for sizes outside these, strides other than 1, a state that is not contiguous fp32.
    """
    batch, groups, size = q.shape
    heads, values = v.shape[1:]
    require(size in SIZES and values in SIZES, f"gated_delta_step takes K and V of {SIZES}, not K={size}, V={values}.")
    require(heads % groups == 0, f"{groups} key heads do not divide {heads} value heads.")
    require(
        q.stride(2) == 1 == k.stride(2) and v.stride(2) == 1, "gated_delta_step needs q, k, v with stride 1 at the end."
    )
    require(state.dtype == torch.float32 and state.is_contiguous(), "The state of a step is contiguous fp32.")
    if not runs_triton(q):
        return gated_delta_step_ref(q, k, v, decay, beta, state)
    config = tuned.choose("gated_delta_step")
    block = min(config["values"], values)
    out = torch.empty(batch, heads, values, dtype=q.dtype, device=q.device)
    _step[(values // block, heads, batch)](
        q, k, v, decay, beta, state, out, heads // groups,
        *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], *decay.stride(), *beta.stride(),
        K=size, V=values, BV=block, num_warps=config["num_warps"],
    )  # fmt: skip
    return out


def gated_delta_step_ref(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor) -> Tensor:
    """The definition: same contract, plain PyTorch, any device."""
    share = v.shape[1] // q.shape[1]
    wide_q, wide_k = (to_unit(x).repeat_interleave(share, 1) for x in (q, k))
    state.mul_(decay.float().exp()[..., None, None])
    missing = v.float() - torch.einsum("bhkv,bhk->bhv", state, wide_k)
    state.add_(wide_k[..., None] * (missing * beta.float()[..., None])[..., None, :])
    return (torch.einsum("bhkv,bhk->bhv", state, wide_q) * q.shape[-1] ** -0.5).to(q.dtype)


def gated_delta_step_cost(*, heads: int, size: int, values: int, batch: int = 1) -> Cost:
    return Cost(nbytes=2.0 * 4 * batch * heads * size * values)


@triton.jit
def _step(
    Q, K_, V_, DECAY, BETA, STATE, OUT, SHARE, qb, qh, kb, kh, vb, vh, gb, gh, bb, bh,
    K: tl.constexpr, V: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    d = tl.arange(0, K)
    e = tl.program_id(0) * BV + tl.arange(0, BV)
    place = STATE + (b * tl.num_programs(1) + h) * (K * V) + d[:, None] * V + e[None, :]
    state = tl.load(place)
    q = tl.load(Q + b * qb + (h // SHARE) * qh + d).to(tl.float32)
    k = tl.load(K_ + b * kb + (h // SHARE) * kh + d).to(tl.float32)
    v = tl.load(V_ + b * vb + h * vh + e).to(tl.float32)
    q *= tl.rsqrt(tl.sum(q * q, 0) + 1e-6) / tl.sqrt(K * 1.0)
    k *= tl.rsqrt(tl.sum(k * k, 0) + 1e-6)
    state *= tl.exp(tl.load(DECAY + b * gb + h * gh).to(tl.float32))
    missing = v - tl.sum(state * k[:, None], 0)
    state += k[:, None] * (missing * tl.load(BETA + b * bb + h * bh).to(tl.float32))[None, :]
    tl.store(place, state)
    out = tl.sum(state * q[:, None], 0)
    tl.store(OUT + (b * tl.num_programs(1) + h) * V + e, out.to(OUT.dtype.element_ty))
