"""K4: causal depthwise convolution with SiLU, channel-last, with a state that carries over a cut."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, *, silu: bool = True) -> Tensor:
    """y[t] = silu(bias + sum over w of weight[w] * x[t - W + 1 + w]), each channel for itself.

    x       [B, T, C]  fp32, fp16 or bf16; the channel has stride 1, rows may be slices of a wider tensor
    weight  [C, W]     W from 2 to 4, any of these dtypes
    bias    [C]        or None
    state   [B, C, S]  the last S >= W - 1 inputs before x, oldest first; updated in place to the last S of both. None: zeros
    returns [B, T, C]  contiguous, dtype of x; sums in fp32

    Source: Gu and Dao 2023 (Mamba, arXiv:2312.00752), section 3.4; the kernel keeps tokens x channels as the projection
    leaves them, where the usual one wants them transposed.
    Held to `causal_conv_ref`: one rounding of the output.
    Cost: x read and y written once; memory-bound.
    Raises KernelInputError for a channel stride other than 1, W outside 2..4, a state that is too short.
    """
    width = weight.shape[1]
    require(2 <= width <= 4, f"The convolution is {width} wide; causal_conv takes 2 to 4.")
    require(x.stride(2) == 1, f"x has strides {x.stride()}; causal_conv needs channel stride 1. Transpose it first.")
    require(
        state is None or state.shape[2] >= width - 1,
        f"The state holds {state.shape[2] if state is not None else 0} tokens; a width of {width} needs {width - 1}.",
    )
    if not runs_triton(x):
        return causal_conv_ref(x, weight, bias, state, silu=silu)
    batch, tokens, channels = x.shape
    config = tuned.choose("causal_conv")
    rows, block = config["rows"], min(config["block"], triton.next_power_of_2(channels))
    out = torch.empty(batch, tokens, channels, dtype=x.dtype, device=x.device)
    one_program = tokens <= rows
    slots = state.shape[2] if state is not None else 0
    # The first program reads the old state and the last writes the new one: where these differ, they need two buffers.
    after = state if state is None or one_program else torch.empty_like(state)
    grid = (triton.cdiv(channels, block), triton.cdiv(tokens, rows), batch)
    _conv[grid](
        x, weight, bias if bias is not None else weight, state if state is not None else x,
        after if after is not None else x, out,
        tokens, channels, x.stride(0), x.stride(1), weight.stride(0), weight.stride(1),
        *(state.stride() if state is not None else (0, 0, 0)), *(after.stride() if after is not None else (0, 0, 0)),
        W=width, S=slots, SP=triton.next_power_of_2(max(slots, 1)), HAS_BIAS=bias is not None, SILU=silu,
        ROWS=rows if tokens > 1 else 1, BC=block, num_warps=config["num_warps"],
    )  # fmt: skip
    if state is not None and after is not None and not one_program:
        state.copy_(after)
    return out


def causal_conv_ref(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor | None, *, silu: bool = True
) -> Tensor:
    """The definition: same contract, plain PyTorch, any device."""
    batch, tokens, channels = x.shape
    width = weight.shape[1]
    before = state.float() if state is not None else x.new_zeros(batch, channels, width - 1, dtype=torch.float32)
    line = torch.cat([before, x.float().transpose(1, 2)], dim=2)
    y = torch.nn.functional.conv1d(
        line[:, :, -(tokens + width - 1) :],
        weight.float()[:, None],
        bias.float() if bias is not None else None,
        groups=channels,
    )
    if state is not None:
        state.copy_(line[:, :, -state.shape[2] :])
    return (torch.nn.functional.silu(y) if silu else y).transpose(1, 2).to(x.dtype).contiguous()


def causal_conv_cost(*, tokens: int, channels: int, batch: int = 1, itemsize: int = 2) -> Cost:
    return Cost(nbytes=2.0 * batch * tokens * channels * itemsize)


@triton.jit
def _conv(
    X, WEIGHT, BIAS, OLD, NEW, Y, T, C, xb, xt, wc, ww, ob, oc, os, nb, nc, ns,
    W: tl.constexpr, S: tl.constexpr, SP: tl.constexpr, HAS_BIAS: tl.constexpr, SILU: tl.constexpr,
    ROWS: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """ROWS tokens of BC channels. Each tap is a load of its own, shifted by one row: three of four hit the L1 cache."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    t0 = tl.program_id(1) * ROWS
    b = tl.program_id(2).to(tl.int64)
    live = c < C
    row = tl.arange(0, ROWS)
    # int64 once for the tile's corner; inside the tile 32 bits do.
    corner = X + b * xb + t0.to(tl.int64) * xt
    acc = tl.zeros((ROWS, BC), tl.float32)
    if HAS_BIAS:
        acc += tl.load(BIAS + c, mask=live, other=0.0).to(tl.float32)[None, :]
    for w in tl.static_range(W):
        tap = tl.load(WEIGHT + c * wc + w * ww, mask=live, other=0.0).to(tl.float32)
        t = t0 + row + (w - W + 1)
        ok = (t >= 0) & (t < T)
        x = tl.load(
            corner + (row + (w - W + 1))[:, None] * xt + c[None, :], mask=ok[:, None] & live[None, :], other=0.0
        )
        acc += x.to(tl.float32) * tap[None, :]
        if S > 0:
            if t0 == 0:  # what lies before the first token comes from the state; slot S + t holds time t < 0
                past = (t < 0)[:, None] & live[None, :]
                old = tl.load(OLD + b * ob + c[None, :] * oc + (S + t)[:, None] * os, mask=past, other=0.0)
                acc += old.to(tl.float32) * tap[None, :]
    if SILU:
        acc = acc / (1.0 + tl.exp(-acc))
    out = Y + (b * T + t0) * C + row[:, None] * C + c[None, :]
    tl.store(out, acc.to(Y.dtype.element_ty), mask=(t0 + row < T)[:, None] & live[None, :])
    if S > 0:
        if t0 + ROWS >= T:  # the program with the last token shifts the state: slot j holds time T - S + j
            j = tl.arange(0, SP)
            at = T - S + j
            slot = (j < S)[:, None] & live[None, :]
            new = tl.load(
                X + b * xb + at[:, None].to(tl.int64) * xt + c[None, :], mask=slot & (at >= 0)[:, None], other=0.0
            )
            old = tl.load(
                OLD + b * ob + c[None, :] * oc + (T + j)[:, None] * os, mask=slot & (at < 0)[:, None], other=0.0
            )
            kept = tl.where((at >= 0)[:, None], new.to(tl.float32), old.to(tl.float32))
            tl.debug_barrier()  # everything is read before anything of it is overwritten
            tl.store(NEW + b * nb + c[None, :] * nc + j[:, None] * ns, kept.to(NEW.dtype.element_ty), mask=slot)
