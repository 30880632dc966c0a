"""95 % intervals of shares and of means over tasks: one method for samples, documents, partial scores and whole suites.

What a task's scores are worth is put as so many independent yes-or-no samples (`evidence`); the interval of a weighted sum of
shares is then the score interval (`interval`), which for one share is Wilson's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longboard_tasks.intervals import Z95, student95, wilson

HALVINGS = 50  # of a multiplier's logarithm, from a range of 70: to 1e-13

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A share, how many independent yes-or-no samples it is worth, and the degrees of freedom of that worth; inf: it is known."""

    share: float
    size: float
    freedom: float = math.inf


def evidence(scores: Sequence[float] | Floats, documents: Sequence[Hashable] | None = None) -> Evidence:
    """What scores in [0, 1] say of their mean. `documents` [n]: samples with equal keys share one; None: none do.

    Samples of one document are one sample, with their mean as its score. Where scores are more than yes and no, their own
    variance, between documents, says how many yes-or-no samples vary as much: n over Kish's (1965) design effect, which is
    below 1 for scores that are shares themselves. That variance is an estimate with one degree of freedom less than there are
    documents. Where all of them are alike it says nothing, and each counts as one yes-or-no sample.
    """
    values = np.asarray(scores, float)
    share, n = float(values.mean()), len(values)
    if documents is not None:
        group = _numbered(documents)
        sizes = np.bincount(group).astype(float)
        off = np.bincount(group, values) - share * sizes
    else:
        off = values - share
    count = len(off)
    if count == n and bool(np.isin(values, (0.0, 1.0)).all()):
        return Evidence(share, n)
    between = count / (count - 1) * float((off**2).sum()) / n**2 if count > 1 else 0.0
    if between < 1e-12 or not 0 < share < 1:
        return Evidence(share, count)
    return Evidence(share, share * (1 - share) / between, count - 1)


def interval(parts: Sequence[Evidence], weights: Sequence[float] | Floats | None = None) -> tuple[float, float]:
    """95 % interval of the sum of weight * share; by default the plain mean. All weights are positive.

    The score interval (Wilson 1927 for one share; Miettinen and Nurminen 1985 for a difference of two; Tebbs and Roths 2008,
    Martin Andres et al. 2011 for sums of many): all values that a score test does not refuse, whose variance is taken at the
    shares that are likeliest if that value were the truth. So it needs no correction where tasks are all right or all wrong.
    With Miettinen and Nurminen we count one sample less for each share that is estimated beside the sum. Where sizes are
    estimates themselves the normal quantile gives way to Student's, with Satterthwaite's (1946) degrees of freedom.
    """
    k = len(parts)
    if k == 1 and weights is None and parts[0].freedom == math.inf:
        return wilson(parts[0].share, parts[0].size)  # the same numbers, to the last digit those that nodes state
    share = np.array([part.share for part in parts])
    size = np.array([part.size for part in parts]) - (k - 1) / k
    weight = np.full(k, 1 / k) if weights is None else np.asarray(weights, float)
    reach = _quantile(parts, weight**2 * share * (1 - share) / size)
    middle = float(weight @ share)
    return middle - _arm(share, size, weight, reach), middle + _arm(1 - share, size, weight, reach)


def _arm(share: Floats, size: Floats, weight: Floats, reach: float) -> float:
    """How far the weighted sum may fall. The likeliest shares for a smaller sum solve size (share - x) = m weight x (1 - x),
    with one multiplier m for all; the sum falls by m times its variance V there, and the test refuses when m^2 V > reach^2."""
    ratio = weight / size

    def variance(m: float) -> float:
        b = 1 + m * ratio
        x = 2 * share / (b + np.sqrt(np.maximum(b**2 - 4 * m * ratio * share, 0)))
        return float((weight * ratio * x * (1 - x)).sum())

    low, high = -30.0, 40.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        m = math.exp(middle)
        low, high = (low, middle) if m * m * variance(m) > reach * reach else (middle, high)
    m = math.exp(high)
    return min(m * variance(m), float(weight @ share))


def _quantile(parts: Sequence[Evidence], variances: Floats) -> float:
    freedom = np.array([part.freedom for part in parts])
    unsure = float((variances**2 / freedom).sum())
    return student95(float(variances.sum()) ** 2 / unsure) if unsure > 0 else Z95


def _numbered(documents: Sequence[Hashable]) -> np.ndarray[Any, np.dtype[np.int64]]:
    numbers: defaultdict[Hashable, int] = defaultdict(lambda: len(numbers))
    return np.array([numbers[document] for document in documents], np.int64)
