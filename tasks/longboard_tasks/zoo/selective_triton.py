"""The kernels behind `selective.selective_scan`: one pass over the tokens forward, one backward.

A program owns one sequence and BD channels. It takes a tile of tokens at a time and scans them in parallel (the recurrence is
associative: first a, u then a', u' is a a', a' u + u'); the state goes on from tile to tile in registers.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BD = 8  # channels of a program


@triton.jit
def _then(a, u, a_next, u_next):
    return a * a_next, a_next * u + u_next


@triton.jit
def _forward(x, dt, a, b, c, y, starts, T, D: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, TILE: tl.constexpr):
    row, d, n = tl.program_id(0), tl.program_id(1) * BD + tl.arange(0, BD), tl.arange(0, N)
    place = tl.arange(0, TILE)
    rate = tl.load(a + d[:, None] * N + n[None, :])  # [BD, N]
    state = tl.zeros((BD, N), tl.float32)
    for tile in range(0, T // TILE):
        at = row * T + tile * TILE + place
        channels, states = at[:, None] * D + d[None, :], at[:, None] * N + n[None, :]
        tl.store(starts + ((row * (T // TILE) + tile) * D + d[:, None]) * N + n[None, :], state)
        dts, xs = tl.load(dt + channels), tl.load(x + channels).to(tl.float32)  # [TILE, BD]
        bs, cs = tl.load(b + states), tl.load(c + states)  # [TILE, N]
        decay = tl.exp(dts[:, :, None] * rate[None, :, :])
        added = (dts * xs)[:, :, None] * bs[:, None, :]
        decay, added = tl.associative_scan((decay, added), 0, _then)
        held = added + decay * state[None, :, :]  # [TILE, BD, N]
        tl.store(y + channels, tl.sum(held * cs[:, None, :], 2))
        state = tl.sum(tl.where(place[:, None, None] == TILE - 1, held, 0.0), 0)


@triton.jit
def _backward(
    x, dt, a, b, c, starts, dy, dx, ddt, da, db, dc, T, rows,
    D: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    row, block = tl.program_id(0), tl.program_id(1)
    d, n, place = block * BD + tl.arange(0, BD), tl.arange(0, N), tl.arange(0, TILE)
    rate = tl.load(a + d[:, None] * N + n[None, :])
    rate_grad = tl.zeros((BD, N), tl.float32)
    carried = tl.zeros((BD, N), tl.float32)  # gradient of the state at the next tile's first token
    for back in range(0, T // TILE):
        tile = T // TILE - 1 - back
        at = row * T + tile * TILE + place
        channels, states = at[:, None] * D + d[None, :], at[:, None] * N + n[None, :]
        dts, xs = tl.load(dt + channels), tl.load(x + channels).to(tl.float32)
        bs, cs = tl.load(b + states), tl.load(c + states)
        dys = tl.load(dy + channels).to(tl.float32)
        start = tl.load(starts + ((row * (T // TILE) + tile) * D + d[:, None]) * N + n[None, :])
        added = (dts * xs)[:, :, None] * bs[:, None, :]
        decays, sums = tl.associative_scan((tl.exp(dts[:, :, None] * rate[None, :, :]), added), 0, _then)
        held = sums + decays * start[None, :, :]
        # The same recurrence from the end: what token t passes back decays by the step of token t + 1.
        last = tile * TILE + place[:, None] == T - 1
        ahead = tl.load(dt + channels + D, mask=~last, other=0.0)
        flow = (tl.exp(ahead[:, :, None] * rate[None, :, :]), dys[:, :, None] * cs[:, None, :])
        decays, sums = tl.associative_scan(flow, 0, _then, reverse=True)
        grad = sums + decays * carried[None, :, :]  # of the states, [TILE, BD, N]
        carried = tl.sum(tl.where(place[:, None, None] == 0, grad, 0.0), 0)
        # exp(dt a) times the state before is the state without what was added.
        through_decay = grad * (held - added)
        rate_grad += tl.sum(through_decay * dts[:, :, None], 0)
        into = tl.sum(grad * bs[:, None, :], 2)  # [TILE, BD], of dt x
        tl.store(dx + channels, into * dts)
        tl.store(ddt + channels, into * xs + tl.sum(through_decay * rate[None, :, :], 2))
        mine = block * rows * T * N + states  # a row of partial sums for each block of channels: no atomics, one order
        tl.store(db + mine, tl.sum(grad * (dts * xs)[:, :, None], 1))
        tl.store(dc + mine, tl.sum(held * dys[:, :, None], 1))
    tl.store(da + (row * D + d[:, None]) * N + n[None, :], rate_grad)


class SelectiveScan(torch.autograd.Function):
    """`selective.selective_scan_ref` and its gradient. T a multiple of `tile`, D of BD, `tile` and N powers of two; b, c fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, tile: int) -> Tensor:
        rows, T, D = x.shape
        N = a.shape[1]
        if T % tile or D % BD or N & (N - 1):
            raise ValueError(f"T={T}, D={D}, N={N}: expected multiples of {tile} and {BD}, and a power of two.")
        x, dt, a, b, c = (part.contiguous() for part in (x, dt, a, b, c))
        y, starts = torch.empty_like(x), a.new_empty(rows, T // tile, D, N)
        _forward[(rows, D // BD)](x, dt, a, b, c, y, starts, T, D, N, BD, tile, num_warps=4)
        ctx.save_for_backward(x, dt, a, b, c, starts)
        ctx.tile = tile
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, a, b, c, starts = ctx.saved_tensors
        (rows, T, D), N = x.shape, a.shape[1]
        dx, ddt = torch.empty_like(x), torch.empty_like(dt)
        da = a.new_empty(rows, D, N)
        db, dc = a.new_empty(2, D // BD, rows, T, N)
        dy = grads[0].contiguous()
        ask = (x, dt, a, b, c, starts, dy, dx, ddt, da, db, dc, T, rows, D, N, BD, ctx.tile)
        _backward[(rows, D // BD)](*ask, num_warps=4)
        return dx, ddt, da.sum(0), db.sum(0), dc.sum(0), None
