"""What a row of the length matrix says as a whole: effective length, and area under the length curve. Pure functions on arrays.

Rows are Systems, columns context lengths, rising; NaN where there is no number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Z95 = 1.959963984540054

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def effective_length(numbers: Floats, lengths: Ints, threshold: float) -> Ints:
    """The longest measured length up to which every measured length reaches `threshold`; 0 where the first does not.

    numbers [N, L], lengths [L] rising, returns [N]. After Hsieh et al. 2024 (RULER, arXiv:2404.06654), whose threshold is
    fixed; ours is the reader's. Lengths without a number are skipped: they neither end the row nor extend it.
    """
    present = ~np.isnan(numbers)
    fell = np.cumsum(present & ~(np.nan_to_num(numbers, nan=np.inf) >= threshold), axis=1) > 0
    held = present & ~fell
    return np.where(held, lengths[None, :], 0).max(axis=1, initial=0)


def length_area(numbers: Floats, lows: Floats, highs: Floats, lengths: Ints) -> tuple[Floats, Floats, Floats, Mask]:
    """Mean number over log2(context length), by trapezoids between measured lengths, with its 95 % interval.

    numbers, lows, highs [N, L]; returns area, low, high [N] and whether the row is complete [N]. A row that lacks a length
    gets the area over those it has, and is not complete: such rows are shown and not ranked. Lengths are separate samples, so
    the arms of their intervals add as squares. One length alone gives its own number.
    """
    present = ~np.isnan(numbers)
    area, low, high = (np.full(len(numbers), np.nan) for _ in range(3))
    position = np.log2(lengths.astype(float))
    # Rows with the same lengths share their weights: few patterns, many rows.
    patterns, which = np.unique(present, axis=0, return_inverse=True) if len(present) else (present, np.zeros(0, int))
    for at, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        rows = np.flatnonzero(which.reshape(-1) == at)
        weights = _trapezoid_weights(position[pattern])
        values = numbers[np.ix_(rows, pattern.nonzero()[0])]
        below = values - lows[np.ix_(rows, pattern.nonzero()[0])]
        above = highs[np.ix_(rows, pattern.nonzero()[0])] - values
        area[rows] = values @ weights
        low[rows] = area[rows] - np.sqrt((below * weights) ** 2 @ np.ones(len(weights)))
        high[rows] = area[rows] + np.sqrt((above * weights) ** 2 @ np.ones(len(weights)))
    complete: Any = present.all(axis=1) if len(present) else np.zeros(0, bool)
    return area, low, high, complete


def _trapezoid_weights(positions: Floats) -> Floats:
    if len(positions) == 1:
        return np.ones(1)
    steps = np.diff(positions)
    weights = np.zeros(len(positions))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    return weights / weights.sum()


def crossings(lengths: Ints, difference: Floats) -> list[float]:
    """Context lengths at which a difference changes sign, interpolated in log2(length); rising.

    lengths, difference [L], no NaN. A zero at a measured length counts where the sign differs on its two sides.
    """
    found: list[float] = []
    position = np.log2(lengths.astype(float))
    last = -1
    for at in range(len(difference)):
        if difference[at] == 0:
            continue
        if last >= 0 and np.sign(difference[at]) != np.sign(difference[last]):
            if at - last > 1:  # zeros in between: the middle of them
                found.append(float(2 ** ((position[last + 1] + position[at - 1]) / 2)))
            else:
                share = difference[last] / (difference[last] - difference[at])
                found.append(float(2 ** (position[last] + share * (position[at] - position[last]))))
        last = at
    return found


def crossover(
    lengths: Ints, first: Floats, second: Floats, *, draws: int = 1_000, seed: int = 0
) -> tuple[float | None, float | None, float | None, float]:
    """Where `second` overtakes `first` for the last time, with its 95 % interval, and how often a draw has one.

    first, second [L, 3]: value, low, high at each length, higher is better. Returns (length, low, high, share of draws in
    which the sign changes from first to second). The interval is that of the draws which cross; None where none does.
    """
    point = _overtakes(lengths, second[:, 0] - first[:, 0])
    rng = np.random.default_rng(seed)
    found = [
        at for _ in range(draws) if (at := _overtakes(lengths, _draw(rng, second) - _draw(rng, first))) is not None
    ]
    if not found:
        return point, None, None, 0.0
    low, high = np.quantile(found, [0.025, 0.975])
    return point, float(low), float(high), len(found) / draws


def _overtakes(lengths: Ints, difference: Floats) -> float | None:
    """The last crossing, when the difference ends above zero and began below it."""
    places = crossings(lengths, difference)
    ends = difference[difference != 0]
    return places[-1] if places and len(ends) and ends[0] < 0 < ends[-1] else None


def _draw(rng: np.random.Generator, axis: Floats) -> Floats:
    value, low, high = axis.T
    z = rng.standard_normal(len(axis))
    return value + z * np.where(z > 0, high - value, value - low) / Z95
