"""K6: how much attention each key gets, for methods that drop keys; the matrix of weights is never in memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import multiprocessors, runs_triton
from longboard_kernels.errors import require

LEAST_SPLIT = 256  # keys of one program at least, where the keys are split


def attention_received(q: Tensor, keys: Tensor, *, scale: float | None = None) -> Tensor:
    """Sum over queries, and over the query heads of a key head, of the causal attention weights that each key gets.

    q        [B, H, W, D]    the queries of the last W of T tokens (W = T: all, the column sums of H2O)
    keys     [B, HKV, T, D]  rotated as attention sees them; D with stride 1, a power of two from 16 to 256
    returns  [B, HKV, T]     fp32; sums to W * H / HKV over T

    Two passes over q K^T: the first finds each query's log-sum-exp, the second adds up exp(score - it) by key.
    Source: Zhang et al. 2023 (H2O, arXiv:2306.14048), section 4; Li et al. 2024 (SnapKV, arXiv:2404.14469), section 4, before its
    pooling. Held to `attention_received_ref`: 5e-3 relative.
    Cost: two products q K^T, causal, and the keys once; compute-bound but for a short window.
    Raises KernelInputError for more queries than keys or a D that the tiles cannot hold.
    """
    batch, heads, queries, size = q.shape
    kv_heads, tokens = keys.shape[1], keys.shape[2]
    require(queries <= tokens, f"{queries} queries are more than {tokens} keys.")
    require(heads % kv_heads == 0, f"{kv_heads} key heads do not divide {heads} query heads.")
    require(size in (16, 32, 64, 128, 256), f"attention_received takes D of 16 to 256, a power of two, not {size}.")
    require(q.stride(3) == 1 == keys.stride(3), "attention_received needs stride 1 in D.")
    if not runs_triton(q):
        return attention_received_ref(q, keys, scale=scale)
    config = tuned.choose("attention_received", "window" if queries <= 64 else "all")
    rows, columns = config["rows"], config["keys"]
    share = heads // kv_heads
    # The rows of a tile are (query, head of the group) pairs: a window of 32 with groups of 4 fills a tile of 128.
    row_blocks = triton.cdiv(queries * share, rows)
    fit = multiprocessors(q.device) * 2 // (row_blocks * kv_heads * batch)
    splits = max(1, min(fit, triton.cdiv(tokens, LEAST_SPLIT)))
    span = triton.cdiv(triton.cdiv(tokens, splits), columns) * columns
    splits = triton.cdiv(tokens, span)
    tops, sums = torch.empty(2, batch, kv_heads, splits, queries * share, dtype=torch.float32, device=q.device)
    factor = (scale if scale is not None else size**-0.5) * 1.4426950408889634
    strides = (*q.stride()[:3], *keys.stride()[:3])
    options = {
        "SHARE": share, "D": size, "BM": rows, "BN": columns, "PRECISION": "ieee" if q.dtype == torch.float32 else "tf32",
        "num_warps": config["num_warps"], "num_stages": config["num_stages"],
    }  # fmt: skip
    _row_sums[(row_blocks * splits, kv_heads, batch)](
        q, keys, tops, sums, factor, queries, tokens, span, splits, *strides, **options
    )
    logs = torch.empty(batch, kv_heads, queries * share, dtype=torch.float32, device=q.device)  # base 2
    _join_rows[(triton.cdiv(queries * share, 128), kv_heads, batch)](
        tops, sums, logs, queries * share, splits, BM=128, num_warps=4
    )
    out = torch.empty(batch, kv_heads, tokens, dtype=torch.float32, device=q.device)
    if row_blocks == 1:
        _window_columns[(splits, kv_heads, batch)](
            q, keys, logs, out, factor, queries, tokens, span, *strides, **options
        )
    else:
        _column_sums[(triton.cdiv(tokens, columns), kv_heads, batch)](
            q, keys, logs, out, factor, queries, tokens, *strides, **options
        )
    return out


def attention_received_ref(q: Tensor, keys: Tensor, *, scale: float | None = None) -> Tensor:
    """The definition: same contract, plain PyTorch, any device; blocks of 256 queries keep its memory in bounds."""
    batch, _, queries, size = q.shape
    kv_heads, tokens = keys.shape[1], keys.shape[2]
    out = torch.zeros(batch, kv_heads, tokens, dtype=torch.float32, device=q.device)
    at = torch.arange(tokens, device=q.device)
    for first in range(0, queries, 256):
        part = q[:, :, first : first + 256].float().unflatten(1, (kv_heads, -1))
        scores = torch.einsum("bhgqd,bhtd->bhgqt", part, keys.float()) * (scale if scale is not None else size**-0.5)
        own = torch.arange(first, first + part.shape[3], device=q.device) + tokens - queries
        weights = scores.masked_fill(at[None, :] > own[:, None], -torch.inf).softmax(-1)
        out += weights.sum((2, 3))
    return out


def window_scores(q: Tensor, keys: Tensor, *, kernel: int, pooling: str = "avg", scale: float | None = None) -> Tensor:
    """SnapKV's score of each key before the window: mean attention from the window's queries, pooled over neighbours.

    q [B, H, W, D] the last W queries; keys [B, HKV, T, D]. kernel: odd width of the pooling, "avg" or "max", 1 for none.
    Returns [B, HKV, T - W] fp32. Source: Li et al. 2024 (SnapKV, arXiv:2404.14469), listing 1; as there, keys of the window are
    not scored, and the average counts a missing neighbour as zero. We differ: one score for a key head, the mean of its group.
    """
    window = q.shape[2]
    require(kernel % 2 == 1, f"A pooling width of {kernel} has no middle: use an odd one.")
    require(pooling in ("avg", "max"), f'Pooling "{pooling}" is neither "avg" nor "max".')
    scores = attention_received(q, keys, scale=scale)[:, :, : keys.shape[2] - window]
    scores = scores / (window * (q.shape[1] // keys.shape[1]))
    pool = torch.nn.functional.avg_pool1d if pooling == "avg" else torch.nn.functional.max_pool1d
    return pool(scores, kernel, stride=1, padding=kernel // 2) if kernel > 1 else scores


def attention_received_cost(
    *, queries: int, tokens: int, heads: int, kv_heads: int, size: int, batch: int = 1, itemsize: int = 2
) -> Cost:
    pairs = queries * tokens - queries * (queries - 1) / 2
    nbytes = batch * (kv_heads * tokens * (size * itemsize + 4) + heads * queries * size * itemsize)
    return Cost(
        nbytes=float(nbytes), flops=2 * 2.0 * batch * heads * pairs * size, exponentials=2.0 * batch * heads * pairs
    )


@triton.jit
def _row_sums(
    Q, K, TOPS, SUMS, SCALE, QUERIES, T, SPAN, SPLITS, qb, qh, qt, kb, kh, kt,
    SHARE: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Maximum and sum of exp2 of each row's scores over one span of keys. Row r is query r // SHARE, head r % SHARE."""
    block = tl.program_id(0) // SPLITS
    split = tl.program_id(0) % SPLITS
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    r = block * BM + tl.arange(0, BM)
    d = tl.arange(0, D)
    n = tl.arange(0, BN)
    live = r < QUERIES * SHARE
    own = r // SHARE + T - QUERIES
    q_p = Q + b * qb + (h * SHARE + r % SHARE)[:, None].to(tl.int64) * qh + (r // SHARE)[:, None] * qt + d[None, :]
    q = tl.load(q_p, mask=live[:, None], other=0.0)
    k_p = K + b * kb + h.to(tl.int64) * kh
    top = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    first = split * SPAN
    furthest = tl.minimum(
        (block * BM + BM - 1) // SHARE + T - QUERIES + 1, T
    )  # keys that the last row of the tile sees
    for k0 in tl.range(first, tl.minimum(first + SPAN, furthest), BN):
        at = k0 + n
        k = tl.load(k_p + at[None, :].to(tl.int64) * kt + d[:, None], mask=(at < T)[None, :], other=0.0)
        s = tl.dot(q, k, input_precision=PRECISION) * SCALE
        s = tl.where(at[None, :] <= own[:, None], s, float("-inf"))
        new = tl.maximum(top, tl.max(s, 1))
        safe = tl.where(new == float("-inf"), 0.0, new)
        total = total * tl.exp2(top - safe) + tl.sum(tl.exp2(s - safe[:, None]), 1)
        top = new
    place = ((b * tl.num_programs(1) + h) * SPLITS + split) * (QUERIES * SHARE) + r
    tl.store(TOPS + place, top, mask=live)
    tl.store(SUMS + place, total, mask=live)


@triton.jit
def _join_rows(TOPS, SUMS, LOGS, ROWS, SPLITS, BM: tl.constexpr):
    """log2 of each row's whole sum from the maxima and sums of its spans."""
    r = tl.program_id(0) * BM + tl.arange(0, BM)
    head = tl.program_id(2).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    live = r < ROWS
    top = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    for split in tl.range(0, SPLITS):
        place = (head * SPLITS + split) * ROWS + r
        here = tl.load(TOPS + place, mask=live, other=0.0)
        new = tl.maximum(top, here)
        safe = tl.where(new == float("-inf"), 0.0, new)
        total = total * tl.exp2(top - safe) + tl.load(SUMS + place, mask=live, other=0.0) * tl.exp2(here - safe)
        top = new
    tl.store(LOGS + head * ROWS + r, top + tl.log2(tl.where(live, total, 1.0)), mask=live)


@triton.jit
def _window_columns(
    Q, K, LOGS, OUT, SCALE, QUERIES, T, SPAN, qb, qh, qt, kb, kh, kt,
    SHARE: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sums of a span of columns over all rows, where these fit one tile: queries once, keys streamed. Backwards: the launch
    before read the spans forwards, so their ends are what the L2 cache still holds."""
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    r = tl.arange(0, BM)
    d = tl.arange(0, D)
    n = tl.arange(0, BN)
    live = r < QUERIES * SHARE
    own = r // SHARE + T - QUERIES
    q_p = Q + b * qb + (h * SHARE + r % SHARE)[:, None].to(tl.int64) * qh + (r // SHARE)[:, None] * qt + d[None, :]
    q = tl.load(q_p, mask=live[:, None], other=0.0)
    head = b * tl.num_programs(1) + h
    log = tl.load(LOGS + head * (QUERIES * SHARE) + r, mask=live, other=float("inf"))
    k_p = K + b * kb + h.to(tl.int64) * kh
    first = tl.program_id(0) * SPAN
    tiles = tl.cdiv(tl.minimum(SPAN, T - first), BN)
    for back in tl.range(0, tiles):
        at = first + (tiles - 1 - back) * BN + n
        k = tl.load(k_p + at[None, :].to(tl.int64) * kt + d[:, None], mask=(at < T)[None, :], other=0.0)
        s = tl.dot(q, k, input_precision=PRECISION) * SCALE - log[:, None]
        weights = tl.where(at[None, :] <= own[:, None], tl.exp2(s), 0.0)
        tl.store(OUT + head * T + at, tl.sum(weights, 0), mask=at < T)


@triton.jit
def _column_sums(
    Q, K, LOGS, OUT, SCALE, QUERIES, T, qb, qh, qt, kb, kh, kt,
    SHARE: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sum of a block of columns over all rows that see it."""
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    at = tl.program_id(0) * BN + tl.arange(0, BN)
    d = tl.arange(0, D)
    m = tl.arange(0, BM)
    k_p = K + b * kb + h.to(tl.int64) * kh + at[:, None].to(tl.int64) * kt + d[None, :]
    k = tl.load(k_p, mask=(at < T)[:, None], other=0.0)
    q_p = Q + b * qb + h.to(tl.int64) * SHARE * qh
    logs = LOGS + (b * tl.num_programs(1) + h) * (QUERIES * SHARE)
    acc = tl.zeros((BN,), tl.float32)
    begin = tl.maximum(tl.program_id(0) * BN - (T - QUERIES), 0) * SHARE // BM * BM  # earlier rows see nothing of it
    for r0 in tl.range(begin, QUERIES * SHARE, BM):
        r = r0 + m
        live = r < QUERIES * SHARE
        q = tl.load(
            q_p + (r % SHARE)[None, :].to(tl.int64) * qh + (r // SHARE)[None, :] * qt + d[:, None],
            mask=live[None, :],
            other=0.0,
        )
        log = tl.load(logs + r, mask=live, other=float("inf"))
        s = tl.dot(k, q, input_precision=PRECISION) * SCALE - log[None, :]
        seen = at[:, None] <= (r // SHARE + T - QUERIES)[None, :]
        acc += tl.sum(tl.where(seen, tl.exp2(s), 0.0), 1)
    tl.store(OUT + (b * tl.num_programs(1) + h) * T + at, acc, mask=at < T)
