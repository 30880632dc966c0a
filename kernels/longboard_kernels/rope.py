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
    # One token: a program a head, or decoding waits for one program's loop. Many: the angles are read once for several heads.
    rows, group = (config["rows"], config["heads"]) if tokens > 1 else (1, 1)
    _rope[(triton.cdiv(tokens, rows), triton.cdiv(heads + 2 * kv_heads, group), batch)](
        q, k, v, cos, sin, keys, values, at, pages if pages is not None else at, tokens,
        q.stride(0), q.stride(1), q.stride(2), k.stride(0), k.stride(1), k.stride(2), v.stride(0), v.stride(1), v.stride(2),
        cos.stride(0) if cos.shape[0] > 1 else 0, cos.stride(1), keys.stride(0), keys.stride(1), keys.stride(2),
        pages.stride(0) if pages is not None else 0,
        H=heads, HKV=kv_heads, D=size, HALF=rotary // 2, PAGE=keys.shape[2] if pages is not None else 0, ROWS=rows, GROUP=group,
        BH=triton.next_power_of_2(max(rotary // 2, 1)), BR=triton.next_power_of_2(max(size - rotary, 1)),
        BD=triton.next_power_of_2(size), num_warps=config["num_warps"],
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
    H: tl.constexpr, HKV: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr, PAGE: tl.constexpr,
    ROWS: tl.constexpr, GROUP: tl.constexpr, BH: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """ROWS tokens of GROUP heads, counted over query heads, key heads, value heads. BH, BR, BD: half of what turns, what does
    not turn, and all of a head, as powers of two."""
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    b = tl.program_id(2).to(tl.int64)
    ok = t < T
    wide = t[:, None].to(tl.int64)
    low = tl.arange(0, BH)[None, :]
    turning = ok[:, None] & (low < HALF)
    # Both halves of the angles are equal: the first serves for both halves of a head.
    angle = b * cb + wide * ct + low
    c = tl.load(COS + angle, mask=turning, other=1.0).to(tl.float32)
    s = tl.load(SIN + angle, mask=turning, other=0.0).to(tl.float32)
    place = tl.load(START) + t
    if PAGE > 0:
        page = tl.load(PAGES + b * pb + place // PAGE, mask=ok, other=0).to(tl.int64)
        slot = (page * sb + (place % PAGE) * st)[:, None]
    else:
        slot = (b * sb + place * st)[:, None]
    for head in tl.range(tl.program_id(1) * GROUP, tl.minimum(tl.program_id(1) * GROUP + GROUP, H + 2 * HKV)):
        if head < H + HKV:
            if head < H:
                source = Q + b * qb + head * qh + wide * qt
                target = source
            else:
                source = K + b * kb + (head - H) * kh + wide * kt
                target = KEYS + (head - H) * sh + slot
            x = tl.load(source + low, mask=turning, other=0.0)
            y = tl.load(source + HALF + low, mask=turning, other=0.0)
            first = x.to(tl.float32) * c - y.to(tl.float32) * s
            second = y.to(tl.float32) * c + x.to(tl.float32) * s
            tl.store(target + low, first.to(x.dtype), mask=turning)
            tl.store(target + HALF + low, second.to(x.dtype), mask=turning)
            if 2 * HALF < D:
                if head >= H:
                    rest = 2 * HALF + tl.arange(0, BR)[None, :]
                    left = tl.load(source + rest, mask=ok[:, None] & (rest < D), other=0.0)
                    tl.store(target + rest, left, mask=ok[:, None] & (rest < D))
        else:
            d = tl.arange(0, BD)[None, :]
            whole = ok[:, None] & (d < D)
            held = tl.load(V + b * vb + (head - H - HKV) * vh + wide * vt + d, mask=whole, other=0.0)
            tl.store(VALUES + (head - H - HKV) * sh + slot + d, held, mask=whole)
