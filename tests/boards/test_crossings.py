"""Where one curve overtakes another: closed forms, and how often the interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from longboard.boards.paired import paired_difference
from longboard.crossings import crossings, overtaking

LENGTHS = np.array([512, 1024, 2048, 4096, 8192])


def lead(values, half):
    return np.array([[v, v - half, v + half] for v in values])


def places(values):
    return [c.length for c in crossings(LENGTHS, lead(values, 0))]


def test_a_crossing_is_interpolated_in_the_logarithm_of_the_length():
    assert places([-1.0, -1.0, 1.0, 1.0, 1.0]) == pytest.approx([math.sqrt(1024 * 2048)])
    assert places([-1.0, 0.0, 1.0, 1.0, 1.0]) == pytest.approx([1024])
    assert places([-1.0, 0.0, 0.0, 1.0, 1.0]) == pytest.approx([math.sqrt(1024 * 2048)])
    assert places([1.0, 1.0, 1.0, 0.0, 1.0]) == []
    assert [c.rises for c in crossings(LENGTHS, lead([-1.0, 1.0, -1.0, 1.0, -1.0], 0))] == [True, False, True, False]


def test_numbers_without_doubt_cross_at_one_length():
    for values in ([-3.0, -1.0, 2.0, 3.0, 4.0], [3.0, 1.0, -2.0, -3.0, -4.0]):
        (found,) = crossings(LENGTHS, lead(values, 0))
        assert found.low == pytest.approx(found.length)
        assert found.high == pytest.approx(found.length)


def test_the_interval_ends_where_the_difference_is_as_large_as_its_own_arm():
    """A straight line of slope 1 an octave; at w between two lengths its arm is half * sqrt(w^2 + (1 - w)^2)."""
    (found,) = crossings(LENGTHS, lead([-2.0, -1.0, 0.0, 1.0, 2.0], 0.5))
    w = math.sqrt(0.75) - 0.5  # w^2 = 0.25 (w^2 + (1 - w)^2)
    assert found.high == pytest.approx(2048 * 2**w, rel=1e-3)
    assert found.low == pytest.approx(2048 / 2**w, rel=1e-3)


def test_an_end_that_the_lengths_do_not_settle_is_open():
    (found,) = crossings(LENGTHS, lead([-0.3, -0.1, 0.1, 0.5, 0.9], 0.4))
    assert found.low is None
    assert 2048 < found.high < 4096
    (found,) = crossings(LENGTHS, lead([-0.9, -0.5, -0.1, 0.1, 0.3], 0.4))
    assert 1024 < found.low < 2048
    assert found.high is None


def test_to_overtake_is_to_begin_behind_and_to_end_ahead():
    found, chance = overtaking(LENGTHS, lead([-0.4, 0.1, -0.1, 0.2, 0.5], 0.05))
    assert 2048 < found.length < 4096
    assert chance > 0.999
    assert overtaking(LENGTHS, lead([0.4, 0.2, -0.1, -0.2, -0.5], 0.05)) == (None, pytest.approx(0, abs=1e-6))
    assert overtaking(LENGTHS, lead([-0.4, 0.2, 0.3, 0.2, -0.5], 0.05))[0] is None
    assert overtaking(LENGTHS, lead([0.0] * 5, 0.1)) == (None, pytest.approx(0.25))
    assert overtaking(LENGTHS, lead([-1.0, 0.0, 0.0, 0.0, 1.0], 0))[1] == 1.0


@pytest.mark.parametrize("n", [10, 100, 1_000])
def test_the_interval_of_an_overtaking_holds_its_true_length(n):
    """Shared samples; curves that are well apart at the ends for few samples, and closer for many."""
    rng = np.random.default_rng(n)
    held = seen = 0
    for _ in range(600):
        apart = rng.uniform(0.5, 2.5) / math.sqrt(n) ** 0.5
        truth = np.sort(rng.uniform(-min(apart, 0.45), min(apart, 0.45), len(LENGTHS)))
        if not truth[0] < 0 < truth[-1]:
            continue
        at = places(truth)[0]
        first = rng.random((len(LENGTHS), n))
        second = np.where(rng.random(first.shape) < 0.5, first, rng.random(first.shape))
        rows = [
            paired_difference((a < 0.5 - t / 2).astype(float), (b < 0.5 + t / 2).astype(float))
            for a, b, t in zip(first, second, truth, strict=True)
        ]
        found, _ = overtaking(LENGTHS, np.array([(d.value, d.low, d.high) for d in rows]))
        if found:
            seen += 1
            held += (found.low or 0) <= at <= (found.high or math.inf)
    assert seen > 300
    assert 0.925 <= held / seen <= 0.985, held / seen
