"""Where two Systems trade places: for each metric the context length at which the sign of their difference flips.

Between two measured lengths the ratio is interpolated in logarithms. The interval is every length around a crossing at which
neither is surely ahead (`longboard.crossings`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longboard.crossings import crossings
from longboard_tasks.intervals import ratio_interval
from longboard_tasks.suites.efficiency.report import Stat


@dataclass(frozen=True, slots=True)
class Point:
    """Both Systems at one length, in one unit; less is better."""

    length: int
    a: Stat
    b: Stat

    @property
    def ratio(self) -> float:
        return self.a.value / self.b.value


@dataclass(frozen=True, slots=True)
class Crossing:
    """`length` is where the better one changes; from `first` to `second` is better after it."""

    length: float
    low: float | None  # None: beyond the measured lengths
    high: float | None
    better_before: str
    better_after: str


@dataclass(frozen=True, slots=True)
class Crossover:
    """Of one metric. No crossing: `better` everywhere that both were measured, or nobody (`better` empty)."""

    points: tuple[Point, ...]
    crossings: tuple[Crossing, ...]
    better: str

    @property
    def widest(self) -> Point | None:
        """Where the two differ most."""
        return max(self.points, key=lambda p: abs(math.log(p.ratio)), default=None)


def find_crossover(a: str, b: str, points: Sequence[Point]) -> Crossover:
    """`a`, `b`: names; `points` by rising length, values above 0."""
    lengths = np.array([p.length for p in points])
    leads = np.log([ratio_interval(_ends(p.b), _ends(p.a)) for p in points]).reshape(-1, 3)
    found = tuple(
        Crossing(c.length, c.low, c.high, better_before=a if c.rises else b, better_after=b if c.rises else a)
        for c in crossings(lengths, leads)
    )
    better = ""
    if points and not found:
        better = a if points[0].ratio < 1 else b if points[0].ratio > 1 else ""
    return Crossover(tuple(points), found, better)


def _ends(stat: Stat) -> tuple[float, float, float]:
    return stat.value, stat.low, stat.high
