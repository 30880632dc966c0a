"""At load: may this model's cache be continued, and put back? Decides `prefix_mode`, with the reason for the manifest.

Some architectures continue wrongly from a cache without an error (a scan that restarts from a zero state, a position that is
derived from a layer without one). So each way of continuing is compared with reading everything from the beginning:

    shared   any number of tokens after a cache, cut as the engine cuts, and again after a snapshot was restored
    step     one token at a time after a first pass
    off      neither: nothing is reused

The yardstick is the model itself. Rounding makes two correct computations of the same logits differ, by an amount that depends
on depth, width and dtype; we measure that amount (`noise`: the same prefix inside inputs of other lengths, so other matrix
shapes, all from the beginning) and allow ten times as much. A restored snapshot gets no allowance: it has to give equal bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.reader import PrefixMode, Reader
from longboard_tasks.engine.stream import Stream, fork, restore, take_snapshot

MODES: tuple[PrefixMode, ...] = ("shared", "step")
TOKENS = 200
DECODED = 8  # read one by one at the end of each span, as decoding does
ALLOWANCE = 10.0


@dataclass(frozen=True, slots=True)
class SelfTest:
    mode: PrefixMode
    reason: str
    noise: float  # largest difference between two correct computations, as a share of the logits' spread
    error: float  # the same for the chosen mode (0 for "off")
    batches: bool = True  # False: rows of a batch disturb one another; read them one by one


def run_self_test(reader: Reader, *, tamper: Callable[[Stream], None] | None = None) -> SelfTest:
    """Find the best mode that is right. `tamper` damages the stream after each restore: a test that the test can fail."""
    if not reader.cache_name:
        return SelfTest("off", "the model's forward takes no cache", 0.0, 0.0)
    ids = _tokens(reader)
    whole = _from_start(reader, ids)
    spread = float(whole.std()) or 1.0
    noise = max(
        _difference(_from_start(reader, ids[:, : ids.shape[1] - less]), whole[: ids.shape[1] - less]) / spread
        for less in (1, 7, 64)
    )
    # A model this small or this shallow may have no rounding to measure: the dtype's own grain is the least we allow.
    allowed = ALLOWANCE * max(noise, 4 * torch.finfo(_dtype(reader)).eps)
    reasons = []
    for mode in MODES:
        trial = _try(reader.with_(mode=mode, chunk=64), ids, whole, tamper)
        error, batched = trial.error / spread, trial.batch_error / spread
        if trial.fault:
            reasons.append(f"{mode}: {trial.fault}")
        elif error > allowed:
            reasons.append(f"{mode}: continuing from the cache is wrong by {error:.1e} (allowed {allowed:.1e})")
        elif not trial.same_bits:
            reasons.append(f"{mode}: a restored snapshot does not give the same bits")
        else:
            reasons.append(f"{mode}: equals a full pass to {error:.1e} of the logits' spread (noise {noise:.1e})")
            if batched > allowed:
                reasons.append(f"a batch is wrong by {batched:.1e}, so rows are read one by one")
            return SelfTest(mode, "; ".join(reasons)[:290], noise, error, batched <= allowed)
    return SelfTest("off", "; ".join(reasons)[:290], noise, 0.0)


@dataclass(frozen=True, slots=True)
class _Trial:
    error: float = float("inf")  # largest difference of a logit from the full pass
    batch_error: float = float("inf")  # the same in the second row of a forked batch
    same_bits: bool = False  # did the restored snapshot give the bits of the first time?
    fault: str = ""


def _try(reader: Reader, ids: Tensor, whole: Tensor, tamper: Callable[[Stream], None] | None) -> _Trial:
    split = ids.shape[1] * 5 // 8  # off every power of two, well inside a chunk
    tail, wanted = ids[:, split:], whole[split:]
    try:
        stream = reader.open(ids.shape[1])
        head = _logits(reader, stream, ids[:, :split])
        snapshot = take_snapshot(stream)
        once = _logits(reader, stream, tail)
        restore(stream, snapshot)
        # Another branch in between: what it leaves behind is what a faulty restore lets through.
        _logits(reader, stream, tail.flip(-1))
        restore(stream, snapshot)
        if tamper:
            tamper(stream)
        again = _logits(reader, stream, tail)
        restore(stream, snapshot)
        # The other row reads other tokens, or a row that leaks into its neighbour would not show.
        pair = _logits(reader, fork(stream, 2, reserve=ids.shape[1]), torch.cat([tail.flip(-1), tail]), row=1)
    except Exception as error:  # any failure of a foreign forward means: not this way
        return _Trial(fault=f"{type(error).__name__}: {error}"[:120])
    return _Trial(
        error=max(_difference(head, whole[:split]), _difference(once, wanted)),
        batch_error=_difference(pair, wanted),
        same_bits=torch.equal(once, again),
    )


def _tokens(reader: Reader) -> Tensor:
    """Random ids [1, T]: 200, or enough to leave a sliding window of up to 2,000 behind."""
    config: Any = reader.config
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_window_size", None) or 0
    count = max(TOKENS, window + 100) if 0 < window <= 2_000 else TOKENS
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or count
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, config.vocab_size, (1, min(count, limit)), generator=generator).to(reader.device)


def _from_start(reader: Reader, ids: Tensor) -> Tensor:
    """All logits of one pass without a cache, [T, V] fp32."""
    off = reader.with_(mode="off")
    return off.read(off.open(), ids, ids.shape[1])[0].float()


def _logits(reader: Reader, stream: Stream, ids: Tensor, row: int = 0) -> Tensor:
    """All logits of `ids` read after `stream`, as the engine reads them: chunks, then DECODED single tokens. [T, V] fp32."""
    parts = list(reader.read_span(stream, ids[:, :-DECODED], ids.shape[1] - DECODED))
    parts += [reader.read(stream, ids[:, at : at + 1], 1) for at in range(ids.shape[1] - DECODED, ids.shape[1])]
    return torch.cat(parts, dim=1)[row].float()


def _difference(a: Tensor, b: Tensor) -> float:
    worst = (a - b).abs().max()
    return float(worst) if torch.isfinite(worst) else float("inf")


def _dtype(reader: Reader) -> torch.dtype:
    return next(p.dtype for p in reader.model.parameters() if p.dtype.is_floating_point)
