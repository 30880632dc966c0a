"""Every sample of niah@1/single: as long as it claims, one needle, where it says, the same bytes for ever."""

import hashlib
import json
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
from longboard_tasks.suites.niah.plan import DEPTHS, plan_single
from longboard_tasks.suites.niah.single import make_sample, score
from longboard_tasks.suites.segments import frame, prose_ids

GOLDEN = Path(__file__).parent / "golden" / "niah_single_1.json"
ZOO_TOKENIZER = Path(__file__).parents[2] / "tasks/longboard_tasks/zoo/weights/tokenizer"


@cache
def byte_tokenizer():
    return build_byte_tokenizer()


@cache
def chat_tokenizer():
    tokenizer = build_byte_tokenizer()
    turns = "{% for m in messages %}<bos>[{{ m.role }}]{{ m.content }}{% endfor %}"
    tokenizer.chat_template = turns + "[assistant]"
    return tokenizer


@settings(max_examples=60, deadline=None)
@given(st.integers(260, 6_000), st.integers(0, 2**31), st.integers(0, 500), st.booleans())
def test_every_sample_has_the_length_it_claims_and_one_needle_at_its_depth(length, seed, index, chat):
    ask = {
        "task": "single", "context_length": length, "seed": seed, "index": index,
        "tokenizer": chat_tokenizer() if chat else byte_tokenizer(),
    }  # fmt: skip
    sample = make_sample(**ask)
    plan = plan_single(context_length=length, seed=seed, index=index)
    assert len(sample.ids) == length
    text = "".join(map(chr, sample.ids))
    assert text.count(plan.needle) == text.count(plan.number) == 1
    assert sample.target == plan.number
    around = frame(ask["tokenizer"])
    haystack = sample.context - len(around.before) - len(plan.needle) - 2
    at = text.index(f" {plan.needle} ") - len(around.before)
    assert abs(at / haystack - plan.depth) <= 0.5 / haystack + 1e-9
    assert sample == make_sample(**ask)  # same seed, same bytes


@given(st.integers(0, 1_000))
@settings(max_examples=30, deadline=None)
def test_null_and_echo_answers_score_nothing_and_the_oracle_everything(index):
    sample = make_sample(task="single", context_length=600, seed=1, index=index, tokenizer=byte_tokenizer())
    question = "".join(map(chr, sample.ids[sample.context :]))
    assert [score("single", answer, sample.target) for answer in ("", question, f"{sample.target}.")] == [0, 0, 1]


def golden() -> dict[str, str]:
    made = {}
    for name, tokenizer, length, count in (
        ("short", byte_tokenizer(), 512, 5),
        ("plain", byte_tokenizer(), 4_096, 20),
        ("chat", chat_tokenizer(), 4_096, 5),
    ):
        for index in range(count):
            sample = make_sample(task="single", context_length=length, seed=0, index=index, tokenizer=tokenizer)
            made[f"{name}:{length}:{index}"] = hash_prompt(sample.ids)
    return made


def test_twenty_samples_are_the_tokens_that_version_1_was_published_with():
    """One changed token is a new suite version: old scores would no longer be about the same prompts."""
    assert golden() == json.loads(GOLDEN.read_text())


def test_samples_do_not_depend_on_order_process_or_hash_seed():
    code = (
        "from longboard_tasks.suites.niah.single import make_sample; from longboard_tasks.engine.byte_tokenizer import *;"
        "import hashlib; t = build_byte_tokenizer();"
        "print([hashlib.sha256(bytes(make_sample(task='single', context_length=700, seed=5, index=i, tokenizer=t).ids))"
        ".hexdigest() for i in (3, 0, 7)])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONPATH": str(Path(__file__).parents[2] / "tasks"), "PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(runs) == 1
    mine = [
        hashlib.sha256(
            bytes(make_sample(task="single", context_length=700, seed=5, index=i, tokenizer=byte_tokenizer()).ids)
        )
        for i in (7, 0, 3)
    ]
    assert runs == {f"{[digest.hexdigest() for digest in reversed(mine)]}\n"}


def test_prompts_of_one_length_share_their_haystack_up_to_the_needle():
    samples = [
        make_sample(task="single", context_length=2_000, seed=0, index=i, tokenizer=byte_tokenizer()) for i in range(5)
    ]
    assert [s.depth for s in samples] == list(DEPTHS)
    assert samples[3].ids[:1_000] == samples[4].ids[:1_000]


def test_too_short_and_too_long_say_what_would_fit():
    ask = {"task": "single", "seed": 0, "index": 0, "tokenizer": byte_tokenizer()}
    with pytest.raises(SuiteError, match="Ask for at least") as caught:
        make_sample(context_length=128, **ask)
    least = int(str(caught.value).split()[-1].rstrip("."))
    assert len(make_sample(context_length=least, **ask).ids) == least
    most = len(prose_ids(byte_tokenizer()))
    with pytest.raises(SuiteError, match="Ask for at most"):
        make_sample(context_length=2 * most, **ask)


def test_a_chat_model_gets_the_start_of_the_answer_in_its_own_turn():
    sample = make_sample(task="single", context_length=700, seed=0, index=0, tokenizer=chat_tokenizer())
    plan = plan_single(context_length=700, seed=0, index=0)
    assert sample.ids[0] == 256
    text = "".join(map(chr, sample.ids[sample.context :]))
    assert text.endswith(f"mentioned in the provided text?[assistant]The special magic number for {plan.city} is:")


def test_a_template_that_drops_the_users_text_is_refused():
    tokenizer = build_byte_tokenizer()
    tokenizer.chat_template = "[nothing]"
    with pytest.raises(SuiteError, match="chat template"):
        make_sample(task="single", context_length=700, seed=0, index=0, tokenizer=tokenizer)


@pytest.mark.skipif(not ZOO_TOKENIZER.is_dir(), reason="the zoo's tokenizer is not in this checkout")
def test_the_zoos_tokenizer_meets_the_length_too():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ZOO_TOKENIZER)
    sample = make_sample(task="single", context_length=1_024, seed=0, index=2, tokenizer=tokenizer)
    assert len(sample.ids) == 1_024
    assert tokenizer.decode(list(sample.ids)).count(sample.target) == 1
