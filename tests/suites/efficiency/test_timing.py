"""When the clock is read, with a clock that we own."""

from __future__ import annotations

import pytest

from longboard_tasks.suites.efficiency.spread import summarise
from longboard_tasks.suites.efficiency.timing import time_decode, time_prefill, warm_decode


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class FakeSubject:
    """200 ms to the first token, 2 ms a step; the first reading and the first steps are slow, as real ones are."""

    def __init__(self, clock, *, prefill_s=0.2, step_s=0.002, cold_s=1.0, cold_steps=0):
        self.clock, self.prefill_s, self.step_s = clock, prefill_s, step_s
        self.cold_s, self.cold_steps, self.reads, self.steps = cold_s, cold_steps, 0, 0

    def read_prompt(self, clock):
        self.clock.now += self.prefill_s + (self.cold_s if self.reads == 0 else 0)
        self.reads += 1
        return {"forward": self.prefill_s * 0.99, "ttft": self.prefill_s + (self.cold_s if self.reads == 1 else 0)}

    def decode_step(self):
        self.clock.now += self.step_s * (20 if self.steps < self.cold_steps else 1)
        self.steps += 1


@pytest.fixture
def clock():
    return FakeClock()


def test_no_percentile_of_tpot_carries_the_prefill_in_it(clock):
    # optimum-benchmark reports a p99 of 200 ms for this subject: it counts the gap after the prompt as a step.
    subject = FakeSubject(clock)
    subject.read_prompt(clock)
    gaps = sorted(time_decode(subject, steps=500, clock=clock))
    assert len(gaps) == 500
    for share in (0.5, 0.99, 1.0):
        assert gaps[int(share * 499)] == pytest.approx(0.002, rel=0.05)


def test_the_warm_up_is_no_repeat(clock):
    found = time_prefill(FakeSubject(clock), most=5, budget_s=60, clock=clock).parts
    assert found["ttft"] == pytest.approx([0.2] * 5)
    assert summarise(found["ttft"]).n == 5


def test_a_budget_ends_the_repeats_but_leaves_one(clock):
    assert len(time_prefill(FakeSubject(clock, prefill_s=10), most=5, budget_s=1, clock=clock).parts["ttft"]) == 1
    assert len(time_prefill(FakeSubject(clock, prefill_s=10), most=5, budget_s=35, clock=clock).parts["ttft"]) == 3


def test_a_window_is_filled_whatever_the_number_of_repeats(clock):
    began = clock.now
    found = time_prefill(FakeSubject(clock), most=2, budget_s=1, window_s=10, clock=clock).parts
    assert len(found["ttft"]) >= 50
    assert clock.now - began >= 10
    assert len(time_decode(FakeSubject(clock), steps=10, window_s=1, clock=clock)) >= 499


def test_warm_up_ends_when_five_steps_agree_and_not_before(clock):
    assert warm_decode(FakeSubject(clock, cold_steps=4), budget_s=60, clock=clock) == 9
    assert warm_decode(FakeSubject(clock), budget_s=60, clock=clock) == 5


def test_warm_up_gives_up_after_twenty_steps_or_its_budget(clock):
    class Restless(FakeSubject):
        def decode_step(self):
            self.steps += 1
            clock.now += 0.002 * (1 + self.steps % 2)

    assert warm_decode(Restless(clock), budget_s=60, clock=clock) == 20
    assert warm_decode(Restless(clock), budget_s=0.001, clock=clock) == 3
