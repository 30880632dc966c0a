"""K3, one token: the step of Mamba-2's recurrence that decoding takes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require
from longboard_kernels.ssd import FOREVER


def ssd_step(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor, skip: Tensor | None = None,
    dt_bias: Tensor | None = None, *, softplus: bool = True, dt_limit: tuple[float, float] = FOREVER,
) -> Tensor:  # fmt: skip
    """h <- exp(dt a) h + dt x B^T;   y = h C + skip x, for one token.

    x        [B, H, P]     fp32, fp16 or bf16, stride 1 in P
    dt       [B, H]
    a        [H]           negative
    b, c     [B, G, N]     stride 1 in N; G divides H
    state    [B, H, P, N]  fp32, contiguous, updated in place
    skip, dt_bias [H] or None; dt_limit as in `ssd_scan`
    returns  y [B, H, P], dtype of x

    Source: Dao and Gu 2024 (Mamba-2, arXiv:2405.21060), the recurrent form. Held to `ssd_step_ref`: two roundings.
    Cost: the state read and written; memory-bound. Raises KernelInputError for a state that is not contiguous fp32.
    """
    batch, heads, size = x.shape
    groups, states = b.shape[1:]
    require(state.dtype == torch.float32 and state.is_contiguous(), "The state of a step is contiguous fp32.")
    require(heads % groups == 0, f"{groups} groups do not divide {heads} heads.")
    if not runs_triton(x):
        return ssd_step_ref(x, dt, a, b, c, state, skip, dt_bias, softplus=softplus, dt_limit=dt_limit)
    y = torch.empty(batch, heads, size, dtype=x.dtype, device=x.device)
    block = min(triton.next_power_of_2(size), max(2048 // triton.next_power_of_2(states), 1))
    _ssd_step[(triton.cdiv(size, block), heads, batch)](
        x, dt, a, b, c, state, skip if skip is not None else a, dt_bias if dt_bias is not None else a, y, *dt_limit,
        size, heads, heads // groups, *x.stride()[:2], *dt.stride(), *b.stride()[:2], *c.stride()[:2],
        NS=states, N=triton.next_power_of_2(states), BP=block, HAS_SKIP=skip is not None, HAS_BIAS=dt_bias is not None,
        SOFTPLUS=softplus, num_warps=4,
    )  # fmt: skip
    return y


def ssd_step_ref(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor, skip: Tensor | None = None,
    dt_bias: Tensor | None = None, *, softplus: bool = True, dt_limit: tuple[float, float] = FOREVER,
) -> Tensor:  # fmt: skip
    """The definition: same contract, plain PyTorch, any device."""
    step = dt.float() + (dt_bias.float() if dt_bias is not None else 0.0)
    step = (torch.nn.functional.softplus(step) if softplus else step).clamp(*dt_limit)
    share = x.shape[1] // b.shape[1]
    wide, b, c = x.float(), b.float().repeat_interleave(share, 1), c.float().repeat_interleave(share, 1)
    decay = torch.exp(step * a.float())[..., None, None]
    state.mul_(decay).add_((wide * step[..., None])[..., None] * b[:, :, None])
    y = torch.einsum("bhpn,bhn->bhp", state, c)
    return (y + (wide * skip.float()[:, None] if skip is not None else 0.0)).to(x.dtype)


def ssd_step_cost(*, heads: int, size: int, states: int, batch: int = 1) -> Cost:
    return Cost(nbytes=2.0 * 4 * batch * heads * size * states)


@triton.jit
def _ssd_step(
    X, DT, A, B, C, STATE, SKIP, BIAS, Y, LEAST, MOST, P, H, SHARE, xb, xh, db, dh, bb, bg, cb, cg,
    NS: tl.constexpr, N: tl.constexpr, BP: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    h = tl.program_id(1)
    row = tl.program_id(2).to(tl.int64)
    n = tl.arange(0, N)
    live = p < P
    step = tl.load(DT + row * db + h * dh).to(tl.float32)
    if HAS_BIAS:
        step += tl.load(BIAS + h).to(tl.float32)
    if SOFTPLUS:
        step = tl.where(step > 20.0, step, tl.log(1.0 + tl.exp(step)))
    step = tl.minimum(tl.maximum(step, LEAST), MOST)
    x = tl.load(X + row * xb + h * xh + p, mask=live, other=0.0).to(tl.float32)
    b = tl.load(B + row * bb + (h // SHARE) * bg + n, mask=n < NS, other=0.0).to(tl.float32)
    c = tl.load(C + row * cb + (h // SHARE) * cg + n, mask=n < NS, other=0.0).to(tl.float32)
    place = STATE + ((row * H + h) * P + p)[:, None] * NS + n[None, :]
    own = live[:, None] & (n < NS)[None, :]
    state = tl.load(place, mask=own, other=0.0)
    state = state * tl.exp(step * tl.load(A + h).to(tl.float32)) + (x * step)[:, None] * b[None, :]
    tl.store(place, state, mask=own)
    y = tl.sum(state * c[None, :], 1)
    if HAS_SKIP:
        y += x * tl.load(SKIP + h).to(tl.float32)
    tl.store(Y + (row * H + h) * P + p, y.to(Y.dtype.element_ty), mask=live)
