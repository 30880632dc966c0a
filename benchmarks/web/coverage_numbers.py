"""One simulated trial of each kind of number that has a 95 % interval: shares, means, differences, times, areas, trainings.

A trial returns (truth, low, high). "hardest" has the truth close to one end (shares from 0.90 to 0.98, or tasks nearly all right
or all wrong), the worst place for all of them; else it is drawn anew in each trial (shares from 0.02 to 0.98), as Brown, Cai and
DasGupta (2001) compare intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from longboard.boards.aggregates import Part, means_of, means_of_trained
from longboard.boards.lengths import length_area
from longboard.boards.paired import paired_difference, separate_difference
from longboard.boards.share_intervals import evidence, interval
from longboard_tasks.intervals import median_interval, ratio_interval, wilson
from longboard_tasks.suites.lra.summary import accuracy_interval

Trial = tuple[float, float, float]
Draw = Callable[[Any, int, bool], Trial | None]  # (generator, n, hardest); None: the site shows no interval then


def share(rng: Any, hard: bool) -> float:
    return float(rng.uniform(0.90, 0.98) if hard else rng.uniform(0.02, 0.98))


def tasks(rng: Any, count: int, hard: bool) -> Any:
    return rng.choice([0.02, 0.05, 0.95, 0.98], count) if hard else rng.uniform(0.02, 0.98, count)


def single(rng: Any, n: int, hard: bool) -> Trial:
    p = share(rng, hard)
    return p, *wilson(rng.binomial(n, p) / n, n)


def partial(rng: Any, n: int, hard: bool) -> Trial:
    p = share(rng, hard)
    return p, *interval([evidence(rng.binomial(5, rng.beta(p * 2, (1 - p) * 2, n)) / 5)])


def documents(rng: Any, n: int, hard: bool) -> Trial:
    p, count = share(rng, hard), max(2, n // 9)
    scores = (rng.random((count, 9)) < rng.beta(p * 3, (1 - p) * 3, count)[:, None]).astype(float)
    return p, *interval([evidence(scores.ravel(), np.repeat(np.arange(count), 9).tolist())])


def mean(rng: Any, n: int, hard: bool, *, above: bool = False) -> Trial:
    count = int(rng.integers(2, 18))
    shares, chance = tasks(rng, count, hard), rng.choice([0.0, 0.1, 0.25], count)
    sizes = np.maximum(10, (n * rng.choice([0.5, 1, 2], count)).astype(int))
    drawn = rng.binomial(sizes, shares) / sizes
    found = means_of([Part(float(p), int(k), float(c)) for p, k, c in zip(drawn, sizes, chance, strict=True)])
    truths = float(shares.mean()), max(0.0, float(((shares - chance) / (1 - chance)).mean()))
    return truths[above], found[above].low, found[above].high


def above_chance(rng: Any, n: int, hard: bool) -> Trial:
    return mean(rng, n, hard, above=True)


def answers(rng: Any, p: float, q: float, n: int) -> tuple[Any, Any]:
    """Scores of two Systems of true shares p and q; a hard sample is hard for both, half of the time."""
    first = rng.random(n)
    second = np.where(rng.random(n) < 0.5, first, rng.random(n))
    return (first < p).astype(float), (second < q).astype(float)


def paired(rng: Any, n: int, hard: bool) -> Trial:
    p, q = share(rng, hard), share(rng, hard)
    found = paired_difference(*answers(rng, p, q, n))
    return q - p, found.low, found.high


def paired_documents(rng: Any, n: int, hard: bool) -> Trial:
    p, q, count = share(rng, hard), share(rng, hard), max(2, n // 9)
    first = np.where(rng.random((count, 1)) < 0.4, rng.random((count, 1)), rng.random((count, 9)))
    second = np.where(rng.random((count, 1)) < 0.5, first, rng.random((count, 9)))
    keys = np.repeat(np.arange(count), 9).tolist()
    found = paired_difference((first < p).astype(float).ravel(), (second < q).astype(float).ravel(), keys)
    return q - p, found.low, found.high


def separate(rng: Any, n: int, hard: bool) -> Trial:
    p, q = share(rng, hard), share(rng, hard)
    found = separate_difference((rng.binomial(n, p) / n, n), (rng.binomial(n, q) / n, n))
    return q - p, found.low, found.high


def times(rng: Any, n: int, hard: bool) -> Any:
    """Of median 1: lognormal; hardest: one in five much slower, and the rest lopsided."""
    values = rng.lognormal(0, 0.2, n)
    return np.where(rng.random(n) < 0.2, 1 + 5 * rng.random(n), np.exp(-abs(np.log(values)) * 0.1)) if hard else values


@cache
def median_of_times(hard: bool) -> float:
    return float(np.median(times(np.random.default_rng(0), 4_000_001, True))) if hard else 1.0


def median(rng: Any, n: int, hard: bool) -> Trial:
    return median_of_times(hard), *median_interval(times(rng, n, hard).tolist())[1:]


def ratio(rng: Any, n: int, hard: bool) -> Trial:
    first, second = (median_interval(times(rng, n, hard).tolist()) for _ in range(2))
    return 1.0, *ratio_interval(first, second)[1:]


def area(rng: Any, n: int, hard: bool) -> Trial:
    lengths = 2 ** np.arange(10, 18)
    shares = np.sort(tasks(rng, len(lengths), hard))[::-1]
    drawn = rng.binomial(n, shares) / n
    ends = np.array([wilson(float(x), n) for x in drawn])
    _, low, high, _ = length_area(drawn[None], ends[None, :, 0], ends[None, :, 1], lengths)
    truth = length_area(shares[None], shares[None], shares[None], lengths)[0]
    return float(truth[0]), float(low[0]), float(high[0])


def trainings(rng: Any, n: int, hard: bool) -> tuple[float, Trial]:
    """Five seeds on one test split of n examples; seeds differ by 0.02 (hardest: not at all)."""
    p, shift = float(rng.uniform(0.3, 0.9)), 0.0 if hard else 0.02
    level = rng.random(n)
    return p, accuracy_interval([float((level < p + shift * rng.standard_normal()).mean()) for _ in range(5)], n)


def trained(rng: Any, n: int, hard: bool) -> Trial:
    truth, (_, low, high) = trainings(rng, n, hard)
    return truth, low, high


def mean_trained(rng: Any, n: int, hard: bool) -> Trial:
    drawn = [trainings(rng, n, hard) for _ in range(5)]
    found, _ = means_of_trained([(number, 0.0) for _, number in drawn])
    return math.fsum(truth for truth, _ in drawn) / 5, found.low, found.high


NUMBERS: dict[str, tuple[str, Draw]] = {  # title -> (what n counts, one trial)
    "share": ("samples", single),
    "share, scores between 0 and 1": ("samples", partial),
    "share, nine samples a document": ("samples", documents),
    "mean over 2 to 17 tasks": ("samples a task", mean),
    "the same above chance": ("samples a task", above_chance),
    "difference, shared samples": ("samples", paired),
    "difference, nine samples a document": ("samples", paired_documents),
    "difference, separate samples": ("samples each", separate),
    "median of times": ("values", median),
    "ratio of two medians": ("values each", ratio),
    "area under the length curve": ("samples a length", area),
    "accuracy of five trainings": ("test examples", trained),
    "mean of five trained tasks": ("test examples", mean_trained),
}
