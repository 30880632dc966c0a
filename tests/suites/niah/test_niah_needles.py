"""The needles of niah@1: each stands at its planned depth, the haystack around it is whole, and nothing else answers."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st
from tests.suites.niah.making import few, indexes, make, seeds, text_of, tokenizer

from longboard_tasks.suites.niah import plan, pools
from longboard_tasks.suites.niah.grid import KEY, say
from longboard_tasks.suites.niah.layout import prose
from longboard_tasks.suites.niah.needles import NEEDLE, NOISE

PROSE_TASKS = sorted(task for task, knobs in plan.KNOBS.items() if knobs.haystack == "prose")


@few
@given(st.sampled_from(PROSE_TASKS), st.integers(800, 9_000), seeds, indexes)
def test_needles_in_prose_stand_before_the_planned_sentences_and_the_prose_is_whole(task, length, seed, index):
    sample = make(task, length, seed, index)
    made = plan.plan_needles(task, context_length=length, seed=seed, index=index)
    kind = plan.KNOBS[task].value
    texts = [f" {NEEDLE.format(kind=kind, key=key, value=value)}" for key, value in made.needles]
    body = text_of(sample, 0, sample.context).partition("afterwards.\n")[2]
    bare, places = body.encode("latin-1"), []
    for text in texts:
        assert body.count(text) == 1
    for text in reversed(texts):  # the last one first: places before it do not move
        places.insert(0, bare.index(text.encode()))
        bare = bare.replace(text.encode(), b"")
    places = [place - sum(len(text.encode()) for text in texts[:i]) for i, place in enumerate(places)]
    haystack = prose(tokenizer())
    assert list(bare) == haystack.take(len(bare))
    count = haystack.count_sentences(len(bare))
    assert places == [haystack.start(count * depth // 100, len(bare)) for depth in made.depths]


@few
@given(
    st.sampled_from(["niah_single_1", "niah_multikey_2", "niah_multikey_3"]), st.integers(700, 9_000), seeds, indexes
)
def test_a_needle_among_lines_stands_at_its_share_of_them_and_no_other_line_has_its_key_or_value(
    task, length, seed, index
):
    sample = make(task, length, seed, index)
    made = plan.plan_needles(task, context_length=length, seed=seed, index=index)
    ((key, value),) = made.needles
    lines = text_of(sample, 0, sample.context).splitlines()[1:]
    needle = NEEDLE.format(kind=plan.KNOBS[task].value, key=key, value=value)
    assert lines.index(needle) == int(made.share * (len(lines) - 1))
    others = [line for line in lines if line != needle]
    assert len(others) == len(lines) - 1
    assert not any(key in line or value in line for line in others)
    if task == "niah_single_1":
        assert set(others) == {NOISE}
    else:
        assert all(re.fullmatch(r"One of the special magic \w+ for \S+ is: \S+\.", line) for line in others)


def test_the_singular_is_asked_with_one_answer_and_the_plural_with_several():
    one, several = text_of(make("niah_multikey_1")), text_of(make("niah_multiquery"))
    assert one.startswith("A special magic number is hidden within the following text. Make sure to memorize it.")
    assert re.search(
        r"What is the special magic number for \S+ mentioned in the provided text\? The special magic number ", one
    )
    assert one.endswith(" mentioned in the provided text is")
    assert several.startswith("Some special magic numbers are hidden")
    asked = re.search(r"What are all the special magic numbers for (\S+), (\S+), (\S+), and (\S+) mentioned", several)
    planted = dict(re.findall(r"One of the special magic numbers for (\S+) is: (\d{7})\.", several))
    assert [planted[key] for key in asked.groups()] == json.loads(make("niah_multiquery").target)


@few
@given(st.integers(400, 9_000), seeds, indexes)
def test_the_grids_sentence_stands_just_after_a_full_stop_at_its_depth(length, seed, index):
    sample = make("grid", length, seed, index)
    fact = plan.plan_grid(context_length=length, seed=seed, index=index)
    body = bytes(sample.ids[: sample.context]).partition(b"a question.\n\n")[2]
    needle = say(fact).encode()
    assert body.count(needle) == 1
    place, room = body.index(needle), len(body) - len(needle)
    haystack = prose(tokenizer())
    asked = int(room * fact.depth)
    assert place == (room if fact.depth == 1 else haystack.start_before(asked))
    assert place == 0 or fact.depth == 1 or re.search(rb"[.!?][^\w\s]*$", body[:place])
    assert list(body.replace(needle, b"")) == haystack.take(room)


@few
@given(st.integers(300, 9_000), seeds, indexes)
def test_the_pass_key_is_said_twice_at_its_depth(length, seed, index):
    sample = make("passkey", length, seed, index)
    body = bytes(sample.ids[: sample.context]).partition(b"asked for.\n\n")[2]
    needle = KEY.format(key=sample.target).encode()
    assert body.count(sample.target.encode()) == 2
    assert body.index(needle) == int((len(body) - len(needle)) * sample.depth)


def test_first_samples_cover_the_depths():
    for task, depths in (
        ("grid", plan.GRID_DEPTHS),
        ("passkey", plan.PASSKEY_DEPTHS),
        ("streamed", plan.STREAM_DEPTHS),
    ):
        told = [plan.expected(task, context_length=4_096, seed=0, index=i).depth for i in range(len(depths))]
        assert sorted(told) == sorted(depths)
        assert max(told[:4]) - min(told[:4]) >= 0.5


def test_keywords_of_the_grid_stand_neither_in_the_prose_nor_inside_one_another():
    words = [*pools.ACTIVITIES, *pools.FOODS, *pools.VENUES]
    text = bytes(prose(tokenizer()).ids).decode().lower()
    assert not [word for word in words if word in text]
    assert not [(a, b) for a in words for b in words if a != b and a in b]


def test_half_a_million_tokens_repeat_the_prose_and_go_on_with_its_first_sentence():
    haystack = prose(tokenizer())
    size = len(haystack.ids)
    room = 2 * size + 1_000
    assert haystack.take(room)[size : size + 1_000] == haystack.take(1_000)
    assert haystack.count_sentences(room) == 2 * len(haystack.starts) + haystack.count_sentences(1_000)
    assert haystack.start(len(haystack.starts), room) == size
    assert haystack.start_before(size + 1) == size
    assert len(make("niah_multiquery", 1_400_000).ids) == 1_400_000
