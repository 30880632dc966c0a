"""Every task of niah@1: as long as it may be, its answer in the prompt, what null, echo and oracle score, and refusals."""

import json
import re
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.suites.niah.making import indexes, make, seeds, text_of, tokenizer

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.niah import plan
from longboard_tasks.suites.niah.needles import NOISE
from longboard_tasks.suites.niah.suite import TASKS, least_length, new_tokens, score
from longboard_tasks.suites.segments import frame

EXACT = {
    "single", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multivalue", "niah_multiquery",
    "grid", "passkey", "streamed",
}  # fmt: skip
# The others end with a whole unit: the largest one in bytes, and for word lists what one more word adds.
LARGEST_UNIT = {
    "niah_single_1": len(NOISE) + 1, "niah_multikey_2": 90, "niah_multikey_3": 130, "vt": len(NOISE) + 1, "cwe": 3 * 17,
    "fwe": 8 * 7, "qa_1": 600, "qa_2": 600,
}  # fmt: skip


@cache
def least(task):
    return least_length(task, tokenizer())


def references(sample):
    return json.loads(sample.target) if sample.target.startswith("[") else [sample.target]


def test_the_task_names_are_those_of_the_plan_and_slugs():
    assert TASKS == plan.TASKS
    assert len(set(TASKS)) == 17
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", task) for task in TASKS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(TASKS), st.floats(0, 1), seeds, indexes, st.booleans())
def test_a_prompt_never_exceeds_its_length_and_leaves_less_than_one_unit(chat, task, share, seed, index, is_chat):
    low = least(task) + 40  # the chat template's tokens
    length = int(low + share * (11_000 - low))
    if task == "cwe" and 4_096 <= length < 8_192:
        length = 8_192  # by bytes the long lists do not fit 4,096
    sample = make(task, length, seed, index, chat if is_chat else None)
    assert len(sample.ids) <= length
    assert 0 < sample.context < len(sample.ids)
    assert length - len(sample.ids) < (1 if task in EXACT else LARGEST_UNIT[task])
    assert sample.new_tokens == new_tokens(task)
    text = text_of(sample)
    assert all(reference in text for reference in references(sample))
    told = plan.expected(task, context_length=length, seed=seed, index=index)
    assert (told.target, told.depth) == (sample.target, sample.depth)
    assert sample == make(task, length, seed, index, chat if is_chat else None)


@pytest.mark.parametrize("task", TASKS)
def test_null_and_echo_score_nothing_the_oracle_everything_and_a_cut_context_at_most_its_first_needles(task):
    length, scores = 8_192, {"null": [], "question": [], "context": [], "possible": []}
    for index in range(22):
        sample = make(task, length, 5, index)
        told = references(sample)
        assert score(task, " ".join(told), sample.target) == 1
        assert score(task, f"\n{told[0]}.\t{', '.join(told)}", sample.target) == 1
        # An answer has at most new_tokens tokens: whoever echoes the context gets that far.
        head = text_of(sample, 0, sample.new_tokens)
        scores["null"].append(score(task, "", sample.target))
        scores["question"].append(score(task, text_of(sample, sample.context)[: sample.new_tokens], sample.target))
        scores["context"].append(score(task, head, sample.target))
        scores["possible"].append(sum(reference in head for reference in told) / len(told))
    assert sum(scores["null"]) == sum(scores["question"]) == 0
    assert scores["context"] == scores["possible"]
    # By bytes only `grid` and `passkey` have a needle that early, at depth 0: one depth of 11 and of 10.
    assert sum(scores["context"]) <= 3


@pytest.mark.parametrize("task", TASKS)
def test_too_short_says_the_least_length_and_that_one_works(task):
    with pytest.raises(SuiteError, match="Ask for at least") as caught:
        make(task, 60)
    told = int(re.search(r"at least (\d+)", str(caught.value))[1])
    assert told == least(task)
    assert all(len(make(task, told, seed, index).ids) <= told for seed in (0, 7) for index in range(12))


def test_an_unknown_task_is_refused_with_the_known_ones():
    for call in (lambda: make("niah"), lambda: new_tokens("niah"), lambda: least_length("niah", tokenizer())):
        with pytest.raises(SuiteError, match="It has: single, niah_single_1"):
            call()
    with pytest.raises(plan.UnknownTask, match="It has: single"):
        plan.expected("niah", context_length=1, seed=0, index=0)


def test_the_answers_start_belongs_to_the_assistants_turn(chat):
    for task in TASKS:
        sample = make(task, 8_192, by=chat)
        tail = text_of(sample, sample.context)
        assert tail.count("[assistant]") == 1, task
        assert sample.ids[0] == frame(chat).before[0] == 256
