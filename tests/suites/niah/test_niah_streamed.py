"""The streamed task of niah@1: all lengths and questions share one trunk, with a needle of its own at each planned end."""

import re

from hypothesis import given
from hypothesis import strategies as st
from tests.suites.niah.making import few, make, seeds

from longboard_tasks.suites.niah import plan
from longboard_tasks.suites.niah.grid import say


def test_streamed_prompts_of_all_lengths_and_questions_share_one_trunk():
    samples = [make("streamed", length, 3, index) for length in (8_192, 16_384, 20_000) for index in range(9)]
    longest = max(samples, key=lambda sample: sample.context)
    for sample in samples:
        assert sample.ids[: sample.context] == longest.ids[: sample.context]
    assert len({sample.ids for sample in samples}) == len(samples)
    other = make("streamed", 8_192, 3, 9)
    assert other.ids[: other.context] != longest.ids[: other.context]


@few
@given(st.sampled_from([8_192, 16_384, 32_768]), seeds, st.integers(0, 40))
def test_a_streamed_question_is_about_a_needle_at_its_depth_and_each_place_has_one(length, seed, index):
    sample = make("streamed", length, seed, index)
    fact = plan.plan_streamed(context_length=length, seed=seed, index=index).fact
    text = bytes(sample.ids[: sample.context])
    needle = say(fact).encode()
    assert text.count(needle) == 1
    names = re.findall(rb"best thing to do in (\w+) is to", text)
    assert len(names) == len(set(names)) >= 12
    end = text.index(needle) + len(needle)
    longest_sentence = 1_600
    assert end <= fact.depth * length or fact.depth == 0
    assert end >= fact.depth * length - 350 - longest_sentence


def test_planned_ends_hold_every_eighth_of_every_power_of_two():
    for power in range(10, 25):
        ends = plan.stream_ends(2**power)
        assert ends == sorted(set(ends))
        assert {eighth * 2**power // 8 for eighth in range(9)} <= set(ends)
        assert all(plan.stream_end(end) == end for end in ends)
    assert len({plan.stream_fact(seed=0, trunk=0, end=end).place for end in plan.stream_ends(2**24)}) == len(ends)


@given(st.integers(1_024, 2**24))
def test_the_eighths_of_any_length_have_nine_needles_of_their_own(length):
    ends = [plan.stream_end(int(depth * length)) for depth in plan.STREAM_DEPTHS]
    assert len(set(ends)) == 9
    assert all(0 <= depth * length - end <= length / 8 for depth, end in zip(plan.STREAM_DEPTHS, ends, strict=True))
