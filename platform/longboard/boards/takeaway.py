"""A chart's title: the one sentence that a reader should take from it, with its doubt."""

from __future__ import annotations

from collections.abc import Sequence

from longboard.boards.figures import FrontPoint
from longboard.quantities import length_label
from longboard_tasks.catalogue import MetricInfo

# What the cheapest System is called: "fastest to its first token", not "lowest ttft_ms".
CHEAPEST = {
    "ttft_ms": "is fastest to its first token",
    "tpot_ms": "is fastest for each token after that",
    "peak_memory_bytes": "needs least memory",
    "cache_bytes": "keeps the smallest cache",
    "decode_tokens_per_s": "decodes fastest",
    "prefill_tokens_per_s": "reads its prompt fastest",
}
COST_NOUN = {
    "ttft_ms": "time to first token",
    "tpot_ms": "time per output token",
    "peak_memory_bytes": "peak memory",
    "cache_bytes": "cache",
    "decode_tokens_per_s": "decode rate",
    "prefill_tokens_per_s": "prefill rate",
}


def takeaway(points: Sequence[FrontPoint], *, metric: MetricInfo, cost: MetricInfo, length: int, hardware: str) -> str:
    where = f"At {length_label(length)} tokens on {hardware}" if length and hardware else "Here"
    if not points:
        return f"{where}, no system has both {metric.title.lower()} and {COST_NOUN[cost.name]} yet"
    best = max(points, key=lambda p: (p.gain.number, -_loss(p, cost)))
    cheap = min(points, key=lambda p: (_loss(p, cost), -p.gain.number))
    if len(points) == 1:
        return f"{where}, {best.label} is the only system measured: {best.gain.text} for {best.cost.value}"
    tied = [p for p in points if p is not best and p.gain.high >= best.gain.low]
    if best is cheap:
        lead = (
            f"{where}, {best.label} is most accurate ({best.gain.text}) and {CHEAPEST[cost.name]} ({best.cost.value})"
        )
        return lead + _doubt(tied)
    lead = f"{where}, {best.label} is most accurate ({best.gain.text}){_doubt(tied)}"
    return f"{lead}; {cheap.label} {CHEAPEST[cost.name]}{_ratio(best, cheap, cost)}, at {cheap.gain.text}"


def _doubt(tied: Sequence[FrontPoint]) -> str:
    if not tied:
        return ""
    who = tied[0].label if len(tied) == 1 else f"{len(tied)} others"
    return f", but not surely more than {who}"


def _ratio(best: FrontPoint, cheap: FrontPoint, cost: MetricInfo) -> str:
    more, less = sorted((best.cost.number, cheap.cost.number), reverse=True)
    if less <= 0 or more / less < 1.05:
        return ""
    ratio = more / less
    return f" ({ratio:.1f}×)" if ratio < 10 else f" ({ratio:,.0f}×)"


def _loss(point: FrontPoint, cost: MetricInfo) -> float:
    return -point.cost.number if cost.higher_is_better else point.cost.number
