"""Several seeds as one accuracy with its interval. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from longboard_tasks.intervals import student95, wilson

MOST_SEEDS = 10


def seeds_interval(accuracies: Sequence[float], n: int) -> tuple[float, float, float]:
    """(mean, low, high) at 95 %: Student's t over 2 to 10 seeds; of one seed Wilson's over its n test examples.

    The second says how well this one model was measured, not how another seed would do. Raises ValueError for other counts.
    """
    seeds = len(accuracies)
    if not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"seeds_interval needs 1 to {MOST_SEEDS} accuracies, not {seeds}")
    value = mean(accuracies)
    if seeds == 1:
        return value, *wilson(value, n)
    half = student95(seeds - 1) * stdev(accuracies) / math.sqrt(seeds)
    return value, max(0.0, value - half), min(1.0, value + half)


def accuracy_interval(accuracies: Sequence[float], n: int) -> tuple[float, float, float]:
    """(mean, low, high): what seeds do and what the one test split does, Student's arms and Wilson's over its n examples.

    Another seed and another test split are two sources of chance, so the arms add as squares. Where neither counts for much the
    interval is wider than it need be: seeds of one model differ by their examples too, which both then hold. Of one seed it is
    Wilson's alone.
    """
    value, low, high = seeds_interval(accuracies, n)
    if len(accuracies) == 1:
        return value, low, high
    below, above = wilson(value, n)
    return (
        value,
        max(0.0, value - math.hypot(value - low, value - below)),
        min(1.0, value + math.hypot(high - value, above - value)),
    )
