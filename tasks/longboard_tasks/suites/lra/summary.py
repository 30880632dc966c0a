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
    """(mean, low, high): the wider end of two intervals on each side, `seeds_interval` and Wilson's over the n test examples.

    Few seeds can agree by chance, and one test split can be easy by chance: neither alone is to make a number look surer.
    """
    value, low, high = seeds_interval(accuracies, n)
    below, above = wilson(value, n)
    return value, min(low, below), max(high, above)
