"""The edge of a fake allocator is found to the granule and confirmed; other ends are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longboard_tasks.suites.efficiency.limits import Stop, find_limit
from longboard_tasks.suites.efficiency.report import LEAST, Limit


class FakeAllocator:
    """Holds `room` bytes; a prompt takes `fixed` and `per_token` of them."""

    def __init__(self, room, per_token, fixed=0):
        self.room, self.per_token, self.fixed, self.asked = room, per_token, fixed, []

    def __call__(self, tokens):
        self.asked.append(tokens)
        needed = self.fixed + tokens * self.per_token
        return Stop("out_of_memory", needed_bytes=needed) if needed > self.room else None

    @property
    def edge(self):
        return (self.room - self.fixed) // self.per_token


@settings(max_examples=60, deadline=None)
@given(edge=st.integers(2_000, 900_000), guess=st.floats(0.05, 20), fixed=st.integers(0, 10**9))
def test_the_edge_is_found_within_the_granule_from_any_prediction(edge, guess, fixed):
    allocator = FakeAllocator(room=fixed + edge * 96_000, per_token=96_000, fixed=fixed)
    found = find_limit(allocator, predicted=int(edge * guess), most=1_048_576)
    assert found.tokens <= allocator.edge
    assert allocator.edge - found.tokens <= max(LEAST, 0.01 * found.tokens) + 16
    assert found.confirmed == 3
    assert allocator.asked[-3:] == [found.tokens] * 3
    assert found.stop.kind == "out_of_memory"
    assert found.stopped_at > allocator.edge


def test_a_good_prediction_takes_few_attempts():
    allocator = FakeAllocator(room=100_000 * 1_000, per_token=1_000)
    assert find_limit(allocator, predicted=99_000, most=1_048_576).attempts <= 10


def test_the_end_of_the_positions_is_not_the_end_of_the_memory():
    found = find_limit(FakeAllocator(room=10**15, per_token=1), predicted=10**9, most=131_072)
    assert (found.tokens, found.stop.kind, found.stopped_at) == (131_072, "position_limit", None)


def test_nothing_fits_at_all():
    found = find_limit(FakeAllocator(room=10, per_token=1), predicted=50_000, most=1_048_576)
    assert (found.tokens, found.stop.kind, found.confirmed) == (0, "out_of_memory", 0)


def test_a_length_that_fails_when_confirmed_is_given_up_for_a_shorter_one():
    class Leaky(FakeAllocator):
        """Every attempt leaves something behind, as a fragmented allocator does."""

        def __call__(self, tokens):
            self.fixed += 100_000
            return super().__call__(tokens)

    allocator = Leaky(room=100_000_000, per_token=1_000)
    found = find_limit(allocator, predicted=95_000, most=1_048_576)
    assert found.confirmed == 3
    assert allocator.asked[-3:] == [found.tokens] * 3
    assert found.tokens < 99_000


def test_an_allocator_that_only_loses_memory_ends_the_search_with_nothing():
    class Losing(FakeAllocator):
        def __call__(self, tokens):
            self.fixed += 900_000
            return super().__call__(tokens)

    found = find_limit(Losing(room=100_000_000, per_token=1_000), predicted=95_000, most=1_048_576)
    assert found.tokens == 0
    assert found.stop.kind == "out_of_memory"


def test_a_search_whose_time_is_over_says_so_and_keeps_what_worked():
    calls = []

    def attempt(tokens):
        calls.append(tokens)

    found = find_limit(attempt, predicted=10_000, most=1_048_576, is_over=lambda: len(calls) >= 2)
    assert found.tokens == max(calls)
    assert found.stop.kind == "no_time"


def limit(found):
    return Limit(
        system="one", reading="one_shot", logits="last", cap_bytes=None, predicted=200_000, tokens=found.tokens,
        ended=found.stop.kind, ended_at=found.stopped_at, confirmed=found.confirmed,
    )  # fmt: skip


def test_a_search_whose_time_is_over_before_anything_worked_has_no_limit():
    """It knows that a length was too long, and of the shorter ones nothing."""
    calls = []

    def attempt(tokens):
        calls.append(tokens)
        return Stop("out_of_memory")

    cut = limit(find_limit(attempt, predicted=200_000, most=1_048_576, is_over=lambda: len(calls) >= 3))
    assert (cut.tokens, cut.ended, cut.is_open, cut.is_edge) == (0, "out_of_memory", True, False)
    whole = limit(find_limit(lambda tokens: Stop("out_of_memory"), predicted=200_000, most=1_048_576))
    assert (whole.tokens, whole.is_open, whole.is_edge) == (0, False, True)
    assert limit(find_limit(lambda tokens: None, predicted=200_000, most=1_048_576, is_over=lambda: True)).is_open


@pytest.mark.parametrize("kind", ["non_finite", "error"])
def test_other_failures_keep_their_kind(kind):
    found = find_limit(lambda n: Stop(kind) if n > 20_000 else None, predicted=20_000, most=1_048_576)
    assert found.stop.kind == kind
    assert 19_000 <= found.tokens <= 20_000
