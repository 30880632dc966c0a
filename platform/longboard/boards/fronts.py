"""Pareto fronts of (accuracy, cost), and how sure each membership is. Pure functions on arrays.

A point dominates another when it is no worse on both axes and better on one. Equal points survive together. A point with a
number missing (NaN) is on no front and dominates nothing. Gains: higher is better. Costs: lower is better; a metric of which
more is better comes in negated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Z95 = 1.959963984540054
REACH = (
    3.5  # draws are cut at so many standard errors: beyond lie 5 in 10,000, and the cut lets us drop hopeless points
)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def front(gain: Floats, cost: Floats) -> Mask:
    """Which of N points no other dominates. gain, cost [N]; returns [N]. One sort, one pass: n log n."""
    on = np.zeros(len(gain), bool)
    present = np.flatnonzero(~(np.isnan(gain) | np.isnan(cost)))
    if len(present) == 0:
        return on
    order = present[np.lexsort((-gain[present], cost[present]))]
    g, c = gain[order], cost[order]
    best = np.maximum.accumulate(g)
    rises = np.r_[True, g[1:] > best[:-1]]
    # A later point that equals the one which set the record, on both axes, stays with it.
    setter = np.maximum.accumulate(np.where(rises, np.arange(len(g)), 0))
    on[order] = rises | ((g == g[setter]) & (c == c[setter]))
    return on


def membership(gain: Floats, cost: Floats, *, draws: int = 400, seed: int = 0) -> Floats:
    """P(on the front): the share of draws over both axes in which each point is on it.

    gain, cost [N, 3]: value, lower and upper end of the 95 % interval. Costs are drawn from a split normal with that interval,
    right where it is lopsided; gains from a normal around its middle: a score interval's middle is where a share of few samples
    is to be expected, and two Systems with ten answers of ten are not alike in half of all draws. Points that are dominated in
    every possible draw are left out before anything is drawn, so that the work follows the number of contenders.
    """
    gain = np.stack([(gain[:, 1] + gain[:, 2]) / 2, gain[:, 1], gain[:, 2]], axis=1)
    chance = np.zeros(len(gain))
    contenders = np.flatnonzero(_may_be_on(gain, cost))
    if len(contenders) == 0:
        return chance
    rng = np.random.default_rng(seed)
    g = _drawn(rng, gain[contenders], draws)
    c = _drawn(rng, cost[contenders], draws)
    order = np.argsort(c, axis=1, kind="stable")
    c, g = np.take_along_axis(c, order, 1), np.take_along_axis(g, order, 1)
    best = np.maximum.accumulate(g, axis=1)
    rises = np.concatenate([np.ones((draws, 1), bool), g[:, 1:] > best[:, :-1]], axis=1)
    # Numbers without doubt can tie in every draw: those rows go through the exact function.
    tied = np.flatnonzero((c[:, 1:] == c[:, :-1]).any(axis=1))
    for row in tied:
        rises[row] = front(g[row], c[row])
    hits = np.zeros(len(contenders))
    np.add.at(hits, order[rises], 1)
    chance[contenders] = hits / draws
    return chance


def _may_be_on(gain: Floats, cost: Floats) -> Mask:
    """False for points that lose every draw: even at their best they are dominated by another at its worst."""
    present = ~(np.isnan(gain[:, 0]) | np.isnan(cost[:, 0]))
    best_gain, worst_gain = _ends(gain)[1], _ends(gain)[0]
    best_cost, worst_cost = _ends(cost)[0], _ends(cost)[1]
    order = np.argsort(np.where(present, worst_cost, np.inf), kind="stable")
    reached = np.maximum.accumulate(np.where(present, worst_gain, -np.inf)[order])
    # The best worst-case gain among all whose worst-case cost is below this point's best case.
    cheaper = np.searchsorted(np.where(present, worst_cost, np.inf)[order], best_cost, side="left")
    rival = np.where(cheaper > 0, reached[np.maximum(cheaper - 1, 0)], -np.inf)
    return present & ~(rival > best_gain)


def _ends(axis: Floats) -> tuple[Floats, Floats]:
    value, low, high = axis.T
    return value - (value - low) * REACH / Z95, value + (high - value) * REACH / Z95


def _drawn(rng: np.random.Generator, axis: Floats, draws: int) -> Floats:
    value, low, high = axis.T
    z = np.clip(rng.standard_normal((draws, len(axis))), -REACH, REACH)
    return value + z * np.where(z > 0, high - value, value - low) / Z95
