"""Effective length, area under the length curve and crossovers: closed forms, and a slow reference on random rows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from longboard.boards.lengths import crossings, crossover, effective_length, length_area

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


def test_a_crossing_is_interpolated_in_the_logarithm_of_the_length():
    assert crossings(LENGTHS, np.array([-1.0, -1.0, 1.0, 1.0, 1.0])) == pytest.approx([math.sqrt(1024 * 2048)])
    assert crossings(LENGTHS, np.array([-1.0, 0.0, 1.0, 1.0, 1.0])) == pytest.approx([1024])
    assert crossings(LENGTHS, np.array([1.0, 1.0, 1.0, 0.0, 1.0])) == []
    assert len(crossings(LENGTHS, np.array([-1.0, 1.0, -1.0, 1.0, -1.0]))) == 4


def axis(values, half):
    return np.array([[v, v - half, v + half] for v in values])


def test_where_one_overtakes_the_other_for_sure_the_interval_is_narrow_and_every_draw_agrees():
    place, low, high, share = crossover(LENGTHS, axis([0.9, 0.8, 0.6, 0.3, 0.1], 0.01), axis([0.5] * 5, 0.01))
    assert 2048 < place < 4096
    assert low < place < high < low * 1.2
    assert share == 1.0


def test_no_crossing_is_none_and_a_doubtful_one_says_how_often_it_is_there():
    assert crossover(LENGTHS, axis([0.9] * 5, 0.01), axis([0.5] * 5, 0.01)) == (None, None, None, 0.0)
    _, _, _, share = crossover(LENGTHS, axis([0.5] * 5, 0.3), axis([0.5] * 5, 0.3))
    assert 0.1 < share < 0.5
