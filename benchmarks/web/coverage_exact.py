"""Exact coverage of four intervals of a share, summed over the binomial: what discreteness forces, and what a method adds to it.

No simulation: for n samples and a true share p, an interval covers with the probability of all counts whose interval holds p. An
interval that is the same for the same count can only hold p for a set of counts, so its coverage is the sum of some of n + 1
probabilities. "forced": no run of neighbouring counts has between 93 and 97 % at that p, so that no such interval can.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import bdtr, betaincinv

from longboard_tasks.intervals import wilson

SHARES = np.arange(1, 1_000) / 1_000  # true shares
BAND = (0.93, 0.97)


def binomial(n: int) -> Any:
    """[shares, n + 1] probabilities of each count."""
    below = np.concatenate([np.zeros((len(SHARES), 1)), bdtr(np.arange(n + 1)[None], n, SHARES[:, None])], axis=1)
    return np.diff(below, axis=1)


def held(n: int) -> dict[str, Any]:
    """method -> [shares, n + 1]: does the interval of that count hold that share?"""
    p, k, mass = SHARES[:, None], np.arange(n + 1)[None], binomial(n)
    at_most = mass.cumsum(axis=1)
    at_least = 1 - at_most + mass
    ends = np.array([wilson(count / n, n) for count in range(n + 1)])
    below = np.where(k > 0, betaincinv(k + 0.5, n - k + 0.5, 0.025), 0.0)
    above = np.where(k < n, betaincinv(k + 0.5, n - k + 0.5, 0.975), 1.0)
    return {
        "Wilson (ours)": (ends[None, :, 0] <= p) & (p <= ends[None, :, 1]),
        "Jeffreys": (below <= p) & (p <= above),
        "mid-p": (at_least - mass / 2 > 0.025) & (at_most - mass / 2 > 0.025),
        "Clopper-Pearson": (at_least > 0.025) & (at_most > 0.025),
    }


def can_be_inside(n: int) -> Any:
    """[shares]: is there a run of neighbouring counts with a probability inside the band?"""
    sums = np.concatenate([np.zeros((len(SHARES), 1)), binomial(n).cumsum(axis=1)], axis=1)
    found = []
    for row in sums:
        first = np.searchsorted(row, row + BAND[0], side="left")
        there = first < len(row)
        found.append(bool((row[first[there]] - row[there] <= BAND[1]).any()))
    return np.array(found)


def exact(n: int) -> dict[str, Any]:
    """Per cent of the shares at which every interval is outside 93 to 97, and what each method makes of it."""
    mass, methods = binomial(n), {}
    for method, holds in held(n).items():
        coverage = (mass * holds).sum(axis=1)
        methods[method] = {
            "mean": percent(coverage.mean()),
            "least": percent(coverage.min()),
            "below": percent((coverage < BAND[0]).mean()),
            "above": percent((coverage > BAND[1]).mean()),
        }
    return {"forced": percent(1 - can_be_inside(n).mean()), "methods": methods}


def percent(share: Any) -> float:
    return round(100 * float(share), 1)
