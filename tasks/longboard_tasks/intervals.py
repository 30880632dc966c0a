"""95 % intervals. Standard library only, so that nodes and the platform state the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

Z95 = 1.959963984540054


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson score interval of a share of n independent samples (Wilson 1927). Safe at 0 and 1 and for small n.

    Scores that are shares themselves (some of several references found) vary less than yes and no: then it is too wide,
    never too narrow.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"wilson needs 0 <= share <= 1 and n >= 1, not share={share}, n={n}")
    z2 = Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median with its distribution-free 95 % interval from order statistics; the whole range when n is under 6."""
    ordered = sorted(values)
    n = len(ordered)
    if n == 0:
        raise ValueError("median_interval needs at least one value")
    middle = median(ordered)
    if n < 6:
        return middle, ordered[0], ordered[-1]
    reach = Z95 * math.sqrt(n) / 2
    low = max(0, math.floor(n / 2 - reach))
    high = min(n - 1, math.ceil(n / 2 + reach) - 1)
    return middle, min(middle, ordered[low]), max(middle, ordered[high])


def paired_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """(mean of second - first, low, high) over shared samples, after Bonett and Price (2012), half a sample won and lost added.

    The same numbers as `longboard.boards.paired.paired_difference`, where the choice is explained. Raises ValueError for
    lists that are empty or of unequal length.
    """
    if not first or len(first) != len(second):
        raise ValueError(f"paired_interval needs the same samples twice, not {len(first)} and {len(second)}")
    n = len(first)
    delta = [b - a for a, b in zip(first, second, strict=True)]
    value, centre = sum(delta) / n, sum(delta) / (n + 1)
    half = Z95 * math.sqrt(max((sum(d * d for d in delta) + 1) / (n + 1) - centre**2, 0.0) / (n + 1))
    return value, min(value, max(-1.0, centre - half)), max(value, min(1.0, centre + half))
