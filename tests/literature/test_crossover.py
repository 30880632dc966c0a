"""Crossings of curves whose crossing is known in closed form."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longboard.literature.crossover import Point, find_crossover
from longboard_tasks.suites.efficiency.report import Stat

LENGTHS = [2**k for k in range(10, 19)]


def stat(value, spread=0.0):
    return Stat(value=value, low=value * (1 - spread), high=value * (1 + spread), n=5)


def curves(a, b, spread=0.0):
    return [Point(n, stat(a(n), spread), stat(b(n), spread)) for n in LENGTHS]


@settings(max_examples=50, deadline=None)
@given(at=st.floats(1_500, 200_000))
def test_power_laws_cross_where_algebra_says(at):
    """a = n, b = n^2 / at: equal at n = at, and logarithmic interpolation of power laws is exact."""
    found = find_crossover("a", "b", curves(lambda n: float(n), lambda n: n * n / at))
    assert [c.length for c in found.crossings] == [pytest.approx(at, rel=1e-6)]
    assert found.crossings[0].better_before == "b"
    assert found.crossings[0].better_after == "a"
    assert found.better == ""


def test_the_interval_is_where_the_intervals_let_the_curves_cross():
    found = find_crossover("a", "b", curves(lambda n: float(n), lambda n: n * n / 20_000, spread=0.1))
    crossing = found.crossings[0]
    # At a measured length the ratio is sure to the root of ln(1.1)^2 + ln(0.9)^2, either way, and the slopes differ by one
    # power; half way between two lengths both of them speak for it, and it is sure to 1 / sqrt(2) of that.
    reach = math.hypot(math.log(1.1), math.log(0.9))
    assert 20_000 * math.exp(-reach) < crossing.low < 20_000 * math.exp(-reach / math.sqrt(2))
    assert 20_000 * math.exp(reach) > crossing.high > 20_000 * math.exp(reach / math.sqrt(2))
    (at,) = find_crossover("a", "b", curves(lambda n: float(n), lambda n: n * n / 2**14, spread=0.0001)).crossings
    assert (at.low, at.high) == (
        pytest.approx(2**14 * (1 - 1.414e-4), rel=5e-6),
        pytest.approx(2**14 * (1 + 1.414e-4), rel=5e-6),
    )


def test_an_interval_that_reaches_beyond_the_lengths_is_open_on_that_side():
    found = find_crossover("a", "b", curves(lambda n: float(n), lambda n: n * n / 1_100, spread=0.2))
    assert found.crossings[0].low is None
    assert 1_100 < found.crossings[0].high < 1_500


def test_no_crossing_names_who_is_ahead_and_by_how_much():
    found = find_crossover("a", "b", curves(lambda n: 3.0 * n, lambda n: float(n)))
    assert found.crossings == ()
    assert found.better == "b"
    assert found.widest.ratio == pytest.approx(3)
    assert find_crossover("a", "b", []).better == ""


def test_two_crossings_are_both_found():
    values = dict(zip(LENGTHS, [2, 2, 0.5, 0.5, 2, 2, 2, 2, 2], strict=True))
    found = find_crossover("a", "b", [Point(n, stat(1.0), stat(v)) for n, v in values.items()])
    assert [(c.better_before, c.better_after) for c in found.crossings] == [("a", "b"), ("b", "a")]
