"""Synthetic power traces: what integrates, and what is refused with its reason."""

from __future__ import annotations

import math

import pytest

from longboard_tasks.suites.efficiency.energy import Meter, PowerTrace, integrate, judge


def trace(power, *, start=1.05, length=12.0, step=0.1, counter=True, drop=()):
    """Samples of power(t) from a little before the window to a little after."""
    samples = [(i * step, power(i * step)) for i in range(int((start + length + 1) / step))]
    samples = [(t, p) for t, p in samples if not any(a < t < b for a, b in drop)]
    end = start + length
    exact = sum(power(start + (i + 0.5) * length / 10_000) for i in range(10_000)) * length / 10_000
    found = PowerTrace(start=start, end=end, samples=samples)
    if counter:
        found.counter_start, found.counter_end = 5_000.0, 5_000.0 + exact * (counter if counter is not True else 1)
    return found, exact


def test_a_clean_trace_integrates_within_one_percent_and_is_valid():
    made, exact = trace(lambda t: 300 + 80 * math.sin(t))
    energy = judge(made, tokens=1_000, idle_w=70)
    assert energy.integrated == pytest.approx(exact, rel=0.01)
    assert energy.is_valid
    assert energy.reasons == ()
    assert energy.per_token == pytest.approx(exact / 1_000)


def test_the_ends_are_interpolated():
    assert integrate([(0, 0.0), (10, 100.0)], 2.0, 4.0) == pytest.approx(60.0)  # a ramp: 10 t, from 2 to 4
    assert integrate([(0, 50.0), (1, 50.0), (9, 50.0)], 0.5, 8.5) == pytest.approx(400.0)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (trace(lambda t: 300.0, drop=[(4.0, 5.0)])[0], "gap_in_samples"),
        (trace(lambda t: 300.0, length=3.0)[0], "short_window"),
        (trace(lambda t: 300.0, counter=False)[0], "no_counter"),
        (trace(lambda t: 300.0, counter=1.2)[0], "counter_and_power_disagree"),
        (trace(lambda t: 300.0, drop=[(-1, 3)])[0], "samples_miss_the_ends"),
        (trace(lambda t: 300.0, counter=1e-12)[0], "counter_and_power_disagree"),
    ],
)
def test_a_faulty_trace_is_refused_with_its_reason(made, reason):
    energy = judge(made, tokens=10)
    assert not energy.is_valid
    assert reason in energy.reasons
    assert energy.per_token is None


def test_a_counter_that_stands_still_is_no_zero():
    made, _ = trace(lambda t: 300.0)
    made.counter_end = made.counter_start
    assert "counter_stood_still" in judge(made, tokens=10).reasons


def test_without_a_meter_a_window_is_null_with_a_reason_and_not_zero():
    with Meter(None).window() as window:
        pass
    energy = judge(window, tokens=10)
    assert energy.joules is None
    assert "no_counter" in energy.reasons
