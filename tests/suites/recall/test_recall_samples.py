"""Every sample of recall@1: as long as it claims, with its answer in the context, the same bytes for ever."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.journal import hash_prompt
from longboard_tasks.suites.recall.names import COUNT, full_name
from longboard_tasks.suites.recall.plan import (
    DEPTHS,
    PAIRS,
    TASKS,
    entry,
    expected,
    plan_pairs,
    plan_phone_book,
    plan_string,
)
from longboard_tasks.suites.recall.suite import least_length, make_sample, new_tokens, score, secondary

GOLDEN = Path(__file__).parents[1] / "golden" / "recall_1.json"
ROOT = Path(__file__).parents[3]
ZOO_TOKENIZER = ROOT / "tasks/longboard_tasks/zoo/weights/tokenizer"
STRINGS = ("copy", "ngram_prefix", "ngram_suffix")


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


def text_of(sample, tokenizer):
    return tokenizer.decode(list(sample.ids))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(TASKS), st.integers(0, 6_000), st.integers(0, 2**31), st.integers(0, 500), st.booleans())
def test_every_sample_fits_its_length_and_ends_with_its_question(task, more, seed, index, chat):
    tokenizer = chat_tokenizer() if chat else byte_tokenizer()
    length = least_length(task, tokenizer) + more
    ask = {"context_length": length, "seed": seed, "index": index}
    sample = make_sample(task=task, tokenizer=tokenizer, **ask)
    # Letters take two of these tokens; a book too short to exchange lines in misses by less than a line.
    slack = {"mqar": 0, "phone_book": 0 if more > 2_000 else 35}.get(task, 1)
    assert length - slack <= len(sample.ids) <= length
    planned = expected(task, **ask)
    assert (sample.target, sample.depth) == (planned.target, planned.depth)
    assert sample.new_tokens == new_tokens(task)
    assert text_of(sample, tokenizer).endswith(":")
    assert sample == make_sample(task=task, tokenizer=tokenizer, **ask)  # same seed, same bytes


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(STRINGS), st.integers(0, 6_000), st.integers(0, 2**31), st.integers(0, 500))
def test_the_string_holds_its_answer_where_the_plan_says(task, more, seed, index):
    length = least_length(task, byte_tokenizer()) + more
    ask = {"context_length": length, "seed": seed, "index": index}
    text = text_of(make_sample(task=task, tokenizer=byte_tokenizer(), **ask), byte_tokenizer())
    string = re.search(r"A string of letters:((?: [a-z])+)\n", text)[1].replace(" ", "")
    plan = plan_string(task, **ask)
    at = string.index(plan.ngram + plan.answer)
    assert at == round((plan.depth or 0) * (len(string) - len(plan.ngram + plan.answer)))
    assert plan.ngram == "" or string.count(plan.ngram) == 1
    assert text.index(" ".join(plan.ngram)) < text.index("A string of letters:") or task != "ngram_prefix"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9_000), st.integers(0, 2**31), st.integers(0, 500))
def test_the_phone_book_has_every_name_once_and_the_three_that_are_asked_for(more, seed, index):
    length = least_length("phone_book", byte_tokenizer()) + more
    ask = {"context_length": length, "seed": seed, "index": index}
    text = text_of(make_sample(task="phone_book", tokenizer=byte_tokenizer(), **ask), byte_tokenizer())
    plan = plan_phone_book(**ask)
    book, _, question = text.removeprefix("Phone book:\n\n").partition("\n\n")
    lines = book.split("\n")
    assert all(re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+: [6-9]\d{9}", line) for line in lines)
    assert len({line.split(":")[0] for line in lines}) == len(lines)
    assert lines.index(entry(plan.asked)) == round(plan.depth * (len(lines) - 1))
    for person in plan.examples:
        assert entry(person) in lines
        assert entry(person) in question
    assert question.endswith(f"\n{full_name(plan.asked[0])}:")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9_000), st.integers(0, 2**31), st.integers(0, 500))
def test_mqar_has_distinct_keys_and_values_and_asks_for_four(more, seed, index):
    length = least_length("mqar", byte_tokenizer()) + more
    ask = {"context_length": length, "seed": seed, "index": index}
    text = text_of(make_sample(task="mqar", tokenizer=byte_tokenizer(), **ask), byte_tokenizer())
    plan = plan_pairs(**ask)
    assert "".join(f"{key}: {value}\n" for key, value in plan.pairs) in text
    assert len(set(dict(plan.pairs))) == len(set(dict(plan.pairs).values())) == len(plan.pairs)
    assert len(set(plan.queries)) == 4
    assert 0 <= plan.gap < 1
    keys = ", ".join(plan.pairs[query][0] for query in plan.queries)
    assert text.endswith(f"Values of {keys}:")


def test_mqar_takes_turns_among_the_numbers_of_pairs_that_a_length_holds():
    counts = [len(plan_pairs(context_length=1_024, seed=0, index=index).pairs) for index in range(8)]
    assert counts == [4, 8, 16, 32, 4, 8, 16, 32]
    assert {len(plan_pairs(context_length=8_192, seed=0, index=index).pairs) for index in range(7)} == set(PAIRS)


def test_depths_take_turns():
    for task in ("ngram_prefix", "ngram_suffix", "phone_book"):
        depths = [expected(task, context_length=1_024, seed=0, index=index).depth for index in range(5)]
        assert depths == list(DEPTHS)


@pytest.mark.parametrize("task", TASKS)
def test_the_least_length_fits_and_one_less_is_refused(task):
    for tokenizer in (byte_tokenizer(), chat_tokenizer(), zoo_tokenizer()):
        least = least_length(task, tokenizer)
        for index in range(12):
            for length in (least, least + 40, 1_024):
                sample = make_sample(task=task, context_length=length, seed=3, index=index, tokenizer=tokenizer)
                assert len(sample.ids) <= length
        with pytest.raises(SuiteError, match=f"Ask for at least {least}"):
            make_sample(task=task, context_length=least - 1, seed=0, index=0, tokenizer=tokenizer)


@pytest.mark.parametrize("task", TASKS)
def test_the_zoos_tokenizer_meets_its_lengths_to_the_token(task):
    for index in range(10):
        sample = make_sample(task=task, context_length=1_024, seed=0, index=index, tokenizer=zoo_tokenizer())
        assert len(sample.ids) == 1_024
        text = zoo_tokenizer().encode(f" {expected_text(task, sample.target)}\n", add_special_tokens=False)
        assert len(text) <= sample.new_tokens


def expected_text(task, target):
    """The target as a model would write it."""
    return " ".join(target) if task in STRINGS else target.replace(" ", ", ")


@pytest.mark.parametrize("task", TASKS)
def test_null_and_echo_answers_score_nothing_and_the_oracle_everything(task):
    tokenizer, n = zoo_tokenizer(), 50
    totals = dict.fromkeys(("null", "question", "context", "end"), 0.0)
    for index in range(n):
        sample = make_sample(task=task, context_length=1_024, seed=4, index=index, tokenizer=tokenizer)
        cut = sample.new_tokens
        for name, ids in (
            ("null", ()),
            ("question", sample.ids[sample.context :]),
            ("context", sample.ids[:cut]),
            ("end", sample.ids[-cut:]),
        ):
            totals[name] += score(task, tokenizer.decode(list(ids), skip_special_tokens=True), sample.target)
        answer = expected_text(task, sample.target)
        assert score(task, f" {answer}\n\nAnd more", sample.target) == score(task, answer, sample.target) == 1
        assert set(secondary(task, answer, sample.target).values()) <= {1.0}
    assert max(totals.values()) == 0, totals  # chance is below 1e-3 in every task, so 3 standard errors round to none


@pytest.mark.parametrize(
    "task, answer, target, wanted",
    [
        ("copy", " a b c", "abc", 1),
        ("copy", "abcdef", "abc", 1),
        ("copy", "a b", "abc", 0),
        ("copy", "", "abc", 0),
        ("copy", "x a b c", "abc", 0),
        ("copy", "A b c", "abc", 0),
        ("copy", "a\tb\x0bc\n", "abc", 1),
        ("phone_book", " 6123456789\nAda", "6123456789", 1),
        ("phone_book", "61234567890", "6123456789", 0),  # a longer number
        ("phone_book", "\n\n6123456789", "6123456789", 1),
        ("phone_book", "It is 6123456789", "6123456789", 0),  # exact match of the line, as in the paper
        ("phone_book", "", "6123456789", 0),
        ("mqar", " 1234, 5678, 9012, 3456", "1234 5678 9012 3456", 1),
        ("mqar", "1234 5678", "1234 5678 9012 3456", 0.5),
        ("mqar", "5678 1234 9012 3456", "1234 5678 9012 3456", 0.5),  # the order counts
        ("mqar", "12345 5678", "1234 5678 9012 3456", 0.25),  # digits inside a longer number
        ("mqar", "", "1234 5678 9012 3456", 0),
    ],
)
def test_scorers_on_hand_made_answers(task, answer, target, wanted):
    assert score(task, answer, target) == wanted


def test_character_accuracy_is_the_share_of_letters_at_their_place():
    assert secondary("copy", "a x c", "abcd") == {"accuracy_characters": 0.5}
    assert secondary("mqar", "1", "1") == {}


def golden() -> dict[str, str]:
    made = {}
    for task in TASKS:
        for name, tokenizer, length, count in (
            ("plain", byte_tokenizer(), 2_048, 5),
            ("long", byte_tokenizer(), 20_000, 2),
            ("chat", chat_tokenizer(), 2_048, 2),
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
        "import hashlib; from longboard_tasks.suites.recall.suite import *;"
        "from longboard_tasks.engine.byte_tokenizer import *; t = build_byte_tokenizer();"
        "print([hashlib.sha256(repr(make_sample(task=task, context_length=3000, seed=5, index=3, tokenizer=t))"
        ".encode()).hexdigest() for task in TASKS[::STEP]][::STEP])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code.replace("STEP", step)], capture_output=True, text=True, check=True,
            env={"PYTHONPATH": str(ROOT / "tasks"), "PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed, step in (("0", "1"), ("1", "-1"))
    }  # fmt: skip
    assert len(runs) == 1


def test_no_two_names_are_equal():
    assert len({full_name(number) for number in range(COUNT)}) == COUNT


def test_a_chat_model_gets_the_start_of_the_answer_in_its_own_turn():
    for task in TASKS:
        sample = make_sample(task=task, context_length=2_048, seed=0, index=0, tokenizer=chat_tokenizer())
        text = text_of(sample, chat_tokenizer())
        assert text.startswith("<bos>[user]")
        assert re.search(r"\[assistant\][A-Z][^\n]*:$", text)


def test_an_unknown_task_is_refused():
    with pytest.raises(SuiteError, match="paste"):
        make_sample(task="paste", context_length=1_024, seed=0, index=0, tokenizer=byte_tokenizer())
    with pytest.raises(KeyError):
        expected("paste", context_length=1_024, seed=0, index=0)


def test_a_plan_needs_no_tokenizer_and_no_torch():
    code = (
        "import sys; from longboard_tasks.suites.recall import plan, scoring;"
        "[plan.expected(task, context_length=4096, seed=0, index=0) for task in plan.TASKS];"
        "print(sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT / "tasks"), "PATH": ""},
    )  # fmt: skip
    assert run.stdout == "[]\n"
