"""K3: the chunk scan of Mamba-2 (state space duality), with a state that is carried in and out."""

# mypy: disable-error-code="assignment, var-annotated"
# (tuples that grow in a loop unrolled at compile time have no one type)
from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require
from longboard_kernels.ssd_outputs import add_outputs, fits

FOREVER = (0.0, float("inf"))


def ssd_scan(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor | None = None, dt_bias: Tensor | None = None,
    state: Tensor | None = None, *, softplus: bool = True, dt_limit: tuple[float, float] = FOREVER,
) -> Tensor:  # fmt: skip
    """h <- exp(dt a) h + dt x B^T;   y = h C + skip x, one matrix state [P, N] a head.

    x        [B, T, H, P]  fp32, fp16 or bf16; P a power of two from 16 to 128, stride 1
    dt       [B, T, H]     any of these dtypes
    a        [H]           negative
    b, c     [B, T, G, N]  dtype of x, stride 1 in N; N from 1 to 256; G divides H
    skip     [H] or None;  dt_bias [H] or None
    state    [B, H, P, N]  fp32, updated in place from before the first token to after the last. None: zeros, and not kept
    dt_limit dt is clamped to this after the softplus
    returns  y [B, T, H, P] contiguous, dtype of x

    Source: Dao and Gu 2024 (Mamba-2, arXiv:2405.21060), section 6. Five launches: steps and their running sums; C B^T once a
    group; what each chunk adds to the state; the chain of these over the chunks; the outputs. States between launches have the
    dtype of x, their chain is fp32. Where `ssd_outputs` has a kernel in CUDA C++ the last
    launch is that. The result does not depend on the chunk but for rounding.
    Held to `ssd_scan_ref`: 1e-5 relative in fp32, 4e-3 in bf16.
    Cost: x, y, b, c once; per token and head 4 P N + chunk (P + N / heads of a group) multiply-adds.
    Raises KernelInputError for sizes outside these ranges or strides other than 1.
    """
    batch, tokens, heads, size = x.shape
    groups, states = b.shape[2:]
    require(
        size in (16, 32, 64, 128) and states <= 256,
        f"ssd_scan takes P of 16, 32, 64 or 128 and N up to 256, not P={size}, N={states}.",
    )
    require(heads % groups == 0, f"{groups} groups do not divide {heads} heads.")
    require(x.stride(3) == 1 == b.stride(3) and c.stride(3) == 1, "ssd_scan needs x, b, c with stride 1 at the end.")
    require(state is None or state.dtype == torch.float32, "The state of a scan is kept in fp32.")
    if not runs_triton(x):
        return ssd_scan_ref(x, dt, a, b, c, skip, dt_bias, state, softplus=softplus, dt_limit=dt_limit)
    padded = max(16, triton.next_power_of_2(states))  # tiles are powers of two; what lies beyond N is zero
    single = x.dtype == torch.float32  # products without tensor cores: small tiles, or the registers do not hold them
    config = tuned.choose("ssd_scan", "fp32" if single else f"p{size}-n{padded}")
    chunk, rows, keys = config["chunk"], config["rows"], config["keys"]
    chunks = triton.cdiv(tokens, chunk)
    device, precision = x.device, "ieee" if single else "tf32"
    steps = torch.empty(batch, heads, chunks * chunk, dtype=torch.float32, device=device)
    sums = torch.empty_like(steps)  # of dt a log2(e), from the beginning of each chunk
    products = torch.empty(batch, chunks, groups, chunk, chunk, dtype=x.dtype, device=device)
    between = torch.empty(batch, chunks, heads, size, padded, dtype=x.dtype, device=device)
    y = torch.empty(batch, tokens, heads, size, dtype=x.dtype, device=device)
    kept = state if state is not None else torch.zeros(batch, heads, size, states, dtype=torch.float32, device=device)
    kept = kept.contiguous()
    block = min(16, triton.next_power_of_2(heads))
    _steps[(chunks, triton.cdiv(heads, block), batch)](
        dt, a, dt_bias if dt_bias is not None else a, steps, sums, tokens, heads, *dt.stride(), *dt_limit,
        HAS_BIAS=dt_bias is not None, SOFTPLUS=softplus, Q=chunk, BH=block, num_warps=4,
    )  # fmt: skip
    tiles = chunk // rows
    _products[(tiles * (chunk // keys), chunks * groups, batch)](
        c, b, products, tokens, groups, *c.stride()[:3], *b.stride()[:3],
        NS=states, N=padded, Q=chunk, BM=rows, BK=keys, PRECISION=precision, num_warps=4,
    )  # fmt: skip
    _chunk_states[(heads, chunks, batch)](
        x, b, steps, sums, between, tokens, heads, heads // groups, *x.stride()[:3], *b.stride()[:3],
        P=size, NS=states, N=padded, Q=chunk, BK=config["state_keys"], PRECISION=precision,
        num_warps=config["state_warps"], num_stages=config["state_stages"],
    )  # fmt: skip
    piece = min(1024, size * padded)
    _chain[(size * padded // piece, heads, batch)](
        between, sums, kept, chunks, heads,
        P=size, NS=states, N=padded, Q=chunk, BLOCK=piece, AHEAD=config["ahead"], num_warps=4,
    )  # fmt: skip
    if config["persistent"] and fits(x, b, c, chunk):
        add_outputs(x, c, products, between, steps, sums, skip, y)
    else:
        together = math.gcd(config["heads"], heads // groups)
        # A cap on registers, so that one more program fits a multiprocessor.
        cap = {"maxnreg": config["registers"]} if config["registers"] else {}
        _outputs[(heads // together * tiles, chunks, batch)](
            x, c, products, between, steps, sums, skip if skip is not None else a, y, tokens, heads, heads // groups, groups,
            *x.stride()[:3], *c.stride()[:3],
            P=size, NS=states, N=padded, Q=chunk, BM=rows, BK=keys, HEADS=together, HAS_SKIP=skip is not None,
            PRECISION=precision, num_warps=config["num_warps"], num_stages=config["num_stages"], **cap,
        )  # fmt: skip
    if state is not None and kept is not state:
        state.copy_(kept)
    return y


def ssd_scan_ref(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor | None = None, dt_bias: Tensor | None = None,
    state: Tensor | None = None, *, softplus: bool = True, dt_limit: tuple[float, float] = FOREVER,
) -> Tensor:  # fmt: skip
    """The definition: same contract, plain PyTorch, any device. The quadratic form over chunks of 64, in fp32."""
    batch, tokens, heads, size = x.shape
    step = dt.float() + (dt_bias.float() if dt_bias is not None else 0.0)
    step = (torch.nn.functional.softplus(step) if softplus else step).clamp(*dt_limit)
    share = heads // b.shape[2]
    wide, b, c = x.float(), b.float().repeat_interleave(share, 2), c.float().repeat_interleave(share, 2)
    h = state.clone() if state is not None else x.new_zeros(batch, heads, size, b.shape[3], dtype=torch.float32)
    rows = []
    for first in range(0, tokens, 64):
        part = slice(first, first + 64)
        sums = (step[:, part] * a.float()).cumsum(1)  # [B, t, H]
        decay = (sums[:, :, None] - sums[:, None]).masked_fill(
            ~torch.ones(sums.shape[1], sums.shape[1], dtype=torch.bool, device=x.device).tril()[None, :, :, None],
            -torch.inf,
        )
        weights = torch.einsum("bthn,bshn->btsh", c[:, part], b[:, part]) * decay.exp()
        dx = wide[:, part] * step[:, part, :, None]
        inside = torch.einsum("btsh,bshp->bthp", weights, dx)
        before = torch.einsum("bthn,bhpn->bthp", c[:, part] * sums.exp()[..., None], h)
        rows.append(inside + before)
        left = (sums[:, -1:] - sums).exp()[..., None]
        h = h * sums[:, -1].exp()[..., None, None] + torch.einsum("bthp,bthn->bhpn", dx * left, b[:, part])
    y = torch.cat(rows, dim=1)
    if state is not None:
        state.copy_(h)
    return (y + (wide * skip.float()[:, None] if skip is not None else 0.0)).to(x.dtype)


def ssd_scan_cost(
    *,
    tokens: int,
    heads: int,
    size: int,
    states: int,
    groups: int = 1,
    batch: int = 1,
    chunk: int = 256,
    itemsize: int = 2,
) -> Cost:
    """FLOPs of the chunked form with the causal half counted once, as the published comparison counts them."""
    tensors = 2.0 * heads * size + 2.0 * groups * states + heads
    products = 2.0 * groups * states * chunk / 2 + heads * (2.0 * size * chunk / 2 + 4.0 * size * states)
    return Cost(nbytes=batch * tokens * tensors * itemsize, flops=batch * tokens * products)


@triton.jit
def _steps(
    DT, A, BIAS, STEPS, SUMS, T, H, db, dt_, dh, LEAST, MOST,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, Q: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """dt as it is used, and its running sum times a within a chunk, transposed to [B, H, T]."""
    chunk = tl.program_id(0)
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    b = tl.program_id(2).to(tl.int64)
    t = chunk * Q + tl.arange(0, Q)
    live = (t < T)[:, None] & (h < H)[None, :]
    step = tl.load(DT + b * db + t[:, None].to(tl.int64) * dt_ + h[None, :] * dh, mask=live, other=0.0).to(tl.float32)
    if HAS_BIAS:
        step += tl.load(BIAS + h, mask=h < H, other=0.0).to(tl.float32)[None, :]
    if SOFTPLUS:
        step = tl.where(step > 20.0, step, tl.log(1.0 + tl.exp(step)))
    step = tl.where(live, tl.minimum(tl.maximum(step, LEAST), MOST), 0.0)
    a = tl.load(A + h, mask=h < H, other=0.0).to(tl.float32) * 1.4426950408889634
    sums = tl.cumsum(step * a[None, :], 0)
    place = (b * H + h[None, :]) * (tl.num_programs(0) * Q) + t[:, None]
    tl.store(STEPS + place, step, mask=(h < H)[None, :])
    tl.store(SUMS + place, sums, mask=(h < H)[None, :])


@triton.jit
def _products(
    C, B, OUT, T, G, cb, ct, cg, bb, bt, bg,
    NS: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """C B^T of one chunk and group, blocks on and below the diagonal."""
    m0 = (tl.program_id(0) // (Q // BK)) * BM
    k0 = (tl.program_id(0) % (Q // BK)) * BK
    chunk = tl.program_id(1) // G
    g = tl.program_id(1) % G
    batch = tl.program_id(2).to(tl.int64)
    if k0 < m0 + BM:
        first = chunk.to(tl.int64) * Q
        n = tl.arange(0, N)
        m = m0 + tl.arange(0, BM)
        k = k0 + tl.arange(0, BK)
        c = tl.load(
            C + batch * cb + first * ct + g * cg + m[:, None] * ct + n[None, :],
            mask=(first + m < T)[:, None] & (n < NS)[None, :],
            other=0.0,
        )
        b = tl.load(
            B + batch * bb + first * bt + g * bg + k[None, :] * bt + n[:, None],
            mask=(first + k < T)[None, :] & (n < NS)[:, None],
            other=0.0,
        )
        s = tl.dot(c, b, input_precision=PRECISION)
        out = OUT + ((batch * tl.num_programs(1) + tl.program_id(1)) * Q + m[:, None]) * Q + k[None, :]
        tl.store(out, s.to(OUT.dtype.element_ty))


@triton.jit
def _chunk_states(
    X, B, STEPS, SUMS, OUT, T, H, SHARE, xb, xt, xh, bb, bt, bg,
    P: tl.constexpr, NS: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What one chunk of one head adds to the state at the chunk's end, [P, N]."""
    h = tl.program_id(0)
    chunk = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    p = tl.arange(0, P)
    n = tl.arange(0, N)
    k = tl.arange(0, BK)
    first = chunk.to(tl.int64) * Q
    line = (b * H + h) * (tl.num_programs(1) * Q) + first
    last = tl.load(SUMS + line + Q - 1)
    x_p = X + b * xb + first * xt + h * xh
    b_p = B + b * bb + first * bt + (h // SHARE) * bg
    acc = tl.zeros((P, N), tl.float32)
    # The weights go on the operand that the tensor cores take from registers; the other then stays where the copy put it.
    for k0 in tl.range(0, Q, BK):
        ok = first + k0 + k < T
        x = tl.load(x_p + (k0 + k)[None, :] * xt + p[:, None], mask=ok[None, :], other=0.0)
        bk = tl.load(b_p + (k0 + k)[:, None] * bt + n[None, :], mask=ok[:, None] & (n < NS)[None, :], other=0.0)
        weight = tl.load(STEPS + line + k0 + k) * tl.exp2(last - tl.load(SUMS + line + k0 + k))
        acc += tl.dot((x.to(tl.float32) * weight[None, :]).to(x.dtype), bk, input_precision=PRECISION)
    out = OUT + ((b * tl.num_programs(1) + chunk) * H + h) * (P * N) + p[:, None] * N + n[None, :]
    tl.store(out, acc.to(OUT.dtype.element_ty))


@triton.jit
def _chain(
    BETWEEN, SUMS, STATE, CHUNKS, H,
    P: tl.constexpr, NS: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BLOCK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """Turn what each chunk adds into the state that it starts from, in place; fp32 in between. STATE is [B, H, P, N].

    A chunk's turn is short against the way to memory, so AHEAD chunks are on their way while as many are worked on."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    kept = STATE + (b * H + h) * (P * NS) + (e // N) * NS + e % N
    real = e % N < NS
    line = SUMS + (b * H + h) * (CHUNKS * Q) + Q - 1
    state = tl.load(kept, mask=real, other=0.0)
    stride = H * P * N
    place = BETWEEN + (b * CHUNKS * H + h) * (P * N) + e
    added = ()
    sums = ()
    for i in tl.static_range(AHEAD):
        added = added + (tl.load(place + i * stride, mask=i < CHUNKS, other=0.0),)
        sums = sums + (tl.load(line + i * Q, mask=i < CHUNKS, other=0.0),)
    for number in tl.range(0, CHUNKS, AHEAD):
        # Asked for before this round's places are overwritten: the compiler cannot know that they differ.
        next_added = ()
        next_sums = ()
        for i in tl.static_range(AHEAD):
            there = number + AHEAD + i < CHUNKS
            at = place + (AHEAD + i) * stride
            next_added = next_added + (tl.load(at, mask=there, other=0.0),)
            next_sums = next_sums + (tl.load(line + (number + AHEAD + i) * Q, mask=there, other=0.0),)
        for i in tl.static_range(AHEAD):
            # Past the last chunk nothing is added and nothing decays.
            tl.store(place + i * stride, state.to(BETWEEN.dtype.element_ty), mask=number + i < CHUNKS)
            state = state * tl.exp2(sums[i]) + added[i].to(tl.float32)
        added = next_added
        sums = next_sums
        place += AHEAD * stride
    tl.store(kept, state, mask=real)


@triton.jit
def _outputs(
    X, C, PRODUCTS, BETWEEN, STEPS, SUMS, SKIP, Y, T, H, SHARE, G, xb, xt, xh, cb, ct, cg,
    P: tl.constexpr, NS: tl.constexpr, N: tl.constexpr, Q: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
    HEADS: tl.constexpr, HAS_SKIP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """BM tokens of one chunk and of HEADS heads of a group: what the state before the chunk gives, and what the chunk gives
    itself. C and its products with B are read once for these heads."""
    m0 = (tl.program_id(0) % (Q // BM)) * BM
    h0 = tl.program_id(0) // (Q // BM) * HEADS
    chunk = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    first = chunk.to(tl.int64) * Q
    p = tl.arange(0, P)
    n = tl.arange(0, N)
    m = m0 + tl.arange(0, BM)
    k = tl.arange(0, BK)
    ok_m = first + m < T
    g = h0 // SHARE
    c = tl.load(
        C + b * cb + first * ct + g * cg + m[:, None] * ct + n[None, :],
        mask=ok_m[:, None] & (n < NS)[None, :],
        other=0.0,
    )
    line = (b * H + h0) * (tl.num_programs(1) * Q) + first  # of the first head; the others follow in equal steps
    width = tl.num_programs(1) * Q
    x_p = X + b * xb + first * xt + h0 * xh
    state_p = BETWEEN + ((b * tl.num_programs(1) + chunk) * H + h0) * (P * N) + p[None, :] * N + n[:, None]
    product = PRODUCTS + ((b * tl.num_programs(1) + chunk) * G + g) * (Q * Q) + m[:, None] * Q
    # Decay from k to m goes by way of the block's beginning: what lies before the block is scaled by one factor a column, and all
    # of it by one factor a row afterwards. Both factors are at most 1.
    begins = ()
    accs = ()
    for i in tl.static_range(HEADS):
        begin = tl.load(SUMS + line + i * width + m0 - 1, mask=m0 > 0, other=0.0)
        begins = begins + (begin,)
        accs = accs + (tl.dot(c, tl.load(state_p + i * (P * N)), input_precision=PRECISION) * tl.exp2(begin),)
    for k0 in tl.range(0, m0, BK):
        s = tl.load(product + (k0 + k)[None, :]).to(tl.float32)
        added = ()
        for i in tl.static_range(HEADS):
            x = tl.load(
                x_p + i * xh + (k0 + k)[:, None] * xt + p[None, :], mask=(first + k0 + k < T)[:, None], other=0.0
            )
            at = line + i * width + k0 + k
            weight = tl.load(STEPS + at) * tl.exp2(begins[i] - tl.load(SUMS + at))
            added = added + (accs[i] + tl.dot((s * weight[None, :]).to(x.dtype), x, input_precision=PRECISION),)
        accs = added
    sums_m = ()
    scaled = ()
    for i in tl.static_range(HEADS):
        sum_m = tl.load(SUMS + line + i * width + m)
        sums_m = sums_m + (sum_m,)
        scaled = scaled + (accs[i] * tl.exp2(sum_m - begins[i])[:, None],)
    accs = scaled
    for k0 in tl.range(m0, m0 + BM, BK):
        s = tl.load(product + (k0 + k)[None, :]).to(tl.float32)
        seen = m[:, None] >= (k0 + k)[None, :]
        added = ()
        for i in tl.static_range(HEADS):
            x = tl.load(
                x_p + i * xh + (k0 + k)[:, None] * xt + p[None, :], mask=(first + k0 + k < T)[:, None], other=0.0
            )
            sum_k = tl.load(SUMS + line + i * width + k0 + k)
            step = tl.load(STEPS + line + i * width + k0 + k)
            own = tl.where(seen, s * tl.exp2(sums_m[i][:, None] - sum_k[None, :]) * step[None, :], 0.0)
            added = added + (accs[i] + tl.dot(own.to(x.dtype), x, input_precision=PRECISION),)
        accs = added
    for i in tl.static_range(HEADS):
        out = accs[i]
        if HAS_SKIP:
            x = tl.load(x_p + i * xh + m[:, None] * xt + p[None, :], mask=ok_m[:, None], other=0.0)
            out += x.to(tl.float32) * tl.load(SKIP + h0 + i).to(tl.float32)
        y = Y + ((b * T + first) * H + h0 + i) * P + (m[:, None] * H).to(tl.int64) * P + p[None, :]
        tl.store(y, out.to(Y.dtype.element_ty), mask=ok_m[:, None])
