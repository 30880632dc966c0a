"""95 % intervals. Standard library only, so that nodes and the platform state the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, stdev

Z95 = 1.959963984540054
FEW = 5  # values: with fewer no pair of order statistics holds the median 93 times in 100
FEW_REACH = 2.0  # a factor; Student's 12.7 would put two launches that differ by half between a tenth and ten times their median
T95 = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
)  # Student's t at 97.5 %, 1 to 10 degrees of freedom


def wilson(share: float, n: float) -> tuple[float, float]:
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
    """Median with its 95 % interval: of the repeats of one launch, of launches, of trainings. One value alone has no interval.

    From five values on it is distribution-free, from order statistics, interpolated between the two pairs whose exact coverage is
    next to 95 % after Hettmansperger and Sheather (1986): the wider pair alone covers 98 % at n = 10. Five have their whole range
    (94 %). The range of two, three and four would hold the median in 50, 75 and 88 of 100 cases: they have Student's interval of
    the mean logarithm, for times and sizes vary by factors, cut at FEW_REACH beyond the least and the most.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n == 0:
        raise ValueError("median_interval needs at least one value")
    middle = median(ordered)
    if n < FEW and 0 < ordered[0] < ordered[-1]:
        logs = [math.log(value) for value in ordered]
        half = student95(n - 1) * stdev(logs) / math.sqrt(n)
        low, high = math.exp(fmean(logs) - half), math.exp(fmean(logs) + half)
        return middle, min(middle, max(low, ordered[0] / FEW_REACH)), max(middle, min(high, ordered[-1] * FEW_REACH))
    # Of 2^n ways to lie below or above the median, `outside` have fewer than `at` values below it, `ways` exactly so many.
    at, outside, ways = 0, 0, 1
    while 40 * (outside + ways) <= 2**n:
        outside, at = outside + ways, at + 1
        ways = ways * (n - at + 1) // at
    if at == 0:
        return middle, ordered[0], ordered[-1]
    part = (2**n - 40 * outside) / (40 * ways)
    inner = (n - at) * part / (at + (n - 2 * at) * part)
    low = (1 - inner) * ordered[at - 1] + inner * ordered[at]
    high = (1 - inner) * ordered[n - at] + inner * ordered[n - at - 1]
    return middle, min(middle, low), max(middle, high)


def ratio_interval(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """(second / first, low, high) of two independent numbers, each (value, low, high) and above 0 at all three.

    The arms of their logarithms add as squares (Zou and Donner 2008): both at their ends at once would be too wide.
    """
    ratio = second[0] / first[0]
    below = math.hypot(math.log(second[0] / second[1]), math.log(first[2] / first[0]))
    above = math.hypot(math.log(second[2] / second[0]), math.log(first[0] / first[1]))
    return ratio, ratio * math.exp(-below), ratio * math.exp(above)


def student95(freedom: float) -> float:
    """Student's t at 97.5 %, for any number of degrees of freedom from 1 on; never below it between the tabled ones."""
    if freedom >= len(T95):
        series = (Z95**3 + Z95) / 4, (5 * Z95**5 + 16 * Z95**3 + 3 * Z95) / 96  # Abramowitz and Stegun 26.7.5
        third = (3 * Z95**7 + 19 * Z95**5 + 17 * Z95**3 - 15 * Z95) / 384
        return Z95 + series[0] / freedom + series[1] / freedom**2 + third / freedom**3
    below = max(1, math.floor(freedom))
    share = (1 / below - 1 / max(1.0, freedom)) / (1 / below - 1 / (below + 1))
    return T95[below - 1] + share * (T95[below] - T95[below - 1])


def paired_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """(mean of second - first, low, high) over shared samples, after Bonett and Price (2012), half a sample won and lost added.

    The same numbers as `longboard.boards.paired.paired_difference`, where the choices are explained. Raises ValueError for
    lists that are empty or of unequal length.
    """
    if not first or len(first) != len(second):
        raise ValueError(f"paired_interval needs the same samples twice, not {len(first)} and {len(second)}")
    n = len(first)
    delta = [b - a for a, b in zip(first, second, strict=True)]
    value, centre = sum(delta) / n, sum(delta) / (n + 1)
    squares = [d * d for d in delta if d]
    added = sum(squares) / len(squares) if squares else 1.0
    reach = Z95 if all(square == 1 for square in squares) else student95(n - 1)
    half = reach * math.sqrt(max((sum(squares) + added) / (n + 1) - centre**2, 0.0) / (n + 1))
    return value, min(value, max(-1.0, centre - half)), max(value, min(1.0, centre + half))
