"""Effective length, area under the length curve and crossovers: closed forms, and a slow reference on random rows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from longboard.boards.lengths import effective_length, effective_range, length_area
from longboard_tasks.intervals import wilson

LENGTHS = np.array([512, 1024, 2048, 4096, 8192])
NAN = float("nan")


def slow_effective(row, threshold):
    longest = 0
    for value, length in zip(row, LENGTHS, strict=True):
        if math.isnan(value):
            continue
        if not value >= threshold:
            break
        longest = int(length)
    return longest


def slow_area(row):
    points = [(math.log2(n), v) for n, v in zip(LENGTHS, row, strict=True) if not math.isnan(v)]
    if len(points) < 2:
        return points[0][1] if points else NAN
    total = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    return total / (points[-1][0] - points[0][0])


@pytest.mark.parametrize(
    ("row", "threshold", "expected"),
    [
        ([0.9, 0.9, 0.8, 0.7, 0.9], 0.8, 2048),
        ([0.7, 0.9, 0.9, 0.9, 0.9], 0.8, 0),
        ([0.9, NAN, 0.9, NAN, 0.5], 0.8, 2048),
        ([0.9, 0.9, 0.9, 0.9, 0.9], 0.8, 8192),
        ([NAN, NAN, NAN, NAN, NAN], 0.8, 0),
    ],
)
def test_the_effective_length_is_the_longest_before_the_first_fall(row, threshold, expected):
    assert effective_length(np.array([row]), LENGTHS, threshold).tolist() == [expected]


def test_effective_length_and_area_equal_a_slow_reference_on_1_000_random_rows():
    rng = np.random.default_rng(1)
    rows = np.where(rng.random((1_000, 5)) < 0.25, NAN, rng.random((1_000, 5)))
    for threshold in (0.2, 0.5, 0.8):
        assert effective_length(rows, LENGTHS, threshold).tolist() == [slow_effective(r, threshold) for r in rows]
    area, low, high, complete = length_area(rows, rows - 0.1, rows + 0.1, LENGTHS)
    assert area == pytest.approx(np.array([slow_area(r) for r in rows]), nan_ok=True)
    assert complete.tolist() == [not any(math.isnan(v) for v in r) for r in rows]
    some = ~np.isnan(area)
    assert (low[some] <= area[some]).all()
    assert (area[some] <= high[some]).all()


def test_the_areas_interval_adds_its_lengths_as_squares():
    row = np.array([[0.5, 0.5, 0.5, 0.5, 0.5]])
    area, low, high, _ = length_area(row, row - 0.1, row + 0.1, LENGTHS)
    weights = np.array([1, 2, 2, 2, 1]) / 8
    assert area[0] == pytest.approx(0.5)
    assert high[0] - area[0] == pytest.approx(0.1 * math.sqrt((weights**2).sum()))
    assert area[0] - low[0] == pytest.approx(high[0] - area[0])


def test_no_lengths_give_no_areas():
    empty = np.zeros((0, 0))
    assert [len(part) for part in length_area(empty, empty, empty, np.zeros(0, int))] == [0, 0, 0, 0]


def test_no_row_whose_lengths_all_just_reach_the_threshold_is_said_to_fall_more_than_6_times_in_100():
    """The worst there is: ten lengths at the threshold, each a chance to look as if it fell."""
    rng = np.random.default_rng(5)
    lengths = 2 ** np.arange(10, 20)
    for n in (10, 100, 1_000):
        drawn = rng.binomial(n, 0.8, (4_000, 10)) / n
        ends = np.array([[wilson(k / n, n) for k in range(n + 1)]])[0]
        lows, highs = (ends[np.round(drawn * n).astype(int), side] for side in (0, 1))
        low, high = effective_range(drawn, lows, highs, lengths, 0.8)
        assert (high < lengths[-1]).mean() < 0.067  # at n = 10 the binomial's own step gives 0.062
        assert (effective_length(highs, lengths, 0.8) < lengths[-1]).mean() > 0.1, (
            "the interval of one length is not enough"
        )
        assert (low <= effective_length(drawn, lengths, 0.8)).all()
        assert (low < high).any()


def test_one_length_has_the_range_of_its_own_interval():
    row = np.array([[0.7]])
    for high, found in ((0.79, 0), (0.81, 512)):
        low, upper = effective_range(row, row - 0.1, np.array([[high]]), LENGTHS[:1], 0.8)
        assert (low[0], upper[0]) == (0, found)
