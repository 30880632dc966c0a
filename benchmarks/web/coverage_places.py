"""Simulated trials of what boards say about places: launches, crossovers, effective lengths, ranks and fronts.

In each the truth is drawn first and known, the samples after it. What a `hardest` truth is stands with each function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from coverage_numbers import Draw, Trial, answers

from longboard.boards.fronts import front, membership
from longboard.boards.lengths import effective_length, effective_range
from longboard.boards.paired import paired_difference, rank_ranges
from longboard.crossings import overtaking
from longboard_tasks.intervals import median_interval, ratio_interval, wilson
from longboard_tasks.suites.efficiency.spread import pool_launches

LENGTHS = 2 ** np.arange(10, 18)
THRESHOLD = 0.8
SYSTEMS = (2, 5, 10, 20, 50)


def falling(rng: Any, *, highest: float) -> Any:
    """A curve of shares over LENGTHS that falls from its top to its bottom around one length."""
    top, bottom = rng.uniform(highest - 0.45, highest), rng.uniform(0.02, 0.3)
    return bottom + (top - bottom) / (1 + np.exp((np.log2(LENGTHS) - rng.uniform(9, 19)) / rng.uniform(0.5, 3)))


def crossover_of_shares(rng: Any, n: int, hard: bool) -> Trial | None:
    """Two curves of which the second ends ahead; hardest: never more than 0.1 apart."""
    while True:
        if hard:
            middle, apart = rng.uniform(0.3, 0.9), np.sort(rng.uniform(-0.1, 0.1, len(LENGTHS)))
            p, q = middle - apart / 2, middle + apart / 2
        else:
            p, q = falling(rng, highest=0.98), falling(rng, highest=0.98)
        truth, _ = overtaking(LENGTHS, np.stack([q - p] * 3, axis=1))
        if truth:
            break
    found = [paired_difference(*answers(rng, float(a), float(b), n)) for a, b in zip(p, q, strict=True)]
    return _ends(LENGTHS, truth.length, np.array([(d.value, d.low, d.high) for d in found]))


def crossover_of_times(rng: Any, n: int, hard: bool) -> Trial | None:
    """Times that grow as unlike powers of the length; hardest: as nearly alike ones."""
    place = rng.uniform(10.5, 15.5)
    lead = rng.uniform(0.005, 0.03) if hard else rng.uniform(0.05, 0.7)
    leads = []
    for at in np.log2(LENGTHS[::2]):
        slower = median_interval((rng.lognormal(0, 0.1, n) * 2 ** (lead * (at - place))).tolist())
        leads.append(ratio_interval(median_interval(rng.lognormal(0, 0.1, n).tolist()), slower))
    return _ends(LENGTHS[::2], 2.0**place, np.log(leads))


def _ends(lengths: Any, truth: float, lead: Any) -> Trial | None:
    found, _ = overtaking(lengths, lead)
    return (truth, found.low or 0.0, found.high or math.inf) if found else None


def effective(rng: Any, n: int, hard: bool) -> Trial:
    """Hardest: every length within some hundredths of the threshold, above it up to one length and below it from there on."""
    if hard:
        near = abs(rng.normal(0, 0.03, len(LENGTHS)))
        p = np.clip(THRESHOLD + np.where(np.arange(len(LENGTHS)) < rng.integers(0, 9), near, -near), 0.02, 0.99)
    else:
        p = falling(rng, highest=1.0)
    drawn = rng.binomial(n, p) / n
    lows, highs = np.array([wilson(float(x), n) for x in drawn]).T
    low, high = effective_range(drawn[None], lows[None], highs[None], LENGTHS, THRESHOLD)
    return float(effective_length(p[None], LENGTHS, THRESHOLD)[0]), float(low[0]), float(high[0])


PLACES: dict[str, tuple[str, Draw]] = {  # title -> (what n counts, one trial)
    "crossover length, accuracy": ("samples a length", crossover_of_shares),
    "crossover length, times": ("values a length", crossover_of_times),
    "effective length": ("samples a length", effective),
}


# --- Launches: the logarithms of their levels --------------------------------------------------------------------------

LAUNCHES: dict[str, Callable[[Any, int], Any]] = {
    "lognormal, 3 %": lambda rng, count: 0.03 * rng.standard_normal(count),
    "lognormal, 30 %": lambda rng, count: 0.3 * rng.standard_normal(count),
    "heavy tail: Student's t with 2 degrees": lambda rng, count: 0.03 * rng.standard_t(2, count),
    "one launch in ten half as slow again": lambda rng, count: (
        0.02 * rng.standard_normal(count) + 0.4 * (rng.random(count) < 0.1)
    ),
    "launches alike, steps 2 %": lambda rng, count: np.zeros(count),
}


def launches(rng: Any, count: int, noise: Callable[[Any, int], Any], truth: float) -> bool:
    levels = np.exp(noise(rng, count))
    found = pool_launches([(level * rng.lognormal(0, 0.02, 9)).tolist() for level in levels])
    return found.low <= truth <= found.high


# --- Ranks -----------------------------------------------------------------------------------------------------------

SKILLS: dict[str, Callable[[Any, int], Any]] = {
    "0.02 to 0.98": lambda rng, count: rng.uniform(0.02, 0.98, count),
    "0.40 to 0.60": lambda rng, count: rng.uniform(0.40, 0.60, count),
    "half of them 0.8, half 0.3": lambda rng, count: np.where(np.arange(count) < count // 2, 0.8, 0.3),
    "all equal": lambda rng, count: np.full(count, rng.uniform(0.3, 0.9)),
}


def scores_of(rng: Any, n: int, skill: Any) -> Any:
    """[Systems, n] on shared samples: a hard one is hard for six Systems in ten."""
    own = np.where(rng.random((len(skill), n)) < 0.6, rng.random(n)[None], rng.random((len(skill), n)))
    return (own < skill[:, None]).astype(float)


def ranks(rng: Any, n: int, systems: int, skills: Callable[[Any, int], Any]) -> tuple[float, float]:
    """(share of Systems whose range holds their true rank, mean number of places in a range), on shared samples.

    Of Systems that are truly equal any place of their group is true: the range must hold all of them.
    """
    skill = skills(rng, systems)
    scores = scores_of(rng, n, skill)
    best, worst = rank_ranges(scores.mean(1), np.full(systems, n), scores, seed=int(rng.integers(2**31)))
    first = 1 + (skill[None] > skill[:, None]).sum(1)
    last = systems - (skill[None] < skill[:, None]).sum(1)
    return float(((best <= first) & (last <= worst)).mean()), float((worst - best + 1).mean())


# --- Fronts ----------------------------------------------------------------------------------------------------------

BOARDS: dict[str, tuple[Callable[[Any, int], Any], float]] = {  # title -> (gains, spread of the costs' logarithm)
    "gains 0.02 to 0.98": (lambda rng, cost: rng.uniform(0.02, 0.98, len(cost)), 1.0),
    "gains that grow with cost": (
        lambda rng, cost: 1 / (1 + np.exp(-rng.normal(0.8 * np.log(cost), 0.7))),
        1.0,
    ),
    "gains 0.70 to 0.80, costs alike": (lambda rng, cost: rng.uniform(0.7, 0.8, len(cost)), 0.1),
    "gains 0.90 to 0.99": (lambda rng, cost: rng.uniform(0.90, 0.99, len(cost)), 0.5),
}


def fronts(rng: Any, n: int, systems: int, title: str) -> tuple[Any, Any]:
    """(P(front) as a board says it, whether each is truly on the front). Costs: five repeats, 3 % apart."""
    gains, spread = BOARDS[title]
    cost = np.exp(rng.normal(0, spread, systems))
    gain = gains(rng, cost)
    seen = [(x, *wilson(x, n)) for x in map(float, scores_of(rng, n, gain).mean(axis=1))]
    paid = [median_interval((x * rng.lognormal(0, 0.03, 5)).tolist()) for x in cost]
    return membership(np.array(seen), np.array(paid)), front(gain, cost)
