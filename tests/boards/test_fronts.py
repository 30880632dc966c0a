"""Fronts against the definition, and the probability of being on one against cases that can be worked out."""

from __future__ import annotations

import math
import random

import pytest

from longboard.boards.fronts import Axis, Point, front, membership


def dominates(a: tuple, b: tuple) -> bool:
    return a[1] >= b[1] and a[2] <= b[2] and (a[1] > b[1] or a[2] < b[2])


def brute_force(points: list[tuple]) -> set:
    return {b[0] for b in points if not any(dominates(a, b) for a in points)}


def random_points(rng: random.Random) -> list[tuple]:
    """Sets of 0 to 60 points, on a coarse grid half of the time so that ties in one and both numbers abound."""
    size = rng.choice((0, 1, 2, 3, 8, 25, 60))
    grid = rng.choice((0, 3, 10))
    number = (lambda: float(rng.randrange(grid))) if grid else rng.random
    sign = rng.choice((1, -1))  # a cost of which more is better comes in negated
    return [(key, number(), sign * number()) for key in range(size)]


@pytest.mark.parametrize("block", range(4))
def test_a_front_is_what_nothing_dominates_on_500_random_sets(block):
    for seed in range(500):
        rng = random.Random(f"{block}/{seed}")
        points = random_points(rng)
        assert front(points) == brute_force(points), f"block {block}, seed {seed}"
        rng.shuffle(points)
        assert front(points) == brute_force(points), f"order matters in block {block}, seed {seed}"


def test_equal_points_stay_on_the_front_together():
    assert front([("a", 0.9, 10.0), ("b", 0.9, 10.0), ("c", 0.9, 11.0)]) == {"a", "b"}


def test_no_points_give_an_empty_front():
    assert front([]) == set()
    assert membership([]) == {}


def exact(value: float) -> Axis:
    return Axis(value, value, value)


def test_without_doubt_the_probability_is_the_front_itself():
    points = [
        Point("good", exact(0.9), exact(5)),
        Point("cheap", exact(0.5), exact(1)),
        Point("bad", exact(0.4), exact(6)),
    ]
    assert membership(points) == {"good": 1.0, "cheap": 1.0, "bad": 0.0}


@pytest.mark.parametrize(("gap", "half_width"), [(0.0, 0.1), (0.05, 0.1), (0.1, 0.1), (0.3, 0.1), (0.02, 0.3)])
def test_of_two_equally_dear_systems_the_better_is_on_the_front_as_often_as_the_closed_form_says(gap, half_width):
    """Equal exact costs, so one is on the front when its accuracy is drawn higher: Phi(gap / (sigma sqrt 2))."""
    sigma = half_width / 1.959963984540054
    expected = 0.5 * (1 + math.erf(gap / (sigma * math.sqrt(2)) / math.sqrt(2)))
    better, worse = 0.6 + gap, 0.6
    points = [
        Point("better", Axis(better, better - half_width, better + half_width), exact(10)),
        Point("worse", Axis(worse, worse - half_width, worse + half_width), exact(10)),
    ]
    draws = 4_000
    chance = membership(points, draws=draws)
    assert chance["better"] == pytest.approx(expected, abs=4 * math.sqrt(0.25 / draws))
    assert chance["better"] + chance["worse"] == pytest.approx(1)  # one of two, never both: ties have measure zero


def test_in_every_draw_somebody_is_on_the_front():
    rng = random.Random(3)
    for _ in range(20):
        points = [
            Point(key, Axis(v := rng.random(), v - 0.1, v + 0.1), Axis(c := rng.random(), c - 0.1, c + 0.1))
            for key in range(rng.randint(1, 12))
        ]
        chance = membership(points, draws=100)
        assert all(0 <= p <= 1 for p in chance.values())
        assert sum(chance.values()) >= 1 - 1e-9


def test_the_same_points_give_the_same_probabilities():
    points = [Point(k, Axis(0.5 + k / 50, 0.4, 0.9), Axis(10 - k, 5, 12)) for k in range(5)]
    assert membership(points) == membership(points)
