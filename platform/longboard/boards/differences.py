"""How two Cells of one metric differ: paired where they share samples, as separate shares, or as a ratio."""

from __future__ import annotations

import math

import numpy as np

from longboard.boards.aggregates import effective_n
from longboard.boards.clusters import document_of
from longboard.boards.metrics import METRICS
from longboard.boards.models import Cell
from longboard.boards.paired import Difference, paired_difference, separate_difference
from longboard.quantities import quantity
from longboard_tasks.intervals import ratio_interval

LEAST_SHARED = 5  # samples: with fewer, two shares are compared as separate


def difference_of(first: Cell, second: Cell) -> Difference:
    """second - first: on the samples that both answered, or as separate shares where there are too few."""
    a, b = _score_map(first), _score_map(second)
    shared = sorted(a.keys() & b.keys())
    if len(shared) >= LEAST_SHARED and 2 * len(shared) >= max(len(a), len(b)):
        documents = [document_of(first.suite.name, first.task, *key) for key in shared]
        return paired_difference(np.array([a[k] for k in shared]), np.array([b[k] for k in shared]), documents)
    return separate_difference(*((cell.value, _size(cell)) for cell in (first, second)))


def _size(cell: Cell) -> int:
    """The independent samples that its share stands on."""
    number = [np.array([float(x)]) for x in (cell.value, cell.ci_low, cell.ci_high, cell.n)]
    return int(effective_n(*number)[0])


def _score_map(cell: Cell) -> dict[tuple[int, int], float]:
    """(seed, index) -> score of the samples behind a Cell."""
    if not hasattr(cell, "scores"):
        return {}
    found: dict[tuple[int, int], float] = {}
    scores, start = np.frombuffer(bytes(cell.scores.scores), "<f4"), 0
    for seed, size in cell.scores.seeds:
        found |= {(seed, i): float(scores[start + i]) for i in range(size)}
        start += size
    return found


def signed(delta: Difference) -> str:
    number = quantity(
        abs(delta.value), 0, max(delta.high - delta.value, delta.value - delta.low, 0.01), n=delta.n, unit="share"
    )
    decimals = len(number.value.partition(".")[2])
    sign = "+" if delta.value > 0 else "−" if delta.value < 0 else "±"
    return f"{sign}{abs(delta.value):.{decimals}f} ({delta.low:.{decimals}f} to {delta.high:.{decimals}f})".replace(
        "-", "−"
    )


def ratio_of(first: Cell, second: Cell) -> tuple[float, float, float]:
    """(second / first, low, high); (nan, 0, inf) where one of them, or its interval, is not above 0."""
    if first.ci_low <= 0 or second.ci_low <= 0:
        return math.nan, 0.0, math.inf
    return ratio_interval(*((float(c.value), float(c.ci_low), float(c.ci_high)) for c in (first, second)))


def lead_of(first: Cell, second: Cell) -> tuple[float, float, float] | None:
    """How far the second is ahead, with its interval: in shares where both are shares, else as the logarithm of a ratio.

    Above 0 is better whatever the metric. None where a ratio has no logarithm.
    """
    metric = METRICS[first.metric]
    if metric.unit == "share":
        difference = difference_of(first, second)
        value, low, high = difference.value, difference.low, difference.high
    else:
        ratio, *ends = ratio_of(first, second)
        if math.isnan(ratio):
            return None
        value, low, high = (math.log(x) for x in (ratio, *ends))
    return (value, low, high) if metric.higher_is_better else (-value, -high, -low)
