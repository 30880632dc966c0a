"""At load: may this model's cache be continued, and put back? Decides `prefix_mode`, with the reason for the manifest.

Some architectures continue wrongly from a cache without an error (a scan that restarts from a zero state, a position that is
derived from a layer without one). So each way of continuing is compared with reading everything from the beginning:

    shared   any number of tokens after a cache, cut as the engine cuts, and again after a snapshot was restored
    step     one token at a time after a first pass
    off      neither: nothing is reused

The yardstick is the model itself: how far its logits move (root mean square) when every number that leaves the embedding is
off by up to two roundings. Over 16 architectures and three dtypes, a correct continuation moved the logits by 0 to 1.4 times
that, a wrong one by 4 to 600,000 times (tests/engine/test_selftest.py); we allow 3. A deep scan in chunks rounds more where it
hands its state on than anywhere in its input: a 24-layer Mamba-2 of 1B shape in fp32 moved by 13 times that right after the
cut, and so did its own full pass, with no cache, when a border of the scan's chunks lay there. So the yardstick is the larger
of the two, the second up to BORDER_LIMIT. In half precision a small fault can hide in the rounding, so the test is run again
with the same weights in fp32 where they fit. A restored snapshot gets no allowance: it has to
give equal bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.machine import free_bytes
from longboard_tasks.engine.reader import PrefixMode, Reader
from longboard_tasks.engine.stream import Stream, fork, held_tokens, is_all_attention, restore, take_snapshot

MODES: tuple[PrefixMode, ...] = ("shared", "step", "off")
TOKENS = 200
DECODED = 8  # read one by one at the end of each span, as decoding does
FIRST = 8  # tokens right after the cut: there a lost state shows most
ALLOWANCE = 3.0
BORDER_LIMIT = 5e-3  # of the logits' spread: a scan that depends on its chunk by more is wrong, not rounded

Tamper = Callable[[Stream], None]


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Errors are root mean squares, as shares of the logits' spread; 0 for mode "off"."""

    mode: PrefixMode
    reason: str
    noise: float  # what two roundings of the embedding do
    error: float  # what the chosen mode does
    batches: bool = True  # False: rows of a batch disturb one another; read them one by one
    packs: bool = False  # True: several prompts may share one row, told apart by a mask
    repeats: bool = True  # False: on this device the same calls do not give the same bits twice


def run_self_test(reader: Reader, *, tamper: Tamper | None = None) -> SelfTest:
    """Find the best mode that is right. `tamper` damages the stream after each restore: a test that the test can fail."""
    outcome = _test(reader, tamper)
    if _dtype(reader).itemsize >= 4 or outcome.mode == "off" or not _fits_in_single(reader):
        return outcome
    with _in_single_precision(reader.model), torch.backends.cudnn.flags(allow_tf32=False):
        single = _test(reader, tamper)
    if MODES.index(single.mode) > MODES.index(outcome.mode) or (outcome.batches and not single.batches):
        reason = f"in fp32: {single.reason}"[:290]
        return SelfTest(single.mode, reason, single.noise, single.error, single.batches, single.packs, outcome.repeats)
    return outcome


def _test(reader: Reader, tamper: Tamper | None) -> SelfTest:
    if not reader.cache_name:
        return SelfTest("off", "the model's forward takes no cache", 0.0, 0.0)
    ids = _draw_tokens(reader)
    whole = _read_whole(reader, ids)
    spread = float(whole.std()) or 1.0
    nudged = max(_rms(_read_nudged(reader, ids, seed), whole) for seed in (0, 1)) / spread
    noise = max(nudged, min(_measure_borders(reader, ids, whole) / spread, BORDER_LIMIT))
    reasons = []
    for mode in MODES[:2]:
        trial = _try(reader.with_(mode=mode, chunk=64), ids, whole, tamper)
        error, batched = trial.error / spread, trial.batch_error / spread
        if trial.fault:
            reasons.append(f"{mode}: {trial.fault}")
        elif not error <= ALLOWANCE * noise:
            reasons.append(
                f"{mode}: continuing from the cache is off by {error:.1e} of the logits' spread (noise {noise:.1e})"
            )
        elif not trial.same_bits:
            reasons.append(f"{mode}: a restored snapshot does not give the same bits")
        else:
            reasons.append(f"{mode}: equals a full pass to {error:.1e} of the logits' spread (noise {noise:.1e})")
            batches = batched <= ALLOWANCE * noise
            if not batches:
                reasons.append(f"a batch is off by {batched:.1e}, so rows are read one by one")
            packs = trial.pack_error / spread <= ALLOWANCE * noise
            if not trial.repeats:
                reasons.append("the same calls do not give the same bits twice on this device")
            return SelfTest(mode, "; ".join(reasons)[:290], noise, error, batches, packs, trial.repeats)
    return SelfTest("off", "; ".join(reasons)[:290], noise, 0.0)


