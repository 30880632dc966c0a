"""kv@1: prompts of the suites they come from, few-shot texts whose label follows from examples, borders for compression."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.journal import hash_prompt
from longboard_tasks.suites.babilong import suite as babilong
from longboard_tasks.suites.kv.cells import Cell, Outcome, table_of
from longboard_tasks.suites.kv.plan import SOURCES, TASKS, expected
from longboard_tasks.suites.kv.scoring import score
from longboard_tasks.suites.kv.suite import FEW_SHOT_TOKENS, least_length, make_sample, new_tokens
from longboard_tasks.suites.kv.topics import TOPICS, plan_topics
from longboard_tasks.suites.niah import suite as niah
from longboard_tasks.suites.recall import suite as recall

GOLDEN = Path(__file__).parents[1] / "suites" / "golden" / "kv_1.json"
THEIRS = {"niah": niah, "babilong": babilong, "recall": recall}


@cache
def tokenizer():
    return build_byte_tokenizer()


@cache
def chat_tokenizer():
    made = build_byte_tokenizer()
    turns = "{% for m in messages %}<bos>[{{ m.role }}]{{ m.content }}{% endfor %}"
    made.chat_template = turns + "[assistant]"
    return made


def text_of(ids):
    return tokenizer().decode(list(ids))


def test_the_catalogue_has_the_suites_tasks():
    assert tuple(task.name for task in SUITES["kv"].tasks) == TASKS
    assert len({task.category for task in SUITES["kv"].tasks}) == 6


@pytest.mark.parametrize("task", [task for task, source in SOURCES.items() if source.suite != "kv"])
def test_prompts_are_those_of_the_suite_they_come_from_with_a_border_before_the_question(task):
    source = SOURCES[task]
    ask = {"context_length": 16_384, "seed": 3, "index": 1, "tokenizer": tokenizer()}
    ours = make_sample(task=task, **ask)
    theirs = THEIRS[source.suite].make_sample(task=source.task, **ask)
    assert (ours.ids, ours.target, ours.depth) == (theirs.ids, theirs.target, theirs.depth)
    assert ours.task == task
    assert 0.9 * len(ours.ids) < ours.context < len(ours.ids)
    assert new_tokens(task) == THEIRS[source.suite].new_tokens(source.task)
    wanted = expected(task, context_length=16_384, seed=3, index=1)
    assert (wanted.target, wanted.depth) == (ours.target, ours.depth)


@settings(max_examples=60, deadline=None)
@given(more=st.integers(0, 6_000), seed=st.integers(0, 2**31), index=st.integers(0, 500), chat=st.booleans())
def test_the_label_follows_from_the_examples_alone(more, seed, index, chat):
    by = chat_tokenizer() if chat else tokenizer()
    length = least_length("few_shot", by) + more
    ask = {"context_length": length, "seed": seed, "index": index}
    sample = make_sample(task="few_shot", tokenizer=by, **ask)
    assert length - 110 <= len(sample.ids) <= length
    context, question = text_of(sample.ids[: sample.context]), text_of(sample.ids[sample.context :])
    examples = dict(re.findall(r"Text: (.+)\nLabel: (\w+)\n", context))
    asked = re.search(r"Text: (.+?\.)", question).group(1)
    assert asked not in examples
    assert question.endswith("Label:")
    # A topic's first words are its own: whoever starts as the asked text does has its label.
    topic = next(t for t in TOPICS if any(asked.startswith(who) for who in t[0]))
    labels = {label for text, label in examples.items() if any(text.startswith(who) for who in topic[0])}
    assert labels == {sample.target} == {expected("few_shot", **ask).target}
    assert len(set(examples.values())) == len(TOPICS)
    assert sample == make_sample(task="few_shot", tokenizer=by, **ask)


def test_the_topics_share_no_word_that_tells_them_apart():
    firsts = [set(topic[0]) for topic in TOPICS]
    assert all(not a & b for i, a in enumerate(firsts) for b in firsts[:i])
    assert all(len(part) == 6 for topic in TOPICS for part in topic)


def test_few_shot_labels_are_even_and_score_as_words():
    targets = [plan_topics(context_length=4_096, seed=0, index=i).topic for i in range(600)]
    assert all(60 < targets.count(topic) < 140 for topic in range(6))
    assert score("few_shot", " Dax\n\nText: more", "dax") == 1
    assert score("few_shot", "daxes", "dax") == 0
    assert score("few_shot", "", "dax") == 0
    assert max(
        len(tokenizer().encode(f" {label}")) for label in plan_topics(context_length=1, seed=0, index=0).labels
    ) < (FEW_SHOT_TOKENS)


def test_other_scores_are_those_of_the_other_suites():
    assert score("needle", "It is 1234567.", "1234567") == 1
    assert score("pairs", "1, 9, 3, 4", "1 2 3 4") == 0.75
    assert score("one_fact", "the garden", json.dumps({"question": "Where?", "answer": "garden"})) == 1


def test_a_length_too_short_names_one_that_is_not():
    with pytest.raises(SuiteError, match="Ask for at least") as refused:
        make_sample(task="few_shot", context_length=500, seed=0, index=0, tokenizer=tokenizer())
    least = int(str(refused.value).rstrip(".").split()[-1])
    make_sample(task="few_shot", context_length=least, seed=1, index=5, tokenizer=tokenizer())
    with pytest.raises(SuiteError, match="has no task"):
        make_sample(task="few", context_length=500, seed=0, index=0, tokenizer=tokenizer())


def golden():
    made = {}
    for task in TASKS:
        for name, by, length, count in (("plain", tokenizer(), 8_192, 2), ("chat", chat_tokenizer(), 8_192, 1)):
            for index in range(count):
                sample = make_sample(task=task, context_length=length, seed=0, index=index, tokenizer=by)
                made[f"{task}:{name}:{length}:{index}"] = hash_prompt(sample.ids)
    return made


def test_samples_are_the_tokens_that_version_1_was_published_with():
    """One changed token is a new suite version: old scores would no longer be about the same prompts."""
    assert golden() == json.loads(GOLDEN.read_text())


def test_the_table_sets_methods_beside_no_method_of_their_shape_and_length() -> None:
    def outcome(method: str, length: int, held: float, failure: str = "") -> Outcome:
        values = {"cache_bytes": held, "ttft_ms": 1_500.0, "tpot_ms": 20.0, "peak_memory_bytes": 4e9}
        return Outcome(Cell("llama-1b", length, method, 0.25), 0, 2, {} if failure else values, 10.0, failure)

    table = table_of(
        [outcome("none", 1_024, 8e6), outcome("snapkv", 1_024, 2e6), outcome("h2o", 4_096, 1e6, "no time left")]
    )
    assert "### llama-1b, 1,024 tokens" in table
    assert "| snapkv | 0.25 | 2.0 | 0.250 | 1,500 | 10 | 20.0 | 4.00 | 2 |" in table
    assert table.index("### llama-1b, 4,096 tokens") < table.index("| h2o | 0.25 | no time left |")
