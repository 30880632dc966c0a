"""K2: the selective scan of Mamba, channel-last, with a state that is carried in and out."""

# mypy: disable-error-code="assignment"
# (tuples that grow in a loop unrolled at compile time have no one type)
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import multiprocessors, runs_triton
from longboard_kernels.errors import require
from longboard_kernels.selective_scan_lanes import fits, scan_in_lanes

LANES = 32  # channels of one program of the chain of ends
LONG = 8_192  # tokens from which two channels a lane pay: below, a sequence has too few segments for them


def selective_scan(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor | None = None, z: Tensor | None = None,
    dt_bias: Tensor | None = None, state: Tensor | None = None, *, softplus: bool = True,
) -> Tensor:  # fmt: skip
    """h <- exp(dt A) h + dt B u;   y = (C h + skip u) silu(z), token by token, each channel for itself.

    u, dt, z  [B, T, D]  fp32, fp16 or bf16; the channel with stride 1. z None: no gate
    a         [D, N]     fp32, negative; N a multiple of 4, up to 64
    b, c      [B, T, N]  any of these dtypes and strides
    skip      [D]        or None
    dt_bias   [D]        added to dt before the softplus, or None
    state     [B, D, N]  fp32, updated in place from before the first token to after the last. None: zeros, and not kept
    softplus  False: dt is taken as it is
    returns   y [B, T, D] contiguous, dtype of u; everything inside in fp32

    Source: Gu and Dao 2023 (Mamba, arXiv:2312.00752), algorithm 2. In bf16 with 16 states four lanes share a channel and one pass
    does (`selective_scan_lanes`, CUDA C++). Else long sequences are cut into segments. A first launch finds each segment's end
    from a state of zero, without outputs; a short one chains the ends; the last scans all segments side by side, each from its
    true state. So a long sequence pays its exponentials twice there, everything else once.
    Held to `selective_scan_ref`: 1e-5 relative in fp32; 3e-3 in bf16.
    Cost: u, dt, z, y once; D*N exponentials a token bind before memory does.
    Raises KernelInputError for N that is no multiple of 4 or above 64, a channel stride other than 1, a state that is not fp32.
    """
    batch, tokens, channels = u.shape
    size = a.shape[1]
    require(
        size % 4 == 0 and size <= 64, f"The state has {size} numbers a channel; selective_scan takes 4 to 64 by fours."
    )
    require(
        u.stride(2) == 1 == dt.stride(2) and (z is None or z.stride(2) == 1),
        "selective_scan reads tokens x channels: u, dt and z need channel stride 1. Transpose them first.",
    )
    require(state is None or state.dtype == torch.float32, "The state of a scan is kept in fp32.")
    if not runs_triton(u):
        return selective_scan_ref(u, dt, a, b, c, skip, z, dt_bias, state, softplus=softplus)
    config = tuned.choose("selective_scan", choose_key(tokens, size))
    if config.get("lanes_a_channel", 1) == 4 and fits(u, dt, b, c, z, size):
        return scan_in_lanes(u, dt, a, b, c, skip, z, dt_bias, state, softplus=softplus)
    lanes = config["lanes"]  # channels of one program: one or two a lane, all states of a channel in its registers
    groups = triton.cdiv(channels, lanes)
    most = max(1, multiprocessors(u.device) * config["warps"] // (groups * batch))
    unroll = config["unroll"] if tokens > 1 else 1
    step = triton.cdiv(triton.cdiv(tokens, min(most, triton.cdiv(tokens, config["shortest"]))), unroll) * unroll
    segments = triton.cdiv(tokens, step)
    a = a.float().contiguous()
    rows = torch.cat([b, c], dim=2).float()  # [B, T, 2N]: one line of memory a token
    y = torch.empty(batch, tokens, channels, dtype=u.dtype, device=u.device)
    kept = state if state is not None else torch.zeros(batch, channels, size, dtype=torch.float32, device=u.device)
    kept = kept.contiguous()
    # Slot s: the state after segment s. The last is written while the first segment still reads `kept`.
    ends = torch.empty(batch, segments, channels, size, dtype=torch.float32, device=u.device) if segments > 1 else kept
    sums = torch.empty(batch, segments, channels, dtype=torch.float32, device=u.device) if segments > 1 else kept
    options = {
        "N": size, "HAS_BIAS": dt_bias is not None, "SOFTPLUS": softplus, "HAS_SKIP": skip is not None,
        "HAS_Z": z is not None, "U": unroll, "LANES": lanes, "num_warps": 1,
    }  # fmt: skip
    arguments = (
        u, dt, z if z is not None else u, a, rows, skip if skip is not None else a, dt_bias if dt_bias is not None else a,
        y, ends, sums, kept, tokens, channels, step,
        u.stride(0), u.stride(1), dt.stride(0), dt.stride(1), *(z.stride()[:2] if z is not None else (0, 0)),
    )  # fmt: skip
    if segments > 1:
        _ends[(groups, segments - 1, batch)](*arguments, **options)
        _chain[(triton.cdiv(channels, LANES), size // 4, batch)](
            a, ends, sums, channels, segments, N=size, LANES=LANES, num_warps=1
        )
    _scan[(groups, segments, batch)](*arguments, SEGMENTED=segments > 1, **options)
    if state is not None and segments > 1:
        state.copy_(ends[:, -1])
    elif state is not None and kept is not state:
        state.copy_(kept)
    return y


def choose_key(tokens: int, size: int) -> str:
    """The row of the table of tiles: long sequences have one of their own, others share the general one."""
    return f"n{size}" if tokens >= LONG else ""


def selective_scan_ref(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor | None = None, z: Tensor | None = None,
    dt_bias: Tensor | None = None, state: Tensor | None = None, *, softplus: bool = True,
) -> Tensor:  # fmt: skip
    """The definition: same contract, plain PyTorch, any device."""
    step = dt.float() + (dt_bias.float() if dt_bias is not None else 0.0)
    step = torch.nn.functional.softplus(step) if softplus else step
    wide, b, c = u.float(), b.float(), c.float()
    h = state if state is not None else u.new_zeros(u.shape[0], u.shape[2], a.shape[1], dtype=torch.float32)
    rows = []
    for t in range(u.shape[1]):
        decay = torch.exp(step[:, t, :, None] * a.float())
        h = decay * h + (step[:, t] * wide[:, t])[..., None] * b[:, t, None]
        rows.append(torch.einsum("bdn,bn->bd", h, c[:, t]))
    y = torch.stack(rows, dim=1)
    if state is not None:
        state.copy_(h)
    y = y + (wide * skip.float() if skip is not None else 0.0)
    return (y * torch.nn.functional.silu(z.float()) if z is not None else y).to(u.dtype)


def selective_scan_cost(*, tokens: int, channels: int, states: int, batch: int = 1, itemsize: int = 2) -> Cost:
    tensors = 4.0 * channels + 2.0 * states  # u, dt, z, y; b, c
    return Cost(nbytes=batch * tokens * tensors * itemsize, exponentials=float(batch * tokens * channels * states))


@triton.jit
def _load_rows(P, row, step, stop, d, live, U: tl.constexpr):
    """U rows of channels from row on, as a tuple; what lies at or after `stop` is zero."""
    got = ()
    corner = P + (tl.full((), 0, tl.int64) + row) * step + d
    for i in tl.static_range(U):
        got = got + (tl.load(corner + i * step, mask=live & (row + i < stop), other=0.0),)
    return got


@triton.jit
def _load_line(BC, line, COUNT: tl.constexpr):
    """The first COUNT fours of a token's line, b before c, as a tuple of vectors of four."""
    q = tl.arange(0, 4)
    got = ()
    for j in tl.static_range(COUNT):
        got = got + (tl.load(BC + line + 4 * j + q),)
    return got


@triton.jit
def _step_of(dt, bias, inside, SOFTPLUS: tl.constexpr):
    """dt as it is used; zero after the end, which leaves the state alone."""
    step = dt.to(tl.float32) + bias
    if SOFTPLUS:
        grown = tl.log2(1.0 + tl.exp2(step * 1.4426950408889634)) * 0.6931471805599453
        step = tl.where(step > 20.0, step, grown)
    return tl.where(inside, step, 0.0)


@triton.jit
def _scan(
    UU, DT, Z, A, BC, SKIP, BIAS, Y, ENDS, SUMS, STATE, T, D, STEP, ub, ut, db, dt_, zb, zt,
    N: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_Z: tl.constexpr,
    U: tl.constexpr, LANES: tl.constexpr, SEGMENTED: tl.constexpr,
):  # fmt: skip
    """One segment of LANES channels, the first from the carried state, others from the end before. The state is a tuple of
    [LANES, 4] tiles: the compiler keeps four numbers of one channel in one lane, so neither the softplus nor the sum over states
    crosses lanes. Rows and lines are asked for before the work of those before them: with a few warps, nothing else hides
    latency."""
    d = tl.program_id(0) * LANES + tl.arange(0, LANES)
    s = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    live = d < D
    q = tl.arange(0, 4)
    at = d[:, None] * N + q[None, :]
    own = live[:, None] & (q < 4)[None, :]
    place = (b * tl.num_programs(1) + s) * D * N
    a = ()
    h = ()
    for j in tl.static_range(N // 4):
        a = a + (tl.load(A + at + 4 * j, mask=own, other=0.0) * 1.4426950408889634,)
        carried = tl.load(STATE + b * D * N + at + 4 * j, mask=own & (s == 0), other=0.0)
        if SEGMENTED:
            carried += tl.load(ENDS + place - D * N + at + 4 * j, mask=own & (s > 0), other=0.0)
        h = h + (carried,)
    bias = tl.zeros((LANES,), tl.float32)
    if HAS_BIAS:
        bias += tl.load(BIAS + d, mask=live, other=0.0).to(tl.float32)
    skip = tl.zeros((LANES,), tl.float32)
    if HAS_SKIP:
        skip += tl.load(SKIP + d, mask=live, other=0.0).to(tl.float32)
    first = s * STEP
    stop = tl.minimum(first + STEP, T)
    us = _load_rows(UU + b * ub, first, ut, stop, d, live, U)
    dts = _load_rows(DT + b * db, first, dt_, stop, d, live, U)
    line = _load_line(BC, (b * T + first) * (2 * N), N // 2)
    for t in tl.range(first, stop, U):
        next_us = _load_rows(UU + b * ub, t + U, ut, stop, d, live, U)
        next_dts = _load_rows(DT + b * db, t + U, dt_, stop, d, live, U)
        if HAS_Z:
            zs = _load_rows(Z + b * zb, t, zt, stop, d, live, U)
        ys = ()
        for i in tl.static_range(U):
            next_line = _load_line(BC, (b * T + tl.minimum(t + i + 1, T - 1)) * (2 * N), N // 2)
            step = _step_of(dts[i], bias, t + i < stop, SOFTPLUS)
            u = us[i].to(tl.float32)
            du = step * u
            seen = tl.zeros((LANES, 4), tl.float32)
            after = ()
            for j in tl.static_range(N // 4):
                hj = tl.exp2(step[:, None] * a[j]) * h[j] + du[:, None] * line[j][None, :]
                seen += hj * line[N // 4 + j][None, :]
                after = after + (hj,)
            h = after
            line = next_line
            y = skip * u + tl.sum(seen, 1)
            if HAS_Z:
                z = zs[i].to(tl.float32)
                y = y * z / (1.0 + tl.exp2(z * -1.4426950408889634))
            ys = ys + (y,)
        for i in tl.static_range(U):
            row = Y + (b * T + t + i) * D + d
            tl.store(row, ys[i].to(Y.dtype.element_ty), mask=live & (t + i < stop))
        us = next_us
        dts = next_dts
    for j in tl.static_range(N // 4):
        if SEGMENTED:
            tl.store(ENDS + place + at + 4 * j, h[j], mask=own & (s == tl.num_programs(1) - 1))
        else:
            tl.store(STATE + b * D * N + at + 4 * j, h[j], mask=own)


@triton.jit
def _ends(
    UU, DT, Z, A, BC, SKIP, BIAS, Y, ENDS, SUMS, STATE, T, D, STEP, ub, ut, db, dt_, zb, zt,
    N: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_Z: tl.constexpr,
    U: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """What a segment leaves, the first from the carried state, others from zero, and its sum of dt. All but the last segment;
    those are whole. Arguments as of `_scan`."""
    d = tl.program_id(0) * LANES + tl.arange(0, LANES)
    s = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    live = d < D
    q = tl.arange(0, 4)
    at = d[:, None] * N + q[None, :]
    own = live[:, None] & (q < 4)[None, :]
    a = ()
    h = ()
    for j in tl.static_range(N // 4):
        a = a + (tl.load(A + at + 4 * j, mask=own, other=0.0) * 1.4426950408889634,)
        h = h + (tl.load(STATE + b * D * N + at + 4 * j, mask=own & (s == 0), other=0.0),)
    bias = tl.zeros((LANES,), tl.float32)
    if HAS_BIAS:
        bias += tl.load(BIAS + d, mask=live, other=0.0).to(tl.float32)
    first = s * STEP
    stop = first + STEP
    total = tl.zeros((LANES,), tl.float32)
    us = _load_rows(UU + b * ub, first, ut, stop, d, live, U)
    dts = _load_rows(DT + b * db, first, dt_, stop, d, live, U)
    line = _load_line(BC, (b * T + first) * (2 * N), N // 4)
    for t in tl.range(first, stop, U):
        next_us = _load_rows(UU + b * ub, t + U, ut, stop, d, live, U)
        next_dts = _load_rows(DT + b * db, t + U, dt_, stop, d, live, U)
        for i in tl.static_range(U):
            next_line = _load_line(BC, (b * T + t + i + 1) * (2 * N), N // 4)
            step = _step_of(dts[i], bias, True, SOFTPLUS)
            du = step * us[i].to(tl.float32)
            after = ()
            for j in tl.static_range(N // 4):
                after = after + (tl.exp2(step[:, None] * a[j]) * h[j] + du[:, None] * line[j][None, :],)
            h = after
            line = next_line
            total += step
        us = next_us
        dts = next_dts
    place = (b * (tl.num_programs(1) + 1) + s) * D
    for j in tl.static_range(N // 4):
        tl.store(ENDS + place * N + at + 4 * j, h[j], mask=own)
    tl.store(SUMS + place + d, total, mask=live)


@triton.jit
def _chain(A, ENDS, SUMS, D, SEGMENTS, N: tl.constexpr, LANES: tl.constexpr):
    """Turn what each segment but the last leaves by itself into the state after it, in place. exp(A sum of dt) is a segment's
    whole decay. The first has the carried state in it already."""
    d = tl.program_id(0) * LANES + tl.arange(0, LANES)
    b = tl.program_id(2).to(tl.int64)
    live = d < D
    q = tl.program_id(1) * 4 + tl.arange(0, 4)
    at = d[:, None] * N + q[None, :]
    own = live[:, None] & (q < N)[None, :]
    a = tl.load(A + at, mask=own, other=0.0) * 1.4426950408889634
    h = tl.load(ENDS + b * SEGMENTS * D * N + at, mask=own, other=0.0)
    for s in tl.range(1, SEGMENTS - 1):
        place = (b * SEGMENTS + s) * D
        end = tl.load(ENDS + place * N + at, mask=own, other=0.0)
        total = tl.load(SUMS + place + d, mask=live, other=0.0)
        h = tl.exp2(total[:, None] * a) * h + end
        tl.store(ENDS + place * N + at, h, mask=own)