@dataclass(frozen=True, slots=True)
class _Trial:
    error: float = float("inf")  # from the full pass
    batch_error: float = float("inf")  # the same in the second row of a forked batch
    pack_error: float = float("inf")  # the same for tails that share a row
    same_bits: bool = False  # did the restored snapshot give the bits of the first time?
    repeats: bool = False  # does a second stream, with other room, give them too?
    fault: str = ""


def _try(reader: Reader, ids: Tensor, whole: Tensor, tamper: Tamper | None) -> _Trial:
    split = _split(ids)
    tail, wanted = ids[:, split:], whole[split:]
    try:
        stream = reader.open(ids.shape[1])
        head = _read_on(reader, stream, ids[:, :split])
        snapshot = take_snapshot(stream)
        once = _read_on(reader, stream, tail)
        restore(stream, snapshot)
        # Another branch in between: what it leaves behind is what a faulty restore lets through.
        _read_on(reader, stream, tail.flip(-1))
        restore(stream, snapshot)
        if tamper:
            tamper(stream)
        again = _read_on(reader, stream, tail)
        restore(stream, snapshot)
        # The other row reads other tokens, or a row that leaks into its neighbour would not show.
        restore(stream, snapshot)
        packed = _read_packed(reader, stream, tail) if is_all_attention(stream) and reader.mode == "shared" else None
        restore(stream, snapshot)
        twin = reader.open(2 * ids.shape[1] + 1)
        repeats = torch.equal(_read_on(reader, twin, ids[:, :split]), head) and torch.equal(
            _read_on(reader, twin, tail), once
        )
        pair = _read_on(reader, fork(stream, 2, reserve=ids.shape[1]), torch.cat([tail.flip(-1), tail]), row=1)
    except Exception as error:  # any failure of a foreign forward means: not this way
        return _Trial(fault=f"{type(error).__name__}: {error}"[:120])
    return _Trial(
        error=max(_rms(head, whole[:split]), _rms(once, wanted), _rms(once[:FIRST], wanted[:FIRST])),
        batch_error=max(_rms(pair, wanted), _rms(pair[-DECODED:], wanted[-DECODED:])),
        pack_error=_rms(packed, wanted) if packed is not None else float("inf"),
        same_bits=torch.equal(once, again),
        repeats=repeats,
    )


def _draw_tokens(reader: Reader) -> Tensor:
    """Random ids [1, T]: 200, or enough to leave a sliding window of up to 2,000 behind."""
    config: Any = reader.config
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_window_size", None) or 0
    count = max(TOKENS, window + 100) if 0 < window <= 2_000 else TOKENS
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or count
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, config.vocab_size, (1, min(count, limit)), generator=generator).to(reader.device)


def _read_whole(reader: Reader, ids: Tensor) -> Tensor:
    """All logits of one pass without a cache, [T, V] fp32."""
    off = reader.with_(mode="off")
    return off.read(off.open(), ids, ids.shape[1])[0].float()


def _read_nudged(reader: Reader, ids: Tensor, seed: int) -> Tensor:
    """As `_read_whole`, with every number that leaves the embedding off by up to two roundings."""
    generator = torch.Generator().manual_seed(seed)

    def nudge(module: Any, inputs: Any, output: Tensor) -> Tensor:
        share = torch.rand(output.shape, generator=generator).to(output.device) * 2 - 1
        return (output.float() * (1 + share * 2 * torch.finfo(output.dtype).eps)).to(output.dtype)

    handle = reader.model.get_input_embeddings().register_forward_hook(nudge)
    try:
        return _read_whole(reader, ids)
    finally:
        handle.remove()


