"""Every sample of babilong@1: as long as it claims, every fact in order, the same bytes for ever."""

import json
import random
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.suites.babilong.solver import solve

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.journal import hash_prompt
from longboard_tasks.suites.babilong import background
from longboard_tasks.suites.babilong.plan import TASKS, expected, plan_story
from longboard_tasks.suites.babilong.prompts import after_context, before_context
from longboard_tasks.suites.babilong.suite import (
    least_length,
    make_sample,
    new_tokens,
    place_facts,
    published_sample,
    score,
    secondary,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "babilong_1.json"
ROOT = Path(__file__).parents[3]
ZOO_TOKENIZER = ROOT / "tasks/longboard_tasks/zoo/weights/tokenizer"
# The score of a guesser who reads the question alone, as the catalogue has it (docs/suites/babilong.md).
CHANCE = {
    "qa1": 1 / 6, "qa2": 1 / 6, "qa3": 1 / 5, "qa4": 1 / 5, "qa5": 0.31, "qa6": 1 / 2, "qa7": 0.48, "qa8": 0.48, "qa9": 1 / 2,
    "qa10": 1 / 3, "qa11": 1 / 6, "qa12": 1 / 6, "qa13": 1 / 6, "qa14": 1 / 5, "qa15": 1 / 4, "qa16": 1 / 4, "qa17": 1 / 2,
    "qa18": 0.90, "qa19": 1 / 12, "qa20": 0.71,
}  # fmt: skip


@cache
def byte_tokenizer():
    return build_byte_tokenizer()


@cache
def chat_tokenizer():
    tokenizer = build_byte_tokenizer()
    turns = "{% for m in messages %}<bos>[{{ m.role }}]{{ m.content }}{% endfor %}"
    tokenizer.chat_template = turns + "[assistant]"
    return tokenizer


@cache
def zoo_tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(ZOO_TOKENIZER)


def context_of(sample, tokenizer, task):
    """The text between the context tags."""
    text = tokenizer.decode(list(sample.ids[: sample.context]))
    return text[text.index(before_context(task)) + len(before_context(task)) :]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TASKS), st.integers(0, 9_000), st.integers(0, 2**31), st.integers(0, 500), st.booleans())
def test_every_sample_has_the_length_it_claims_and_every_fact_in_order(task, more, seed, index, chat):
    tokenizer = chat_tokenizer() if chat else byte_tokenizer()
    length = least_length(task, tokenizer) + more
    ask = {"task": task, "context_length": length, "seed": seed, "index": index, "tokenizer": tokenizer}
    sample = make_sample(**ask)
    assert len(sample.ids) == length
    assert sample.new_tokens == new_tokens(task) == 20
    story = plan_story(task, context_length=length, seed=seed, index=index)
    text, at = context_of(sample, tokenizer, task), 0
    for fact in story.facts:
        at = text.index(f" {fact}", at) + len(fact)
    assert tokenizer.decode(list(sample.ids)).count(after_context(story.question)) == 1
    assert sample.target == expected(task, context_length=length, seed=seed, index=index).target
    assert json.loads(sample.target) == {"answer": story.answer, "question": story.question}
    assert sample == make_sample(**ask)  # same seed, same bytes


@pytest.mark.parametrize("task", TASKS)
def test_the_least_length_fits_whatever_the_story(task):
    tokenizer = zoo_tokenizer()
    least = least_length(task, tokenizer)
    for index in range(30):
        for length in (least, least + 17, 1_024):
            ask = {"task": task, "seed": 1, "index": index, "tokenizer": tokenizer}
            assert len(make_sample(context_length=length, **ask).ids) == length


