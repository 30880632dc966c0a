"""What a row of the length matrix says as a whole: effective length, and area under the length curve. Pure functions on arrays.

Rows are Systems, columns context lengths, rising; NaN where there is no number.
"""

from __future__ import annotations

from statistics import NormalDist
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


def effective_range(numbers: Floats, lows: Floats, highs: Floats, lengths: Ints, threshold: float) -> tuple[Ints, Ints]:
    """The effective lengths that the intervals leave open, [N] each: the truth lies between them 95 times in 100 or more.

    Up to the lower one every length is surely above, which takes all lower ends as they are. To end before the upper one it takes
    a single length that is surely below, and of L lengths that all just reach the threshold one or other will look so: each upper
    arm is as long as L of them need at once (Bonferroni), with 5 % for all of this side, since a row that errs here hardly
    errs on the other.
    """
    reach = NormalDist().inv_cdf(1 - 0.05 / max(2, len(lengths))) / Z95
    return (
        effective_length(lows, lengths, threshold),
        effective_length(numbers + (highs - numbers) * reach, lengths, threshold),
    )


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
