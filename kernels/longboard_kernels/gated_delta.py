"""K8: the gated delta rule over a prompt, in chunks, with a state that is carried in and out."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require

CHUNK = 64  # tokens, as the cost counts and the definition goes
SIZES = (16, 32, 64, 128)
SMALLEST = 16  # rows of a block that is inverted by substitution, and the smallest tile of a product
EPS = 1e-6  # added to the squared length of a query or key


def gated_delta(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor | None = None) -> Tensor:
    """h <- e^decay h;   h <- h + k (beta (v - h^T k))^T;   o = h^T q / sqrt(K), q and k scaled to unit length first.

    q, k    [B, T, G, K]  fp32, fp16 or bf16, stride 1 in K; G divides H, each serves H / G value heads in a row
    v       [B, T, H, V]  dtype of q, stride 1 in V; K and V of 16, 32, 64 or 128
    decay   [B, T, H]     natural logarithm, at most 0; any of these dtypes
    beta    [B, T, H]     from 0 to 1; any of these dtypes
    state   [B, H, K, V]  fp32, updated in place from before the first token to after the last. None: zeros, and not kept
    returns o [B, T, H, V] contiguous, dtype of q

    Source: Yang et al. 2025 (Gated DeltaNet, arXiv:2412.06464), section 3.3. With A the decayed products of the keys of a chunk
    below the diagonal, what its tokens write is W = (I + beta A)^-1 beta X, X = V - decayed K h, and what they read of it is
    decayed Q K^T W: two matrices a chunk, free of the state, applied to X as one. Two launches a segment of the prompt: these
    matrices, all chunks side by side; then the chunks in a row, each head and block of V for itself. The paper's form applies the
    inverse to K and V first and keeps both products and every state; here the two matrices are kept, and only until their segment
    has been read. Queries and keys enter products as they came: lengths and decays are factors of rows, in fp32.
    Held to `gated_delta_ref`: 1e-5 relative in fp32, 6e-3 in bf16.
    Cost: q, k, v, o once; the products of `gated_delta_cost`.
    Raises KernelInputError for sizes outside these, strides other than 1, a state that is not fp32.
    """
    batch, tokens, groups, size = q.shape
    heads, values = v.shape[2:]
    require(size in SIZES and values in SIZES, f"gated_delta takes K and V of {SIZES}, not K={size}, V={values}.")
    require(heads % groups == 0, f"{groups} key heads do not divide {heads} value heads.")
    require(q.dtype == k.dtype == v.dtype, f"q, k, v are {q.dtype}, {k.dtype}, {v.dtype}; gated_delta takes one dtype.")
    require(q.stride(3) == 1 == k.stride(3) and v.stride(3) == 1, "gated_delta needs q, k, v with stride 1 at the end.")
    require(state is None or state.dtype == torch.float32, "The state of a scan is kept in fp32.")
    if not runs_triton(q):
        return gated_delta_ref(q, k, v, decay, beta, state)
    single = q.dtype == torch.float32
    config = tuned.choose("gated_delta", "fp32" if single else f"k{size}-v{values}")
    chunk, block, device = config["chunk"], min(config["values"], values), q.device
    # Two warps multiply by mma.sync. By wgmma, products with 16 or 32 columns read past the end of shared memory (Triton 3.6 and
    # compute-sanitizer on an H200; 64 columns are right).
    warps = config["num_warps"] if single or block >= 64 else 2
    chunks = triton.cdiv(tokens, chunk)
    segment = min(chunks, max(1, config["segment"] // (chunk * batch)))
    solved = torch.empty(batch, heads, segment, 2, chunk, chunk, dtype=q.dtype, device=device)
    factors = torch.empty(batch, heads, segment, 3, chunk, dtype=torch.float32, device=device)
    fades = torch.empty(batch, heads, segment, dtype=torch.float32, device=device)
    out = torch.empty(batch, tokens, heads, values, dtype=q.dtype, device=device)
    kept = state if state is not None else torch.zeros(batch, heads, size, values, dtype=torch.float32, device=device)
    kept = kept.contiguous()
    sizes = {"K": size, "C": chunk, "PRECISION": "ieee" if single else "tf32"}
    for first in range(0, chunks, segment):
        count = min(segment, chunks - first)
        _prepare[(count, heads, batch)](
            q, k, decay, beta, solved, factors, fades, first * chunk, tokens, segment, heads // groups,
            *q.stride()[:3], *k.stride()[:3], *decay.stride(), *beta.stride(),
            **sizes, BLOCK=SMALLEST, LEVELS=(chunk // SMALLEST).bit_length() - 1,
            num_warps=config["prepare_warps"], maxnreg=config["prepare_registers"],
        )  # fmt: skip
        _pass[(values // block, heads, batch)](
            q, k, v, solved, factors, fades, kept, out, first * chunk, tokens, segment, count, heads // groups,
            *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
            **sizes, V=values, BV=block, STAGES=config["num_stages"], num_warps=warps,
        )  # fmt: skip
    if state is not None and kept is not state:
        state.copy_(kept)
    return out


def gated_delta_ref(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor | None = None
) -> Tensor:
    """The definition: same contract, plain PyTorch, any device. Chunks in a row, each by forward substitution, in fp32."""
    tokens, share = q.shape[1], v.shape[2] // q.shape[2]
    q, k = (to_unit(x).repeat_interleave(share, 2).transpose(1, 2) for x in (q, k))  # [B, H, T, K]
    q, wide = q * q.shape[-1] ** -0.5, v.float().transpose(1, 2)
    decay, beta = decay.float().transpose(1, 2), beta.float().transpose(1, 2)[..., None]
    h = state.clone() if state is not None else wide.new_zeros(*k.shape[:2], k.shape[-1], wide.shape[-1])
    rows = []
    for first in range(0, tokens, CHUNK):
        part = slice(first, first + CHUNK)
        sums = decay[..., part].cumsum(-1)
        later = torch.ones(sums.shape[-1], sums.shape[-1], dtype=torch.bool, device=v.device).triu(1)
        near = (sums[..., :, None] - sums[..., None, :]).masked_fill(later, -torch.inf).exp()
        far, left = sums.exp()[..., None], (sums[..., -1:] - sums).exp()[..., None]
        queries, keys = q[:, :, part], k[:, :, part]
        system = beta[:, :, part] * (keys @ keys.mT) * near
        wanted = beta[:, :, part] * (wide[:, :, part] - far * (keys @ h))
        written = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
        rows.append(far * (queries @ h) + (queries @ keys.mT * near) @ written)
        h = sums[..., -1].exp()[..., None, None] * h + (left * keys).mT @ written
    if state is not None:
        state.copy_(h)
    return torch.cat(rows, dim=2).transpose(1, 2).to(v.dtype).contiguous()


def to_unit(x: Tensor) -> Tensor:
    """x in fp32, its last dimension of unit length."""
    wide = x.float()
    return wide * torch.rsqrt(wide.pow(2).sum(-1, keepdim=True) + EPS)


def gated_delta_cost(
    *, tokens: int, heads: int, key_heads: int, size: int, values: int, batch: int = 1, itemsize: int = 2
) -> Cost:
    """FLOPs of the form with one inverse a chunk: triangles counted once, the inverse as a substitution."""
    tensors = (2.0 * key_heads * size + 2.0 * heads * values) * itemsize + 2.0 * heads * itemsize
    triangles = 2.0 * CHUNK * size + 2.0 * CHUNK * values + CHUNK**2 / 3  # K K^T, Q K^T; both applied to V; the inverse
    return Cost(nbytes=batch * tokens * tensors, flops=batch * tokens * heads * (triangles + 6.0 * size * values))


@triton.jit
def _prepare(
    Q, K_, DECAY, BETA, SOLVED, FACTORS, FADES, FIRST, T, SEGMENT, SHARE,
    qb, qt, qh, kb, kt, kh, gb, gt, gh, bb, bt, bh,
    K: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, LEVELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Of one chunk and head: what X is to be multiplied by, (I + beta A)^-1 beta above decayed Q K^T times it, and the factors of
    rows that `_pass` applies."""
    chunk = tl.program_id(0)
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    t = tl.arange(0, C)
    d = tl.arange(0, K)
    first = (FIRST + chunk * C).to(tl.int64)
    live = first + t < T
    k_p = K_ + b * kb + first * kt + (h // SHARE) * kh
    k = tl.load(k_p + t[:, None] * kt + d[None, :], mask=live[:, None], other=0.0)
    q_p = Q + b * qb + first * qt + (h // SHARE) * qh
    q = tl.load(q_p + t[:, None] * qt + d[None, :], mask=live[:, None], other=0.0)
    decay = tl.load(DECAY + b * gb + (first + t) * gt + h * gh, mask=live, other=0.0).to(tl.float32)
    beta = tl.load(BETA + b * bb + (first + t) * bt + h * bh, mask=live, other=0.0).to(tl.float32)
    sums = tl.cumsum(decay * 1.4426950408889634, 0)
    total = tl.sum(tl.where(t == C - 1, sums, 0.0), 0)  # not the sum anew: its last bits would differ
    wide_q = q.to(tl.float32)
    kk = tl.dot(k, tl.trans(k), input_precision=PRECISION)
    unit_k = tl.rsqrt(tl.sum(tl.where(t[:, None] == t[None, :], kk, 0.0), 1) + 1e-6)  # the diagonal: squared lengths
    unit_q = tl.rsqrt(tl.sum(wide_q * wide_q, 1) + 1e-6) / tl.sqrt(K * 1.0)
    place = (b * tl.num_programs(1) + h) * SEGMENT + chunk
    row = FACTORS + place * 3 * C + t
    tl.store(row, tl.exp2(sums) * unit_k)
    tl.store(row + C, tl.exp2(sums) * unit_q)
    tl.store(row + 2 * C, tl.exp2(total - sums) * unit_k)
    tl.store(FADES + place, tl.exp2(total))
    near = tl.exp2(tl.minimum(sums[:, None] - sums[None, :], 0.0)) * unit_k[None, :]
    square = place * 2 * C * C + t[:, None] * C + t[None, :]
    weights = tl.dot(q, tl.trans(k), input_precision=PRECISION) * near * unit_q[:, None]
    weights = tl.where(t[:, None] >= t[None, :], weights, 0.0).to(k.dtype)
    a = kk * near * (beta * unit_k)[:, None]
    a = tl.where(t[:, None] > t[None, :], a, 0.0)
    inverse = (_invert(a, C, BLOCK, LEVELS, PRECISION) * beta[None, :]).to(k.dtype)
    tl.store(SOLVED + square, inverse)
    seen = tl.dot(weights, inverse, input_precision=PRECISION)
    tl.store(SOLVED + square + C * C, seen.to(SOLVED.dtype.element_ty))


@triton.jit
def _invert(a, C: tl.constexpr, BLOCK: tl.constexpr, LEVELS: tl.constexpr, PRECISION: tl.constexpr):
    """(I + a)^-1 of a strictly lower triangle [C, C]. Blocks on the diagonal by forward substitution, all at once; from pairs
    of them larger ones, [[X, 0], [-Y a X, Y]], LEVELS times. Powers of `a` would do without, but overflow where a key repeats.
    """
    blocks: tl.constexpr = C // BLOCK
    r = tl.arange(0, blocks)
    i = tl.arange(0, BLOCK)
    same = r[:, None, None, None] == r[None, None, :, None]
    own = tl.sum(tl.where(same, tl.reshape(a, (blocks, BLOCK, blocks, BLOCK)), 0.0), 2)
    unit = tl.where(i[None, :, None] == i[None, None, :], 1.0, 0.0)
    x = tl.broadcast_to(unit, (blocks, BLOCK, BLOCK))
    for step in tl.static_range(BLOCK - 1):  # row `step` is done; what lies below it loses its share
        column = tl.sum(tl.where(i[None, None, :] == step, own, 0.0), 2)
        row = tl.sum(tl.where(i[None, :, None] == step, x, 0.0), 1)
        x -= column[:, :, None] * row[:, None, :]
    x = tl.reshape(tl.where(same, x[:, :, None, :], 0.0), (C, C))
    t = tl.arange(0, C)
    for level in tl.static_range(LEVELS):
        r = t[:, None] // (BLOCK * 2**level)
        c = t[None, :] // (BLOCK * 2**level)
        beside = tl.where((r == c + 1) & (c % 2 == 0), a, 0.0)
        x -= tl.dot(tl.dot(x, beside, input_precision=PRECISION), x, input_precision=PRECISION)
    return x


@triton.jit
def _pass(
    Q, K_, V_, SOLVED, FACTORS, FADES, STATE, OUT, FIRST, T, SEGMENT, COUNT, SHARE,
    qb, qt, qh, kb, kt, kh, vb, vt, vh,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BV: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The chunks of one segment in a row, for one head and BV columns of the state, which stays in registers."""
    h = tl.program_id(1)
    heads = tl.num_programs(1)
    b = tl.program_id(2).to(tl.int64)
    t = tl.arange(0, C)
    d = tl.arange(0, K)
    e = tl.program_id(0) * BV + tl.arange(0, BV)
    kept = STATE + (b * heads + h) * (K * V) + d[:, None] * V + e[None, :]
    state = tl.load(kept)
    q_p = Q + b * qb + (h // SHARE) * qh + t[:, None] * qt + d[None, :]
    k_p = K_ + b * kb + (h // SHARE) * kh + t[:, None] * kt + d[None, :]
    v_p = V_ + b * vb + h * vh + t[:, None] * vt + e[None, :]
    o_p = OUT + (b * T * heads + h) * V + t[:, None] * (heads * V) + e[None, :]
    line = (b * heads + h) * SEGMENT
    square = tl.arange(0, 2 * C)[:, None] * C + t[None, :]
    for n in tl.range(0, COUNT, num_stages=STAGES):
        first = (FIRST + n * C).to(tl.int64)
        live = (first + t < T)[:, None]
        k = tl.load(k_p + first * kt, mask=live, other=0.0)
        q = tl.load(q_p + first * qt, mask=live, other=0.0)
        v = tl.load(v_p + first * vt, mask=live, other=0.0)
        solved = tl.load(SOLVED + (line + n) * (2 * C * C) + square)
        row = FACTORS + (line + n) * (3 * C) + t
        near = state.to(k.dtype)
        held = tl.dot(k, near, input_precision=PRECISION) * tl.load(row)[:, None]
        missing = (v.to(tl.float32) - held).to(k.dtype)
        both = tl.dot(solved, missing, input_precision=PRECISION)
        written, inside = tl.split(tl.permute(tl.reshape(both, (2, C, BV)), (1, 2, 0)))
        out = tl.dot(q, near, input_precision=PRECISION) * tl.load(row + C)[:, None] + inside
        tl.store(o_p + first * (heads * V), out.to(OUT.dtype.element_ty), mask=live)
        left = (written * tl.load(row + 2 * C)[:, None]).to(k.dtype)
        state = tl.dot(tl.trans(k), left, state * tl.load(FADES + line + n), input_precision=PRECISION)
    tl.store(kept, state)
