"""K5: rotary positions on queries and keys, and the write into the KV cache, in one pass and without `cat`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require


def rope_and_store(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, start: Tensor | int,
    *, pages: Tensor | None = None,
) -> None:  # fmt: skip
    """Rotate q in place; rotate k and put it, with v, into the cache at tokens start .. start + T - 1.

        (a, b) -> (a cos - b sin, b cos + a sin), a and b the halves of the first R channels; the others stay

    q       [B, T, H, D]    as the projection leaves it; D with stride 1; rotated in place
    k, v    [B, T, HKV, D]  D with stride 1; left as they are
    cos,sin [B or 1, T, R]  each half twice, as transformers makes them; R even and at most D. YaRN's factor stands in them
    keys, values            [B, HKV, room, D] contiguous in D; or with `pages`: [pages, HKV, size, D]
    start   tokens that the cache holds already; a tensor [1] on the device (int64) is read there: one CUDA graph serves a
            growing cache. The caller has to make room; nothing is checked against it on the device.
    pages   [B, n] int32: page of each run of `size` tokens

    Products in fp32, one rounding, where transformers in bf16 rounds three times.
    Source: Su et al. 2021 (RoFormer, arXiv:2104.09864), halves as in GPT-NeoX; Peng et al. 2023 (YaRN, arXiv:2309.00071).
    Held to `rope_and_store_ref`: one rounding. Cost: every number read once and written once; memory-bound.
    Raises KernelInputError for shapes that do not belong together or a stride other than 1 in D.
    """
    size, rotary = q.shape[3], cos.shape[-1]
    require(q.stride(3) == k.stride(3) == v.stride(3) == 1, "rope_and_store needs q, k, v with stride 1 in D.")
    require(rotary % 2 == 0 and rotary <= size, f"cos has {rotary} channels; the heads have {size}.")
    require(keys.shape[1] == k.shape[2] and keys.shape[3] == size, f"The cache {tuple(keys.shape)} is for other heads.")
    require(keys.stride() == values.stride() and keys.stride(3) == 1, "keys and values need equal strides, 1 in D.")
    if not runs_triton(q):
        rope_and_store_ref(q, k, v, cos, sin, keys, values, start, pages=pages)
        return
    batch, tokens, heads, _ = q.shape
    kv_heads = k.shape[2]
    at = start if isinstance(start, Tensor) else torch.full((1,), start, dtype=torch.int64, device=q.device)
    config = tuned.choose("rope")
    rows = config["rows"] if tokens > 1 else 1
    block = triton.next_power_of_2(size)
    _rope[(triton.cdiv(tokens, rows), heads + 2 * kv_heads, batch)](
        q, k, v, cos, sin, keys, values, at, pages if pages is not None else at, tokens,
        q.stride(0), q.stride(1), q.stride(2), k.stride(0), k.stride(1), k.stride(2), v.stride(0), v.stride(1), v.stride(2),
        cos.stride(0) if cos.shape[0] > 1 else 0, cos.stride(1), keys.stride(0), keys.stride(1), keys.stride(2),
        pages.stride(0) if pages is not None else 0,
        H=heads, HKV=kv_heads, D=size, R=rotary, PAGE=keys.shape[2] if pages is not None else 0,
        ROWS=rows, BD=block, num_warps=config["num_warps"],
    )  # fmt: skip


def rope_and_store_ref(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, start: Tensor | int,
    *, pages: Tensor | None = None,
) -> None:  # fmt: skip
    """The definition: same contract, plain PyTorch, any device."""
    first, tokens = int(start), q.shape[1]
    turned = _rotate(k, cos, sin)
    q.copy_(_rotate(q, cos, sin))
    if pages is None:
        keys[:, :, first : first + tokens].copy_(turned.transpose(1, 2))
        values[:, :, first : first + tokens].copy_(v.transpose(1, 2))
        return
    size = keys.shape[2]
    for row in range(q.shape[0]):
        for t in range(tokens):
            page, slot = divmod(first + t, size)
            keys[int(pages[row, page]), :, slot] = turned[row, t]
            values[int(pages[row, page]), :, slot] = v[row, t]


def rope_and_store_cost(
    *, tokens: int, heads: int, kv_heads: int, size: int, batch: int = 1, itemsize: int = 2
) -> Cost:
    return Cost(nbytes=2.0 * batch * tokens * (heads + 2 * kv_heads) * size * itemsize)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, T, H, D], cos and sin [B or 1, T, R]."""
    rotary = cos.shape[-1]
    part = x[..., :rotary].float()
    a, b = part.chunk(2, dim=-1)
    turned = part * cos.float()[:, :, None] + torch.cat([-b, a], dim=-1) * sin.float()[:, :, None]
    return torch.cat([turned.to(x.dtype), x[..., rotary:]], dim=-1)


@triton.jit
def _rope(
    Q, K, V, COS, SIN, KEYS, VALUES, START, PAGES, T, qb, qt, qh, kb, kt, kh, vb, vt, vh, cb, ct, sb, sh, st, pb,
    H: tl.constexpr, HKV: tl.constexpr, D: tl.constexpr, R: tl.constexpr, PAGE: tl.constexpr,
    ROWS: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """ROWS tokens of one head; program axis 1 goes over query heads, key heads, value heads."""
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    head = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    d = tl.arange(0, BD)
    live = (t < T)[:, None] & (d < D)[None, :]
    wide = t[:, None].to(tl.int64)
    if head < H:
        source = Q + b * qb + head * qh + wide * qt
        target = source
    else:
        place = tl.load(START) + t
        g = head - H
        if head < H + HKV:
            source = K + b * kb + g * kh + wide * kt
            target = KEYS + g * sh
        else:
            g = g - HKV
            source = V + b * vb + g * vh + wide * vt
            target = VALUES + g * sh
        if PAGE > 0:
            page = tl.load(PAGES + b * pb + place // PAGE, mask=t < T, other=0).to(tl.int64)
            target = target + (page * sb + (place % PAGE) * st)[:, None]
        else:
            target = target + (b * sb + place * st)[:, None]
    x = tl.load(source + d[None, :], mask=live, other=0.0)
    if head < H + HKV:
        # The partner of channel d sits half a rotation away; the load hits the cache line that x came with.
        turning = live & (d < R)[None, :]
        low = d < R // 2
        partner = tl.load(source + tl.where(low, d + R // 2, d - R // 2)[None, :], mask=turning, other=0.0).to(
            tl.float32
        )
        angle = b * cb + wide * ct + d[None, :]
        c = tl.load(COS + angle, mask=turning, other=1.0).to(tl.float32)
        s = tl.load(SIN + angle, mask=turning, other=0.0).to(tl.float32)
        y = x.to(tl.float32) * c + tl.where(low[None, :], -partner, partner) * s
        if head < H:
            tl.debug_barrier()  # in place: both halves are read before either is overwritten
        x = y.to(x.dtype)
    tl.store(target + d[None, :], x, mask=live)
