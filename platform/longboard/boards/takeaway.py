"""A chart's title: the one sentence that a reader should take from it, with its doubt."""

from __future__ import annotations

from collections.abc import Sequence

from longboard.boards.figures import FrontPoint
from longboard.boards.metrics import OUTPUT_PRICE, PROMPT_PRICE
from longboard.quantities import length_label
from longboard_tasks.catalogue.metrics import MetricInfo

# How the cheapest System is praised: alone, and against the most accurate one.
CHEAPEST = {
    "ttft_ms": ("has the shortest time to first token", "reaches its first token {}× sooner"),
    "tpot_ms": ("has the shortest time per output token", "takes {}× less time per output token"),
    "peak_memory_bytes": ("needs least memory", "needs {}× less memory"),
    "cache_bytes": ("keeps the smallest cache", "keeps a {}× smaller cache"),
    "decode_tokens_per_s": ("decodes fastest", "decodes {}× faster"),
    "prefill_tokens_per_s": ("reads its prompt fastest", "reads its prompt {}× faster"),
    "decode_j_per_token": ("takes least energy per output token", "takes {}× less energy per output token"),
    "prefill_j_per_token": ("takes least energy per prompt token", "takes {}× less energy per prompt token"),
    "train_tokens_per_s": ("trains fastest", "trains {}× faster"),
    "train_peak_memory_bytes": ("needs least memory to train", "needs {}× less memory to train"),
    "forward_tokens_per_s": ("reads fastest", "reads {}× faster"),
    "forward_peak_memory_bytes": ("needs least memory to read", "needs {}× less memory to read"),
    OUTPUT_PRICE: ("has the cheapest output tokens", "gives output tokens {}× cheaper"),
    PROMPT_PRICE: ("reads its prompt most cheaply", "reads its prompt {}× cheaper"),
}
COST_NOUN = {
    "ttft_ms": "time to first token",
    "tpot_ms": "time per output token",
    "peak_memory_bytes": "peak memory",
    "cache_bytes": "a size of cache and state",
    "decode_tokens_per_s": "decode rate",
    "prefill_tokens_per_s": "prefill rate",
    "decode_j_per_token": "energy per output token",
    "prefill_j_per_token": "energy per prompt token",
    "train_tokens_per_s": "training rate",
    "train_peak_memory_bytes": "peak memory of training",
    "forward_tokens_per_s": "inference rate",
    "forward_peak_memory_bytes": "peak memory of inference",
    OUTPUT_PRICE: "a price of output tokens",
    PROMPT_PRICE: "a price of prompt tokens",
}


def takeaway(
    points: Sequence[FrontPoint],
    *,
    tied: int,
    metric: MetricInfo,
    cost: MetricInfo,
    length: int,
    hardware: str,
    beaten: bool = False,
) -> str:
    """`points` hold at least the most accurate System, the cheapest, and the one that is tied when `tied` is 1, of those
    with both numbers. `beaten`: one without a cost is more accurate."""
    where = f"At {length_label(length)} tokens on {hardware}" if length and hardware else "Here"
    if not points:
        return f"{where}, no system has both {metric.title.lower()} and {COST_NOUN[cost.name]} yet"
    best = max(points, key=lambda p: (p.gain.number, -_loss(p, cost)))
    cheap = min(points, key=lambda p: (_loss(p, cost), -p.gain.number))
    if len(points) == 1:
        return (
            f"{where}, {best.label} is the only system with both numbers so far: {_glued(best)} for {best.cost.value}"
        )
    names = [p.label for p in points if p is not best and p.gain.high >= best.gain.low]
    of_whom = " of those with both numbers" if beaten else ""
    lead = f"{where}, {best.label} is most accurate{of_whom}, {_glued(best)}{_doubt(tied, names)}"
    alone, against = CHEAPEST[cost.name]
    if best is cheap:
        return f"{lead}, and {alone}, {best.cost.value}"
    ratio = _ratio(best, cheap)
    return f"{lead}; {cheap.label} {against.format(ratio) if ratio else alone}, at {_glued(cheap)}"


def _doubt(tied: int, names: Sequence[str]) -> str:
    """Who may be as good: the interval of the best does not tell them apart."""
    if tied < 1:
        return ""
    who = f"{names[0]} may" if tied == 1 and names else f"{tied:,} other{'s' if tied > 1 else ''} may"
    return f", though {who} equal it"


def _ratio(best: FrontPoint, cheap: FrontPoint) -> str:
    """How many times cheaper; empty where that would say little."""
    less, more = sorted((best.cost.number, cheap.cost.number))
    if less <= 0 or more / less < 1.05:
        return ""
    return f"{more / less:.1f}" if more / less < 10 else f"{more / less:,.0f}"


def _loss(point: FrontPoint, cost: MetricInfo) -> float:
    return -point.cost.number if cost.higher_is_better else point.cost.number


def _glued(point: FrontPoint) -> str:
    """The accuracy with its interval, never broken at a line's end."""
    return point.gain.text.replace(" ", "\N{NO-BREAK SPACE}")
