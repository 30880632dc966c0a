"""K1: attention of one new token over a long cache, with the work cut into equal runs whatever the lengths (stream-K)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import multiprocessors, runs_triton
from longboard_kernels.errors import KernelInputError, require
from longboard_kernels.quantised import GROUP, QuantisedKV, dequantise

LEAST_ROWS = 16  # of a matrix product
# Four bytes at a time; tests/kernels/test_truncation.py runs these on every byte.
BYTES_ASM = tl.constexpr(
    "{ .reg .b32 u; xor.b32 u, $2, 0x80808080; prmt.b32 $0, u, 0x64646464, 0x4140; prmt.b32 $1, u, 0x64646464, 0x4342;"
    " mov.b32 u, 0x64806480; sub.f16x2 $0, $0, u; sub.f16x2 $1, $1, u; }"
)
NIBBLES_ASM = tl.constexpr(
    "{ .reg .b32 a, b, c, d; prmt.b32 a, $4, 0, 0x4140; prmt.b32 b, $4, 0, 0x4342; mov.b32 c, 0x64006400;"
    " lop3.b32 $2, a, 0x00F000F0, c, 0xEA; lop3.b32 $3, b, 0x00F000F0, c, 0xEA; shl.b32 a, a, 1; shl.b32 b, b, 1;"
    " lop3.b32 $0, a, 0x001E001E, c, 0xEA; lop3.b32 $1, b, 0x001E001E, c, 0xEA; mov.b32 c, 0x640F640F;"
    " sub.f16x2 $0, $0, c; sub.f16x2 $1, $1, c; mov.b32 c, 0x30003000; mov.b32 d, 0xD878D878;"
    " fma.rn.f16x2 $2, $2, c, d; fma.rn.f16x2 $3, $3, c, d; }"
)


def decode_attention(
    q: Tensor, keys: Tensor | QuantisedKV, values: Tensor | None, lengths: Tensor, *, pages: Tensor | None = None,
    sinks: int = 0, window: int = 0, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """softmax(q K^T scale) V for one query a head, over the first `lengths` tokens of each row.

    q        [B, H, D]            fp16 or bf16 (fp32 in the interpreter); D a power of two, 16 to 256
    keys     [B, HKV, room, D]    dtype of q, D with stride 1; or a QuantisedKV (then `values` is None)
    values   [B, HKV, room, D]    strides of `keys`
    lengths  [B] int32 on the device, each at least 1: one CUDA graph serves a growing cache
    pages    [B, n] int32: keys and values are [pages, HKV, size, D]; a quantised page is a group of 128
    sinks, window   tokens at the beginning and at the end that are seen; window 0: all
    returns  [B, H, D], dtype of q

    The tiles of all rows and heads lie end to end; each of W programs takes a T-th of W of them, so a batch of unequal rows is as
    fast as an equal one; a second, small launch puts the parts of a head together. Codes are turned into numbers exactly before
    a product and scales stand on q and p: no constant rides through a dot (tensor cores truncate their sums).
    Source: Sanovar et al. 2024 (LeanAttention, arXiv:2405.10480); sinks and window: Xiao et al. 2024 (arXiv:2309.17453).
    Held to `decode_attention_ref`: 4e-3 in bf16 and over an 8-bit cache, 6e-3 over a 4-bit one, at every length to 1M.
    Cost: the cache once; memory-bound. Raises KernelInputError for D or a batch above 1024 that the tiles cannot hold.
    """
    quantised = isinstance(keys, QuantisedKV)
    strides: tuple[int, ...] = (0, 0, 0)
    batch, heads, size = q.shape
    first = keys.k_codes if isinstance(keys, QuantisedKV) else keys
    kv_heads = first.shape[1]
    require(size in (16, 32, 64, 128, 256), f"decode_attention takes D of 16 to 256, a power of two, not {size}.")
    require(heads % kv_heads == 0, f"{kv_heads} key heads do not divide {heads} query heads.")
    require(batch <= 1024, f"decode_attention takes up to 1024 rows, not {batch}.")
    require(
        lengths.shape == (batch,), f"lengths has shape {tuple(lengths.shape)}; one for each of {batch} rows is needed."
    )
    if not runs_triton(q):
        return decode_attention_ref(q, keys, values, lengths, pages=pages, sinks=sinks, window=window, scale=scale)
    bits = keys.bits if isinstance(keys, QuantisedKV) else 16
    page = GROUP if quantised else first.shape[2]
    room = (pages.shape[1] if pages is not None else first.shape[2] if quantised else 1) * page
    config = tuned.choose("decode", f"{bits}-d{size}-{tuned.bucket(room)}")
    share = heads // kv_heads
    workers = max(1, int(multiprocessors(q.device) * config["per_sm"]))
    slots = workers + batch * kv_heads
    parts = torch.empty(slots, share, size, dtype=torch.float32, device=q.device)
    tops, sums = torch.empty(2, slots, share, dtype=torch.float32, device=q.device)
    out = torch.empty(batch, heads, size, dtype=q.dtype, device=q.device)
    if isinstance(keys, QuantisedKV):
        k, v, block = keys.k_codes, keys.v_codes, GROUP
        sk, sv = keys.k_scale, keys.v_scale
        zk, zv = (keys.k_zero, keys.v_zero) if keys.k_zero is not None and keys.v_zero is not None else (sk, sv)
        require(k.is_contiguous() and v.is_contiguous(), "A quantised cache has to be contiguous.")
    else:
        if values is None:
            raise KernelInputError("Keys without values: only a QuantisedKV holds both.")
        require(keys.stride() == values.stride() and keys.stride(3) == 1, "keys and values need equal strides, 1 in D.")
        k, v, block, sk, sv, zk, zv = keys, values, config["block"], q, q, q, q
        strides = keys.stride()[:3]
    _decode[(workers,)](
        q.contiguous(), k, v, sk, sv, zk, zv, out, parts, tops, sums, lengths, pages if pages is not None else lengths,
        (scale if scale is not None else size**-0.5) * 1.4426950408889634, batch, *strides,
        pages.stride(0) if pages is not None else 0, first.shape[2] if quantised else 0, sinks, window,
        BITS=bits, HKV=kv_heads, G=share, GP=max(LEAST_ROWS, triton.next_power_of_2(share)), D=size, BN=block,
        BB=triton.next_power_of_2(batch), PAGE=page if pages is not None else 0, HAS_WINDOW=window > 0,
        ASM=q.is_cuda, STAGES=config["num_stages"], PRECISION="ieee" if q.dtype == torch.float32 else "tf32",
        num_warps=config["num_warps"],
    )  # fmt: skip
    _join[(batch * kv_heads, share)](
        out, parts, tops, sums, lengths, workers, batch, sinks, window,
        HKV=kv_heads, G=share, D=size, BN=block, BB=triton.next_power_of_2(batch), HAS_WINDOW=window > 0,
        JOIN=config["join"], num_warps=4,
    )  # fmt: skip
    return out


def decode_attention_ref(
    q: Tensor, keys: Tensor | QuantisedKV, values: Tensor | None, lengths: Tensor, *, pages: Tensor | None = None,
    sinks: int = 0, window: int = 0, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """The definition: same contract, plain PyTorch, any device."""
    k, v = dequantise(keys) if isinstance(keys, QuantisedKV) else (keys, values)
    if v is None:
        raise KernelInputError("Keys without values: only a QuantisedKV holds both.")
    batch, _, size = q.shape
    out = torch.empty_like(q)
    for row in range(batch):
        length = int(lengths[row])
        if pages is not None:
            held = [pages[row].long()]
            mine, theirs = (x[held].transpose(0, 1).flatten(1, 2)[:, :length] for x in (k, v))
        else:
            mine, theirs = k[row, :, :length], v[row, :, :length]
        at = torch.arange(length, device=q.device)
        seen = (at < sinks) | (at >= length - window) if window else torch.ones_like(at, dtype=torch.bool)
        grouped = q[row].float().unflatten(0, (mine.shape[0], -1))
        scores = torch.einsum("hgd,htd->hgt", grouped, mine.float()) * (scale if scale is not None else size**-0.5)
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        out[row] = torch.einsum("hgt,htd->hgd", weights, theirs.float()).flatten(0, 1).to(q.dtype)
    return out


def decode_attention_cost(*, tokens: int, kv_heads: int, size: int, bits: int = 16) -> Cost:
    """`tokens` summed over the rows. A quantised token carries its share of the scales: fp32 for 128 numbers, two at 4 bits."""
    scales = {16: 0, 8: 2 * 4, 4: 4 * 4}[bits] * size / GROUP
    return Cost(nbytes=tokens * kv_heads * (2 * size * bits / 8 + scales))


@triton.jit
def _count_tiles(length, SINKS, WINDOW, BN: tl.constexpr, HAS_WINDOW: tl.constexpr):
    """(tiles that hold a seen token, tiles left out between sinks and window, tiles of the sinks)."""
    tiles = (length + BN - 1) // BN
    gap = tiles * 0
    head = tiles * 0
    if HAS_WINDOW:
        head += (SINKS + BN - 1) // BN
        gap = tl.maximum(tl.maximum(length - WINDOW, 0) // BN - head, 0)
    return tiles - gap, gap, head


@triton.jit
def _halves_of_bytes(x, ASM: tl.constexpr):
    """int8 -> fp16, exactly: 1024 + 128 + v is a bit pattern, and taking 1152 off again loses nothing."""
    if ASM:
        y = tl.inline_asm_elementwise(
            BYTES_ASM,
            "=&r,=&r,r", [x], dtype=tl.float16, is_pure=True, pack=4,
        )  # fmt: skip
    else:
        y = x.to(tl.float16)
    return y


@triton.jit
def _halves_of_nibbles(x, ASM: tl.constexpr):
    """Low and high nibbles v of bytes -> 2 v - 15 as fp16, exactly: 1024 + 2 v less 1039, and (1024 + 16 v) / 8 less 143."""
    if ASM:
        low, high = tl.inline_asm_elementwise(
            NIBBLES_ASM,
            "=&r,=&r,=&r,=&r,r", [x], dtype=(tl.float16, tl.float16), is_pure=True, pack=4,
        )  # fmt: skip
    else:
        low = (x & 0xF).to(tl.float16) * 2.0 - 15.0
        high = ((x >> 4) & 0xF).to(tl.float16) * 2.0 - 15.0
    return low, high


@triton.jit
def _decode(
    Q, K, V, SK, SV, ZK, ZV, OUT, PARTS, TOPS, SUMS, LENGTHS, PAGES, SCALE, B, skb, skh, skn, pb, NG, SINKS, WINDOW,
    BITS: tl.constexpr, HKV: tl.constexpr, G: tl.constexpr, GP: tl.constexpr, D: tl.constexpr, BN: tl.constexpr,
    BB: tl.constexpr, PAGE: tl.constexpr, HAS_WINDOW: tl.constexpr, ASM: tl.constexpr,
    STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One run of tiles. A segment is one key head of one row; a run may touch several, a segment may be touched by several runs.

    Part i = worker + segment: both grow along the tiles and each new part advances one of them, so i is unique, and the parts of
    a segment are neighbours.
    """
    HALF: tl.constexpr = BN // 2
    w = tl.program_id(0).to(tl.int64)
    rows = tl.arange(0, BB)
    lengths = tl.load(LENGTHS + rows, mask=rows < B, other=0)
    tiles, gaps, heads_ = _count_tiles(lengths, SINKS, WINDOW, BN, HAS_WINDOW)
    ends = tl.cumsum(tiles.to(tl.int64) * HKV, 0)
    T = tl.max(ends, 0)
    W = tl.minimum(tl.num_programs(0).to(tl.int64), T)  # a program without a tile would never arrive
    t = tl.minimum(w * T // W, T)
    t1 = tl.minimum((w + 1) * T // W, T)
    g = tl.arange(0, GP)
    d = tl.arange(0, D)
    n = tl.arange(0, BN)
    n2 = tl.arange(0, HALF)
    real = (g < G)[:, None]
    while t < t1:
        b = tl.sum((ends <= t).to(tl.int32), 0)
        mine = rows == b
        count = tl.sum(tl.where(mine, tiles, 0), 0).to(tl.int64)
        length = tl.sum(tl.where(mine, lengths, 0), 0)
        gap = tl.sum(tl.where(mine, gaps, 0), 0)
        head = tl.sum(tl.where(mine, heads_, 0), 0)
        base = tl.sum(tl.where(mine, ends - tiles.to(tl.int64) * HKV, 0), 0)
        h = (t - base) // count
        c0 = base + h * count
        stop = tl.minimum(c0 + count, t1)
        segment = b * HKV + h
        q_p = Q + (segment * G + g)[:, None] * D + d[None, :]
        q = tl.load(q_p, mask=real, other=0.0)
        top = tl.full((GP,), float("-inf"), tl.float32)
        total = tl.zeros((GP,), tl.float32)
        zeros = tl.zeros((GP,), tl.float32)
        acc = tl.zeros((GP, D), tl.float32)
        for tile in tl.range((t - c0).to(tl.int32), (stop - c0).to(tl.int32), num_stages=STAGES):
            group = tile
            if HAS_WINDOW:
                group = tl.where(tile < head, tile, tile + gap)
            at = group * BN
            if BITS == 16:
                place = at + n
                ok = place < length
                seen = ok
                if HAS_WINDOW:
                    seen = ok & ((place < SINKS) | (place >= length - WINDOW))
                if PAGE > 0:
                    page = tl.load(PAGES + b * pb + place // PAGE, mask=ok, other=0).to(tl.int64)
                    line = page * skb + h * skh + (place % PAGE) * skn
                    k = tl.load(K + line[None, :] + d[:, None], mask=ok[None, :], other=0.0)
                else:
                    corner = b.to(tl.int64) * skb + h * skh + at.to(tl.int64) * skn
                    k = tl.load(K + corner + (n[None, :] * skn + d[:, None]), mask=ok[None, :], other=0.0)
                s = tl.dot(q, k, input_precision=PRECISION) * SCALE
                s = tl.where(seen[None, :], s, float("-inf"))
                new = tl.maximum(top, tl.max(s, 1))
                safe = tl.where(new == float("-inf"), 0.0, new)  # nothing seen yet: a tile of the edge of a window
                p = tl.exp2(s - safe[:, None])
                fade = tl.exp2(top - safe)
                total = total * fade + tl.sum(p, 1)
                if PAGE > 0:
                    v = tl.load(V + line[:, None] + d[None, :], mask=ok[:, None], other=0.0)
                else:
                    v = tl.load(V + corner + (n[:, None] * skn + d[None, :]), mask=ok[:, None], other=0.0)
                acc = acc * fade[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
            else:
                if PAGE > 0:
                    block = tl.load(PAGES + b * pb + group).to(tl.int64) * HKV + h
                else:
                    block = segment * NG + group
                wide = q.to(tl.float32)
                scaled = (wide * tl.load(SK + block * D + d)[None, :]).to(tl.float16)
                if BITS == 8:
                    place = at + n
                    ok = place < length
                    seen = ok
                    if HAS_WINDOW:
                        seen = ok & ((place < SINKS) | (place >= length - WINDOW))
                    codes = tl.load(K + block * (BN * D) + (n[None, :] * D + d[:, None]))
                    s = tl.dot(scaled, _halves_of_bytes(codes, ASM)) * SCALE
                    s = tl.where(seen[None, :], s, float("-inf"))
                    new = tl.maximum(top, tl.max(s, 1))
                    safe = tl.where(new == float("-inf"), 0.0, new)
                    p = tl.exp2(s - safe[:, None])
                    fade = tl.exp2(top - safe)
                    total = total * fade + tl.sum(p, 1)
                    sv = tl.load(SV + block * BN + n, mask=ok, other=0.0) * 256.0
                    codes = tl.load(V + block * (BN * D) + (d[None, :] * BN + n[:, None]))
                    acc = acc * fade[:, None] + tl.dot((p * sv[None, :]).to(tl.float16), _halves_of_bytes(codes, ASM))
                else:
                    offset = tl.sum(wide * tl.load(ZK + block * D + d)[None, :], 1)[:, None]
                    place = at + n2
                    ok0 = place < length
                    ok1 = place + HALF < length
                    seen0 = ok0
                    seen1 = ok1
                    if HAS_WINDOW:
                        seen0 = ok0 & ((place < SINKS) | (place >= length - WINDOW))
                        seen1 = ok1 & ((place + HALF < SINKS) | (place + HALF >= length - WINDOW))
                    codes = tl.load(K + block * (HALF * D) + (n2[None, :] * D + d[:, None]))
                    k0, k1 = _halves_of_nibbles(codes, ASM)
                    s0 = tl.where(seen0[None, :], (tl.dot(scaled, k0) + offset) * SCALE, float("-inf"))
                    s1 = tl.where(seen1[None, :], (tl.dot(scaled, k1) + offset) * SCALE, float("-inf"))
                    new = tl.maximum(top, tl.max(tl.maximum(s0, s1), 1))
                    safe = tl.where(new == float("-inf"), 0.0, new)
                    p0 = tl.exp2(s0 - safe[:, None])
                    p1 = tl.exp2(s1 - safe[:, None])
                    fade = tl.exp2(top - safe)
                    total = total * fade + tl.sum(p0 + p1, 1)
                    sv = SV + block * BN + n2
                    zv = ZV + block * BN + n2
                    sv0 = tl.load(sv, mask=ok0, other=0.0) * 256.0
                    sv1 = tl.load(sv + HALF, mask=ok1, other=0.0) * 256.0
                    zv0 = tl.load(zv, mask=ok0, other=0.0)
                    zv1 = tl.load(zv + HALF, mask=ok1, other=0.0)
                    zeros = zeros * fade + tl.sum(p0 * zv0[None, :] + p1 * zv1[None, :], 1)
                    codes = tl.load(V + block * (HALF * D) + (d[None, :] * HALF + n2[:, None]))
                    v0, v1 = _halves_of_nibbles(codes, ASM)
                    acc = acc * fade[:, None] + tl.dot((p0 * sv0[None, :]).to(tl.float16), v0)
                    acc += tl.dot((p1 * sv1[None, :]).to(tl.float16), v1)
            top = new
        if BITS < 16:
            acc = acc * 0.00390625 + zeros[:, None]  # the 256 that kept p * scale out of fp16's subnormal numbers
        first = ((c0 + 1) * W + T - 1) // T - 1
        last = ((c0 + count) * W + T - 1) // T - 1
        if first == last:
            out = OUT + (segment * G + g)[:, None] * D + d[None, :]
            tl.store(out, (acc / total[:, None]).to(OUT.dtype.element_ty), mask=real)
        else:
            part = (w + segment) * G + g
            tl.store(PARTS + part[:, None] * D + d[None, :], acc, mask=real)
            tl.store(TOPS + part, top, mask=g < G)
            tl.store(SUMS + part, total, mask=g < G)
        t = stop


@triton.jit
def _join(
    OUT, PARTS, TOPS, SUMS, LENGTHS, W, B, SINKS, WINDOW,
    HKV: tl.constexpr, G: tl.constexpr, D: tl.constexpr, BN: tl.constexpr, BB: tl.constexpr, HAS_WINDOW: tl.constexpr,
    JOIN: tl.constexpr,
):  # fmt: skip
    """Put the parts of one head together, where there is more than one."""
    segment = tl.program_id(0)
    g = tl.program_id(1)
    rows = tl.arange(0, BB)
    lengths = tl.load(LENGTHS + rows, mask=rows < B, other=0)
    tiles, _, _ = _count_tiles(lengths, SINKS, WINDOW, BN, HAS_WINDOW)
    wide = tiles.to(tl.int64) * HKV
    T = tl.sum(wide, 0)
    W = tl.minimum(T * 0 + W, T)  # T * 0: a W of 1 is a constant at compile time, and has no dtype to change
    b = segment // HKV
    count = tl.sum(tl.where(rows == b, tiles, 0), 0).to(tl.int64)
    c0 = tl.sum(tl.where(rows < b, wide, 0), 0) + (segment % HKV) * count
    first = ((c0 + 1) * W + T - 1) // T - 1
    last = ((c0 + count) * W + T - 1) // T - 1
    if first < last:
        d = tl.arange(0, D)
        j = tl.arange(0, JOIN)
        top = tl.full((), float("-inf"), tl.float32)
        total = tl.full((), 0.0, tl.float32)
        acc = tl.zeros((D,), tl.float32)
        for i0 in tl.range(first + segment, last + segment + 1, JOIN):
            ok = i0 + j <= last + segment
            i = (i0 + j) * G + g
            tops = tl.load(TOPS + i, mask=ok, other=float("-inf"))
            sums = tl.load(SUMS + i, mask=ok, other=0.0)
            parts = tl.load(PARTS + i[:, None] * D + d[None, :], mask=ok[:, None], other=0.0)
            new = tl.maximum(top, tl.max(tops, 0))
            safe = tl.where(new == float("-inf"), 0.0, new)  # parts that saw nothing: the edge of a window
            share = tl.exp2(tops - safe)
            fade = tl.exp2(top - safe)
            total = total * fade + tl.sum(sums * share, 0)
            acc = acc * fade + tl.sum(parts * share[:, None], 0)
            top = new
        tl.store(OUT + (segment * G + g) * D + d, (acc / total).to(OUT.dtype.element_ty))