def _measure_borders(reader: Reader, ids: Tensor, whole: Tensor) -> float:
    """How far a full pass moves when every chunked scan has a chunk border where the test hands a state on.

    The same function, summed otherwise. What a border does shows in the tokens after it: the worst FIRST in a row count.
    """
    scans = [module for module in reader.model.modules() if isinstance(getattr(module, "chunk_size", None), int)]
    before = [module.chunk_size for module in scans]
    worst = 0.0
    try:
        for border in (_split(ids), _split(ids) - DECODED, ids.shape[1] - DECODED) if scans else ():
            for module in scans:
                module.chunk_size = border
            squares = (_read_whole(reader, ids) - whole).pow(2).mean(dim=1)
            worst = max(worst, float(squares.unfold(0, FIRST, 1).mean(dim=1).max().sqrt()))
    except Exception:  # a kernel that knows only some sizes: the first yardstick alone
        return 0.0
    finally:
        for module, size in zip(scans, before, strict=True):
            module.chunk_size = size
    return worst


def _split(ids: Tensor) -> int:
    """Where the test cuts its tokens: off every power of two, well inside a chunk."""
    return ids.shape[1] * 5 // 8


def _read_on(reader: Reader, stream: Stream, ids: Tensor, row: int = 0) -> Tensor:
    """All logits of `ids` read after `stream` as the engine reads them: in chunks, then DECODED single tokens. [T, V] fp32."""
    border = ids.shape[1] - DECODED
    parts = list(reader.read_span(stream, ids[:, :border], border))
    parts += [reader.read(stream, ids[:, at : at + 1], 1) for at in range(border, ids.shape[1])]
    return torch.cat(parts, dim=1)[row].float()


def _read_packed(reader: Reader, stream: Stream, tail: Tensor) -> Tensor | None:
    """Logits of `tail` [1, T] read in a row with another tail, then DECODED tokens of each in turn; None if it cannot be."""
    border, trunk = tail.shape[1] - DECODED, held_tokens(stream)
    other, rows = tail.flip(-1), torch.arange(2, device=tail.device)
    owner = rows.repeat_interleave(border)
    places = torch.arange(border, device=tail.device).repeat(2) + stream.position

    def sees(mine: Tensor, theirs: Tensor) -> Tensor:
        return torch.cat([torch.ones(len(mine), trunk, dtype=torch.bool, device=tail.device), theirs], dim=1)

    try:
        ids = torch.cat([other[:, :border], tail[:, :border]], dim=1)
        mask = sees(owner, (owner[:, None] == owner).tril())
        parts = [reader.read_packed(stream, ids, places, mask, torch.arange(border, 2 * border, device=tail.device))]
        for at in range(border, tail.shape[1]):
            owner = torch.cat([owner, rows])
            place = torch.full((2,), stream.position + at, device=tail.device)
            ids = torch.stack([other[0, at], tail[0, at]])[None]
            parts.append(reader.read_packed(stream, ids, place, sees(rows, rows[:, None] == owner), rows)[1:])
    except Exception:  # a forward that takes no such mask: prompts get rows of their own
        return None
    return torch.cat(parts).float()


def _rms(a: Tensor, b: Tensor) -> float:
    value = float((a - b).pow(2).mean().sqrt())
    return value if value == value else float("inf")


def _dtype(reader: Reader) -> torch.dtype:
    return next(p.dtype for p in reader.model.parameters() if p.dtype.is_floating_point)


def _fits_in_single(reader: Reader) -> bool:
    more = sum(p.numel() * (4 - p.element_size()) for p in reader.model.parameters())
    return more < 0.5 * free_bytes(reader.device)


@contextmanager
def _in_single_precision(model: Any) -> Iterator[None]:
    """The parameters as fp32 for a while. Every half-precision number is one in fp32 too, so the way back loses nothing."""
    before = {p: p.dtype for p in model.parameters() if p.dtype in (torch.bfloat16, torch.float16)}
    try:
        for parameter in before:
            parameter.data = parameter.data.float()
        yield
    finally:
        for parameter, dtype in before.items():
            parameter.data = parameter.data.to(dtype)
