"""Intervals over launches, and what makes a cell noisy."""

from __future__ import annotations

import random

from longboard_tasks.suites.efficiency.report import Cell
from longboard_tasks.suites.efficiency.spread import noise_flags, pool_cells, pool_launches, summarise

STEADY = [10.0 + 0.01 * (i % 3) for i in range(60)]


def test_launches_that_differ_widen_the_interval_that_repeats_alone_would_give():
    rng = random.Random(1)
    launches = [[level + rng.gauss(0, 0.05) for _ in range(30)] for level in (10, 11, 12, 13, 14)]
    pooled, one = pool_launches(launches), summarise(launches[2])
    assert pooled.low < 11.1
    assert pooled.high > 12.9
    assert one.high - one.low < 0.2
    assert pooled.n == 150


def test_the_hierarchical_interval_covers_the_true_median_about_as_often_as_it_says():
    """With five launches a bootstrap is a little short: 80 % and more is what it can do."""
    rng = random.Random(7)
    hits = 0
    for seed in range(40):
        launches = [
            [10 + shift + rng.gauss(0, 0.1) for _ in range(20)] for shift in (rng.gauss(0, 0.3) for _ in range(5))
        ]
        found = pool_launches(launches, seed=seed)
        hits += found.low <= 10 <= found.high
    assert 30 <= hits <= 40


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
