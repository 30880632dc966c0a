"""Fronts against the definition, and the probability of being on one against cases that can be worked out."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from longboard.boards.fronts import front, membership
from longboard_tasks.intervals import wilson

NAN = float("nan")


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and (a[0] > b[0] or a[1] < b[1])


def brute_force(points: list[tuple[float, float]]) -> list[bool]:
    """By the definition, over points with both numbers."""
    whole = [not any(math.isnan(x) for x in p) for p in points]
    return [
        is_whole and not any(other and dominates(a, b) for a, other in zip(points, whole, strict=True))
        for b, is_whole in zip(points, whole, strict=True)
    ]


def random_points(rng: random.Random) -> list[tuple[float, float]]:
    """Sets of 0 to 60 points, on a coarse grid half of the time so that ties in one and both numbers abound, with blanks."""
    size = rng.choice((0, 1, 2, 3, 8, 25, 60))
    grid = rng.choice((0, 3, 10))
    number = (lambda: float(rng.randrange(grid))) if grid else rng.random
    sign = rng.choice((1, -1))  # a cost of which more is better comes in negated
    blank = rng.choice((0.0, 0.2))
    return [
        (NAN if rng.random() < blank else number(), NAN if rng.random() < blank else sign * number())
        for _ in range(size)
    ]


def on(points: list[tuple[float, float]]) -> list[bool]:
    gains, costs = np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)
    return front(gains, costs).tolist()


@pytest.mark.parametrize("block", range(4))
def test_a_front_is_what_nothing_dominates_on_2_500_random_sets(block):
    for seed in range(2_500):
        rng = random.Random(f"{block}/{seed}")
        points = random_points(rng)
        assert on(points) == brute_force(points), f"block {block}, seed {seed}"


def test_equal_points_stay_on_the_front_together():
    assert on([(0.9, 10.0), (0.9, 10.0), (0.9, 11.0)]) == [True, True, False]


def test_no_points_give_an_empty_front():
    assert on([]) == []
    assert membership(np.zeros((0, 3)), np.zeros((0, 3))).tolist() == []


def axis(*values: float | tuple[float, float, float]) -> np.ndarray:
    """Rows of value, low, high; a bare number is without doubt."""
    return np.array([v if isinstance(v, tuple) else (v, v, v) for v in values], float)


def test_without_doubt_the_probability_is_the_front_itself():
    assert membership(axis(0.9, 0.5, 0.4, NAN), axis(5, 1, 6, 0)).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_points_that_are_equal_without_doubt_are_on_the_front_together():
    assert membership(axis(0.9, 0.9, 0.9), axis(5, 5, 6)).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(("gap", "half_width"), [(0.0, 0.1), (0.05, 0.1), (0.1, 0.1), (0.3, 0.1), (0.02, 0.3)])
def test_of_two_equally_dear_systems_the_better_is_on_the_front_as_often_as_the_closed_form_says(gap, half_width):
    """Equal exact costs, so one is on the front when its accuracy is drawn higher: Phi(gap / (sigma sqrt 2))."""
    sigma = half_width / 1.959963984540054
    expected = 0.5 * (1 + math.erf(gap / (sigma * math.sqrt(2)) / math.sqrt(2)))
    better, worse = 0.6 + gap, 0.6
    gains = axis((better, better - half_width, better + half_width), (worse, worse - half_width, worse + half_width))
    draws = 4_000
    chance = membership(gains, axis(10, 10), draws=draws)
    assert chance[0] == pytest.approx(expected, abs=4 * math.sqrt(0.25 / draws) + 0.0005)
    assert chance.sum() == pytest.approx(1)  # one of two, never both: ties have measure zero


def test_points_left_out_before_the_draws_would_have_been_on_no_front():
    """The short cut must not change a probability: a slow count over the same kind of draws agrees."""
    rng = np.random.default_rng(1)
    gains = np.stack([v := rng.random(60), v - 0.02, v + 0.02], 1)
    costs = np.stack([c := rng.random(60), c - 0.03, c + 0.03], 1)
    fast = membership(gains, costs, draws=2_000)
    hits = np.zeros(60)
    for _ in range(2_000):
        draw = [a[:, 0] + rng.standard_normal(60) * (a[:, 2] - a[:, 0]) / 1.96 for a in (gains, costs)]
        hits += front(*draw)
    assert np.abs(fast - hits / 2_000).max() < 5 * math.sqrt(0.25 / 2_000)


def test_in_every_draw_somebody_is_on_the_front():
    rng = np.random.default_rng(3)
    for size in range(1, 12):
        v, c = rng.random(size), rng.random(size)
        chance = membership(np.stack([v, v - 0.1, v + 0.1], 1), np.stack([c, c - 0.1, c + 0.1], 1), draws=100)
        assert ((chance >= 0) & (chance <= 1)).all()
        assert chance.sum() >= 1 - 1e-9


def test_the_same_points_give_the_same_probabilities():
    gains, costs = axis(*((0.5 + k / 50, 0.4, 0.9) for k in range(5))), axis(*((10 - k, 5, 12) for k in range(5)))
    assert membership(gains, costs).tolist() == membership(gains, costs).tolist()


def test_two_systems_with_ten_answers_of_ten_are_not_alike_in_half_of_all_draws():
    """The dearer one is on the front where it is truly better: half of the time, for all we know."""
    gains = axis(*((1.0, *wilson(1.0, 10)) for _ in range(2)))
    assert membership(gains, axis(10, 20), draws=4_000).tolist() == [1.0, pytest.approx(0.5, abs=0.03)]


@pytest.mark.parametrize("n", [10, 100, 1_000])
@pytest.mark.parametrize("lowest", [0.02, 0.9])
def test_what_is_said_to_be_likely_is_true_about_as_often(n, lowest):
    """Boards of ten; shares of n separate samples, costs that are 3 % unsure. Off by 12 points at most, of 100 cases or more."""
    rng = np.random.default_rng(n)
    said, true = [], []
    for _ in range(400):
        share, cost = rng.uniform(lowest, 0.99, 10), np.exp(rng.normal(0, 0.5, 10))
        seen, paid = rng.binomial(n, share) / n, cost * rng.lognormal(0, 0.03, 10)
        gains = np.array([(x, *wilson(float(x), n)) for x in seen])
        said.append(membership(gains, np.stack([paid, paid * np.exp(-0.06), paid * np.exp(0.06)], 1), draws=200))
        true.append(front(share, cost))
    told, held = np.concatenate(said), np.concatenate(true)
    checked = 0
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        here = (told >= low) & (told < high)
        if here.sum() >= 100:
            checked += 1
            assert held[here].mean() == pytest.approx(told[here].mean(), abs=0.12), (low, int(here.sum()))
    assert checked >= 2  # of many samples few are in doubt
