"""Differences of Systems on the same samples, and the ranks that follow from them. Pure functions on arrays.

A score is that of one sample, in [0, 1]. Two Systems that answered the same samples (same suite version, task, length, seed
and index) are compared sample by sample, which is far sharper than two separate intervals.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from longboard_tasks.intervals import student95

Z95 = 1.959963984540054
PAIRS_UP_TO = 500  # Systems without shared samples; beyond, intervals are compared, which never makes a range narrower
EXACT_UP_TO = 120  # Systems; beyond, ranks take Sidak's bound in place of the bootstrap
CHUNK = 512

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher the second System scores than the first, with its 95 % interval, in shares."""

    value: float
    low: float
    high: float
    n: int  # shared samples, or the smaller n where there are none
    paired: bool

    @property
    def is_sure(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_difference(first: Floats, second: Floats, documents: Sequence[Hashable] | None = None) -> Difference:
    """Mean of second - first over shared samples, with an adjusted Wald interval after Bonett and Price (2012).

    first, second [n]: scores of the same samples in the same order. We add half a sample won and half a sample lost, where
    they add one of each: in simulation that covers the truth 95 to 97 times in 100 at n = 10 for answers that go together
    little or much, theirs up to 99, the plain interval as few as 90. For scores between 0 and 1 the same formula holds with
    squares in place of counts, and what we add is as large as the differences that there are: a whole sample beside small
    ones would cover 99.8 times in 100. How large they are is then an estimate too: Student's quantile.
    documents [n]: samples with equal keys share one, and are one sample with the mean of their differences.
    """
    samples = n = len(first)
    delta = second - first
    value = float(delta.mean())
    if documents is not None and len(set(documents)) < n:
        keys = list(documents)
        numbers = {key: at for at, key in enumerate(dict.fromkeys(keys))}
        delta = np.bincount([numbers[key] for key in keys], delta) * len(numbers) / samples
        n = len(numbers)
    centre = float(delta.sum()) / (n + 1)
    squares = delta[delta != 0] ** 2
    added = float(squares.mean()) if len(squares) else 1.0
    reach = Z95 if bool((squares == 1).all()) else student95(n - 1)
    half = reach * np.sqrt(max((float(squares.sum()) + added) / (n + 1) - centre**2, 0.0) / (n + 1))
    return Difference(value, min(value, max(-1.0, centre - half)), max(value, min(1.0, centre + half)), samples, True)


def separate_difference(first: tuple[float, int], second: tuple[float, int]) -> Difference:
    """Difference of two shares (value, n) of different samples: Agresti and Caffo (2000), one right and one wrong added."""
    (p1, n1), (p2, n2) = first, second
    a, b = (p1 * n1 + 1) / (n1 + 2), (p2 * n2 + 1) / (n2 + 2)
    half = Z95 * np.sqrt(a * (1 - a) / (n1 + 2) + b * (1 - b) / (n2 + 2))
    value = p2 - p1
    return Difference(
        value, min(value, max(-1.0, b - a - half)), max(value, min(1.0, b - a + half)), min(n1, n2), False
    )


def rank_ranges(
    shares: Floats, n: Ints, scores: Floats | None = None, *, draws: int = 400, seed: int = 0
) -> tuple[Ints, Ints]:
    """Best and worst rank of each System such that its true rank lies between them with 95 % confidence. Ties are ranges.

    shares, n [N]: means and sample counts. scores [N, items]: the samples behind them, NaN where a System did not answer
    one; Systems that share fewer than half of their samples are compared as separate.

    A System's best rank is one more than the number of those surely better, its worst N less those surely worse. Sure means:
    the simultaneous interval over all N - 1 differences of this System excludes zero (Mogstad, Romano, Shaikh and Wilhelm
    2024, "Inference for ranks", marginal confidence sets). Its critical value comes from a paired bootstrap over the samples,
    and from Sidak's bound, which is never smaller, where there are two Systems, more than EXACT_UP_TO or no shared samples.
    Those that are sure are set aside, and the others judged again by the value that so few need (Romano and Wolf 2005).

    A range holds its System's true rank 95 times in 100 where all Systems are equal, the hardest case, and more often where they
    differ: it misses only by calling the worse one of a pair surely better, and of Systems far apart nobody does.
    """
    count = len(shares)
    best, worst = np.ones(count, np.int64), np.full(count, count, np.int64)
    if count < 2:
        return best, worst
    sidak = _sidak(count)
    resampled = None
    if scores is not None and 2 < count <= EXACT_UP_TO and not np.isnan(scores).any() and scores.shape[1] >= 10:
        resampled = _resampled(scores, draws, seed)
    if scores is None and count > PAIRS_UP_TO:
        p = (shares * n + 1) / (n + 2)
        half = sidak[-1] * np.sqrt(p * (1 - p) / (n + 2))
        return _ranks_of_intervals(p - half, p + half)
    for start in range(0, count, CHUNK):
        rows = slice(start, min(count, start + CHUNK))
        centre, error = _pairs(shares, n, scores, rows)
        t = centre / error  # [rows, N]: how many standard errors the other one is better
        sure = _surely_apart(np.abs(t), sidak, None if resampled is None else resampled[:, rows])
        best[rows] = 1 + (sure & (t > 0)).sum(axis=1)
        worst[rows] = count - (sure & (t < 0)).sum(axis=1)
    return best, worst


def interval_ranks(values: Floats, lows: Floats, highs: Floats, rows: slice) -> tuple[Ints, Ints]:
    """Best and worst rank, as in `rank_ranges`, of `rows` alone, from nothing but numbers [N] and their 95 % intervals.

    Two numbers differ surely where their distance is beyond the arms that face each other, added as squares: right for separate
    samples, and never too narrow for shared ones, whose errors go together. Of more than PAIRS_UP_TO numbers whole intervals have
    to lie apart, which is less often so.
    """
    if len(values) > PAIRS_UP_TO:
        critical = NormalDist().inv_cdf((1 + 0.95 ** (1 / (len(values) - 1))) / 2) / Z95
        best, worst = _ranks_of_intervals(values - (values - lows) * critical, values + (highs - values) * critical)
        return best[rows], worst[rows]
    gap = values[None, :] - values[rows, None]
    facing = np.where(gap > 0, (values - lows)[None, :], (highs - values)[None, :]) ** 2
    own = np.where(gap > 0, (highs - values)[rows, None], (values - lows)[rows, None]) ** 2
    error = np.maximum(np.sqrt(facing + own) / Z95, 1e-300)  # an interval without width is sure of any distance
    t = gap / error
    sure = _surely_apart(np.abs(t), _sidak(len(values)), None)
    return 1 + (sure & (t > 0)).sum(axis=1), len(values) - (sure & (t < 0)).sum(axis=1)


def _sidak(count: int) -> Floats:
    """[N]: how many standard errors so many differences at once may be off, 95 times in 100."""
    return np.array([NormalDist().inv_cdf((1 + 0.95 ** (1 / max(1, differences))) / 2) for differences in range(count)])


def _surely_apart(t: Floats, sidak: Floats, resampled: Floats | None) -> Mask:
    """[rows, N] from |t|. sidak [N]: the critical value of so many differences. resampled [draws, rows, N]: |t| around 0."""
    sure = np.zeros(t.shape, bool)
    while True:
        critical = sidak[t.shape[1] - 1 - sure.sum(axis=1)]
        if resampled is not None:
            largest = np.where(sure, 0, resampled).max(axis=2)
            critical = np.minimum(critical, np.maximum(np.quantile(largest, 0.95, axis=0), Z95))
        more = sure | (t > critical[:, None])
        if (more == sure).all():
            return sure
        sure = more


def _pairs(shares: Floats, n: Ints, scores: Floats | None, rows: slice) -> tuple[Floats, Floats]:
    """Adjusted differences other - own and their standard errors, [rows, N]."""
    p = (shares * n + 1) / (n + 2)
    spread = p * (1 - p) / (n + 2)
    centre = p[None, :] - p[rows, None]
    error = np.sqrt(spread[None, :] + spread[rows, None])
    if scores is None:
        return centre, error
    answered = ~np.isnan(scores)
    filled = np.where(answered, scores, 0.0)
    mine, has = filled[rows], answered[rows].astype(float)
    shared = has @ answered.T
    total = has @ filled.T - mine @ answered.T
    squares = has @ (filled**2).T + (mine**2) @ answered.T - 2 * mine @ filled.T
    together = shared * 2 >= np.maximum(answered.sum(1)[None, :], answered[rows].sum(1)[:, None]).clip(1)
    mean = total / (shared + 1)
    paired = np.sqrt(np.maximum((squares + 1) / (shared + 1) - mean**2, 1e-12) / (shared + 1))
    return np.where(together, mean, centre), np.where(together, paired, error)


def _ranks_of_intervals(low: Floats, high: Floats) -> tuple[Ints, Ints]:
    """Rank ranges from whether simultaneous intervals overlap: n log n, and wider than those of all pairs."""
    best = 1 + len(low) - np.searchsorted(np.sort(low), high, side="right")
    worst = len(low) - np.searchsorted(np.sort(high), low, side="left")
    return best, worst


def _resampled(scores: Floats, draws: int, seed: int) -> Floats:
    """[draws, N, N]: how many standard errors each difference of two Systems is off in a paired resample.

    scores [N, items]. Half a sample won and half a sample lost join every resample, as in `paired_difference`.
    """
    count, items = scores.shape
    rng = np.random.default_rng(seed)
    found = np.zeros((draws, count, count), np.float32)
    means = scores.mean(axis=1)
    for draw in range(draws):
        weight = np.bincount(rng.integers(0, items, items), minlength=items)
        weighted = scores * weight
        drawn = weighted.sum(axis=1) / items
        cross = weighted @ scores.T  # [N, N]
        square = np.diag(cross)
        mean = (drawn[None, :] - drawn[:, None]) * items / (items + 1)
        spread = (square[None, :] + square[:, None] - 2 * cross + 1) / (items + 1) - mean**2
        error = np.sqrt(np.maximum(spread, 1e-12) / (items + 1))
        off = (drawn[None, :] - drawn[:, None]) - (means[None, :] - means[:, None])
        found[draw] = np.abs(off * items / (items + 1)) / error
    return found
