"""Intervals over launches, and what makes a cell noisy."""

from __future__ import annotations

import math
import random
from statistics import median

import pytest

from longboard_tasks.suites.efficiency.report import Cell
from longboard_tasks.suites.efficiency.spread import noise_flags, pool_cells, pool_launches, summarise

STEADY = [10.0 + 0.01 * (i % 3) for i in range(60)]


def test_launches_that_differ_widen_the_interval_that_repeats_alone_would_give():
    rng = random.Random(1)
    launches = [[level + rng.gauss(0, 0.05) for _ in range(30)] for level in (10, 11, 12, 13, 14)]
    pooled, one = pool_launches(launches), summarise(launches[2])
    assert pooled.low < 10.1
    assert pooled.high > 13.9
    assert one.high - one.low < 0.2
    assert pooled.n == 150


def test_two_launches_have_students_interval_of_their_logarithms():
    """By hand: ln 1.21 between them, so a standard error of ln 1.1, times 12.706."""
    pooled = pool_launches([[9.0, 10.0, 11.0], [12.1] * 5])
    assert pooled.value == pytest.approx(11.05)
    assert pooled.low == pytest.approx(5.0), "11 / 1.1^12.706 = 3.28 is cut at half the faster one"
    assert pooled.high == pytest.approx(24.2)
    near = pool_launches([[10.0], [10.1]])
    assert near.high == pytest.approx(math.sqrt(101) * math.sqrt(1.01) ** 12.706, rel=1e-4)
    assert near.low == pytest.approx(math.sqrt(101) / math.sqrt(1.01) ** 12.706, rel=1e-4)


def test_more_repeats_in_the_same_launches_make_nothing_surer():
    few, many = ([[level] * repeats for level in (10.0, 10.4, 10.1)] for repeats in (1, 100))
    assert pool_launches(few).low == pool_launches(many).low
    assert pool_launches(few).high == pool_launches(many).high


def test_one_launch_has_the_interval_of_its_own_values():
    assert pool_launches([STEADY, []]) == summarise(STEADY)


def usual(rng):
    return rng.gauss(0, 0.03)


def wild(rng):
    """Student's t with two degrees of freedom: no variance."""
    return 0.03 * rng.gauss(0, 1) / math.sqrt(rng.expovariate(1))


def sometimes_slow(rng):
    """One launch in ten half as slow again."""
    return rng.gauss(0, 0.02) + (0.4 if rng.random() < 0.1 else 0)


@pytest.mark.parametrize("launches", [2, 3, 4, 5, 6, 10])
@pytest.mark.parametrize("noise", [usual, wild, sometimes_slow])
def test_the_interval_holds_the_true_median_over_launches_93_to_97_times_in_100(noise, launches):
    rng = random.Random(7)
    truth = math.exp(median(noise(rng) for _ in range(100_001)))
    hits = 0
    for _ in range(1_000):
        levels = [math.exp(noise(rng)) for _ in range(launches)]
        found = pool_launches([[level * math.exp(rng.gauss(0, 0.02)) for _ in range(5)] for level in levels])
        hits += found.low <= truth <= found.high
    assert 920 <= hits <= 980  # 93 to 97 % with 1.3 standard errors of 1,000 trials


def test_a_steady_cell_has_no_flag():
    assert noise_flags([STEADY, [v * 1.001 for v in STEADY]]) == ()


def test_drift_throttling_and_restless_launches_are_flagged():
    drifting = [10 + 0.01 * i for i in range(60)]
    assert any("drift" in flag for flag in noise_flags([drifting]))
    assert noise_flags([STEADY], throttled=["thermal"]) == ("throttled: thermal",)
    assert any("launch medians" in flag for flag in noise_flags([STEADY, [v * 1.2 for v in STEADY]]))
    assert noise_flags([drifting], values_expected_flat=False) == ()


def test_a_failure_stands_only_if_no_launch_worked():
    def cell(launch, value=None):
        failed, worked = (
            {"failure": {"kind": "no_time", "says": "x"}},
            {"times": {"tpot_ms": summarise([value or 1] * 3)}},
        )
        key = {"system": "s", "phase": "decode", "context_length": 512, "launch": launch}
        return Cell.model_validate(key | (failed if value is None else worked))

    assert pool_cells([cell(1), cell(2, 5.0)]).times["tpot_ms"].value == 5.0
    assert pool_cells([cell(1), cell(2)]).failure.kind == "no_time"
    pooled = pool_cells([cell(1, 5.0), cell(2, 6.0)])
    assert pooled.times["tpot_ms"].low <= 5.0
    assert pooled.times["tpot_ms"].high >= 6.0
    assert any("launch medians" in flag for flag in pooled.noise)
