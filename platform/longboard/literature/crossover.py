"""Where two Systems trade places: for each metric the context length at which the sign of their difference flips.

Between two measured lengths the ratio is interpolated in logarithms. The interval comes from both ends of both intervals:
the earliest and the latest length at which the curves can cross.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    crossings = []
    for middle in _flips([(p.length, p.ratio) for p in points]):
        low = _nearest(_flips([(p.length, p.a.low / p.b.high) for p in points]), middle)
        high = _nearest(_flips([(p.length, p.a.high / p.b.low) for p in points]), middle)
        ends = sorted(x for x in (low, high) if x is not None)
        before = [p.ratio for p in points if p.length <= middle]
        a_first = before[-1] < 1 if before and before[-1] != 1 else points[0].ratio < 1
        crossings.append(
            Crossing(
                length=middle,
                low=ends[0] if len(ends) == 2 else None,
                high=ends[-1] if len(ends) == 2 else None,
                better_before=a if a_first else b,
                better_after=b if a_first else a,
            )
        )
    better = ""
    if points and not crossings:
        better = a if points[0].ratio < 1 else b if points[0].ratio > 1 else ""
    return Crossover(tuple(points), tuple(crossings), better)


def _flips(curve: Sequence[tuple[int, float]]) -> list[float]:
    """Lengths where the ratio passes through 1, log-interpolated."""
    found = []
    for (l0, r0), (l1, r1) in pairwise(curve):
        y0, y1 = math.log(r0), math.log(r1)
        if y0 == 0 or y0 * y1 >= 0:
            continue
        x0, x1 = math.log(l0), math.log(l1)
        found.append(math.exp(x0 + (x1 - x0) * (-y0) / (y1 - y0)))
    return found


def _nearest(candidates: Sequence[float], to: float) -> float | None:
    return min(candidates, key=lambda x: abs(math.log(x / to)), default=None)
