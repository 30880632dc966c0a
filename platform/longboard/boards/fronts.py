"""Pareto fronts of (accuracy, cost), and how sure each membership is. Pure functions, standard library only.

A point dominates another when it is no worse on both axes and better on one. Equal points survive together.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
_Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Axis:
    """One number with its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float

    def draw(self, rng: random.Random) -> float:
        """A draw from a split normal whose 95 % interval is ours: cheap, and right where the interval is lopsided."""
        z = rng.gauss(0.0, 1.0)
        reach = self.ci_high - self.value if z > 0 else self.value - self.ci_low
        return self.value + z * reach / _Z95


@dataclass(frozen=True, slots=True)
class Point(Generic[Key]):
    key: Key
    gain: Axis  # higher is better
    cost: Axis  # lower is better; a metric of which more is better comes in negated


def front(points: Sequence[tuple[Key, float, float]]) -> set[Key]:
    """Keys of the (key, gain, cost) triples that no other dominates. One sort, one pass: n log n."""
    kept: set[Key] = set()
    best_gain = float("-inf")
    best_cost = float("inf")  # cost at which best_gain was reached
    for key, gain, cost in sorted(points, key=lambda p: (p[2], -p[1])):
        if gain > best_gain:
            best_gain, best_cost = gain, cost
            kept.add(key)
        elif gain == best_gain and cost == best_cost:
            kept.add(key)
    return kept


def membership(points: Sequence[Point[Key]], *, draws: int = 400, seed: int = 0) -> dict[Key, float]:
    """Share of draws over both axes in which each point is on the front: P(on front)."""
    rng = random.Random(f"front:{seed}")
    hits = dict.fromkeys((p.key for p in points), 0)
    for _ in range(draws):
        for key in front([(p.key, p.gain.draw(rng), p.cost.draw(rng)) for p in points]):
            hits[key] += 1
    return {key: count / draws for key, count in hits.items()}