@given(st.integers(1, 200), st.integers(0, 5_000), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_slot_for_every_fact_sorted_and_within_the_sentences(facts, sentences, seed):
    slots = place_facts(random.Random(seed), facts=facts, sentences=sentences)
    assert slots == sorted(slots)
    assert len(slots) == facts
    assert slots[0] >= 0
    assert slots[-1] <= sentences


def test_slots_are_uniform_with_replacement_both_ends_included():
    """Chi-square over 11 slots, 5 facts a sample; 29.6 is the 0.1 % point for 10 degrees of freedom."""
    rng, n = random.Random("slots"), 4_000
    counts = Counter(slot for _ in range(n) for slot in place_facts(rng, facts=5, sentences=10))
    assert set(counts) == set(range(11))
    assert sum((count - 5 * n / 11) ** 2 / (5 * n / 11) for count in counts.values()) < 29.6


def test_facts_stand_between_whole_sentences_and_only_the_last_sentence_is_cut():
    tokenizer = byte_tokenizer()
    book = background.open_book(tokenizer, "moby-dick")
    sentences = {bytes(book.ids[a:b].tolist()) for a, b in pairwise(book.starts)}
    assert min(map(len, sentences)) >= 10
    for index in range(20):
        ask = {"context_length": 4_000, "seed": 2, "index": index}
        sample, story = make_sample(task="qa1", tokenizer=tokenizer, **ask), plan_story("qa1", **ask)
        head = len(before_context("qa1").encode())
        left = bytes(sample.ids[head : sample.context])
        facts = [f" {fact}".encode() for fact in story.facts]
        cut = 0
        while left:
            if facts and left.startswith(facts[0]):
                left = left[len(facts.pop(0)) :]
                continue
            sentence = next((left[:size] for size in range(len(left), 9, -1) if left[:size] in sentences), None)
            if sentence is None:  # the cut one; what follows it are facts
                cut += 1
                end = min([at for fact in facts if (at := left.find(fact)) >= 0], default=len(left))
                sentence = left[:end]
                assert any(whole.startswith(sentence) for whole in sentences)
            left = left[len(sentence) :]
        assert not facts
        assert cut <= 1


def test_prose_is_in_natural_order_and_budget_is_met_to_the_token():
    tokenizer = byte_tokenizer()
    book = background.open_book(tokenizer, "moby-dick")
    for budget in (1, 9, 10, 1_000, 30_000):
        prose = background.choose_sentences(random.Random(budget), tokenizer, budget, context_length=4_096)
        joined = b"".join(bytes(list(sentence)) for sentence in prose)
        assert len(joined) == budget
        assert joined in bytes(book.ids.tolist())  # no end of book on these seeds
    assert background.choose_sentences(random.Random(0), tokenizer, 0, context_length=4_096) == []


def test_a_context_longer_than_the_book_goes_on_at_another_place():
    tokenizer = byte_tokenizer()
    budget = 2_500_000
    prose = background.choose_sentences(random.Random(1), tokenizer, budget, context_length=background.ONE_BOOK)
    assert sum(map(len, prose)) == budget


@pytest.mark.parametrize("task", TASKS)
def test_null_and_echo_answers_score_at_most_chance_and_the_oracle_everything(task):
    tokenizer, n = zoo_tokenizer(), 60
    names = ("null", "question", "context", "end")
    totals = {name: dict.fromkeys(names, 0.0) for name in ("accuracy", "accuracy_official")}
    for index in range(n):
        sample = make_sample(task=task, context_length=1_024, seed=4, index=index, tokenizer=tokenizer)
        known = json.loads(sample.target)
        start = sample.context - len(tokenizer.encode(context_of(sample, tokenizer, task), add_special_tokens=False))
        answers = (
            "",
            known["question"],
            tokenizer.decode(list(sample.ids[start : start + 20])),
            tokenizer.decode(list(sample.ids[sample.context - 20 : sample.context])),
        )
        for name, answer in zip(names, answers, strict=True):
            totals["accuracy"][name] += score(task, answer, sample.target)
            totals["accuracy_official"][name] += secondary(task, answer, sample.target)["accuracy_official"]
        assert score(task, known["answer"], sample.target) == 1
        assert score(task, f"Answer: {known['answer'].upper()}. Done", sample.target) == 1
        official = secondary(task, known["answer"], sample.target)["accuracy_official"]
        assert official == (0 if known["answer"] == "none" else 1)  # the fault: "one" is inside "none"
    limit = CHANCE[task] + 3 * (CHANCE[task] * (1 - CHANCE[task]) / n) ** 0.5
    assert max(total / n for scores in totals.values() for total in scores.values()) <= limit, totals


@pytest.mark.parametrize("task", TASKS)
def test_a_guesser_who_reads_the_question_alone_scores_what_is_said_to_be_chance(task):
    """The best guess for each question on 3,000 plans, tried on 1,000 others."""
    learned, hits, n = {}, 0, 4_000
    for index in range(n):
        story = plan_story(task, context_length=2_048, seed=8, index=index)
        guesses = learned.setdefault(story.question, Counter())
        if index < 0.75 * n:
            guesses[story.answer] += 1
        elif guesses:
            hits += guesses.most_common(1)[0][0] == story.answer
    assert abs(hits / (n / 4) - CHANCE[task]) < 0.06


def golden() -> dict[str, str]:
    made = {}
    for task in TASKS:
        least = least_length(task, byte_tokenizer())
        for name, tokenizer, length, count in (
            ("plain", byte_tokenizer(), least + 2_000, 3),
            ("chat", chat_tokenizer(), least + 2_000, 1),
            ("bare", byte_tokenizer(), 0, 1),
        ):
            for index in range(count):
                sample = make_sample(task=task, context_length=length, seed=0, index=index, tokenizer=tokenizer)
                made[f"{task}:{name}:{length}:{index}"] = hash_prompt(sample.ids)
    return made


def test_samples_are_the_tokens_that_version_1_was_published_with():
    """One changed token is a new suite version: old scores would no longer be about the same prompts."""
    assert golden() == json.loads(GOLDEN.read_text())


def test_samples_do_not_depend_on_order_process_or_hash_seed():
    code = (
        "import hashlib; from longboard_tasks.suites.babilong.suite import *;"
        "from longboard_tasks.engine.byte_tokenizer import *; t = build_byte_tokenizer();"
        "print([hashlib.sha256(repr(make_sample(task=task, context_length=0 if i else 9000, seed=5, index=i, tokenizer=t))"
        ".encode()).hexdigest() for task in ORDER for i in (0, 3)])"
    )
    order = ("qa1", "qa9", "qa15", "qa18", "qa20")
    runs = [
        subprocess.run(
            [sys.executable, "-c", code.replace("ORDER", repr(tasks))], capture_output=True, text=True, check=True,
            env={"PYTHONPATH": str(ROOT / "tasks"), "PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed, tasks in (("0", order), ("1", order[::-1]))
    ]  # fmt: skip
    first, second = (json.loads(run.replace("'", '"')) for run in runs)
    pairs = [second[at : at + 2] for at in range(0, len(second), 2)][::-1]
    assert first == [digest for pair in pairs for digest in pair]


def test_length_0_is_the_story_alone():
    for task in TASKS:
        sample = make_sample(task=task, context_length=0, seed=0, index=0, tokenizer=byte_tokenizer())
        story = plan_story(task, context_length=0, seed=0, index=0)
        assert context_of(sample, byte_tokenizer(), task) == "".join(f" {fact}" for fact in story.facts)
        assert solve(story.facts, story.question) == json.loads(sample.target)["answer"]


def test_too_short_says_what_would_fit():
    ask = {"task": "qa1", "seed": 0, "index": 0, "tokenizer": byte_tokenizer()}
    with pytest.raises(SuiteError, match="Ask for at least") as caught:
        make_sample(context_length=900, **ask)
    least = int(str(caught.value).split()[-1].rstrip("."))
    assert len(make_sample(context_length=least, **ask).ids) == least


def test_an_unknown_task_is_refused():
    with pytest.raises(SuiteError, match="qa21"):
        make_sample(task="qa21", context_length=4_096, seed=0, index=0, tokenizer=byte_tokenizer())


def test_a_chat_model_gets_one_user_turn():
    sample = make_sample(task="qa1", context_length=2_048, seed=0, index=0, tokenizer=chat_tokenizer())
    text = chat_tokenizer().decode(list(sample.ids))
    assert text.startswith("<bos>[user]I will give you context")
    assert text.endswith("?[assistant]")


def test_the_prompt_reads_as_the_benchmark_lays_it_out():
    sample = make_sample(task="qa4", context_length=0, seed=0, index=0, tokenizer=byte_tokenizer())
    text = byte_tokenizer().decode(list(sample.ids))
    parts = (
        "I will give you",
        "\n\n<example>\n",
        "</example>\n\nYour answer",
        "\n\n<context>\n",
        "\n</context>\n\nQuestion: ",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert before_context("qa10").count("<context>") == 2  # the stray tag of the released examples
    assert before_context("qa17").count("<context>") == 1


def test_a_plan_needs_no_tokenizer_and_no_torch():
    code = (
        "import sys; from longboard_tasks.suites.babilong import plan, scoring;"
        "plan.expected('qa3', context_length=4096, seed=0, index=0);"
        "print(sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT / "tasks"), "PATH": ""},
    )  # fmt: skip
    assert run.stdout == "[]\n"


def test_a_row_of_the_published_data_gets_the_same_prompt():
    from longboard_tasks.suites.babilong.published import PublishedSample

    row = PublishedSample(input=" Mary moved to the bathroom. ", question="Where is Mary? ", target="bathroom")
    sample = published_sample(row, task="qa1", index=0, tokenizer=byte_tokenizer())
    text = byte_tokenizer().decode(list(sample.ids))
    assert text.endswith("<context>\nMary moved to the bathroom.\n</context>\n\nQuestion: Where is Mary?")
    assert score("qa1", "The most recent location of Mary is bathroom.", sample.target) == 1
