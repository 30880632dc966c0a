"""`babilong@1`: the facts of a bAbI story spread over prose, and a question that needs them. Twenty tasks, qa1 to qa20.

Source: Kuratov et al. 2024 (BABILong, arXiv:2406.10149) for placement, prompt and scoring; Weston et al. 2015 (bAbI,
arXiv:1502.05698) for the stories. We differ: stories come from our own generator; context_length is the whole prompt by the
model's own tokenizer, template included, and is met to the token (the benchmark reserves 300 tokens for the prompt); long
stories are dropped by another rule (`plan.most_statements`); the prose is ours (`background`). docs/suites/babilong.md.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.babilong import scoring
from longboard_tasks.suites.babilong.background import choose_sentences
from longboard_tasks.suites.babilong.plan import (
    LONGEST,
    SUITE_VERSION,
    TASKS,
    encode_target,
    make_story,
    most_statements,
    plan_story,
)
from longboard_tasks.suites.babilong.prompts import after_context, before_context
from longboard_tasks.suites.babilong.published import PublishedSample
from longboard_tasks.suites.babilong.story import Story
from longboard_tasks.suites.segments import encode, frame

NEW_TOKENS = 20  # as the benchmark generates

score, secondary = scoring.score, scoring.secondary

_least: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()


def new_tokens(task: str) -> int:
    return NEW_TOKENS


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Sample `index`: the same bytes for the same arguments, on every machine.

        before template | instruction, examples, reminder, <context> | prose and facts | </context>, question | after template

    context_length=0 is the benchmark's "0k": the story alone, however long the prompt. Raises SuiteError when the story does
    not fit the length.
    """
    _check(task)
    story = plan_story(task, context_length=context_length, seed=seed, index=index)
    around = frame(tokenizer)
    head = [*around.before, *encode(tokenizer, before_context(task))]
    tail = [*encode(tokenizer, after_context(story.question)), *around.after]
    facts = [encode(tokenizer, f" {fact}") for fact in story.facts]
    room = context_length - len(head) - len(tail) - sum(map(len, facts))
    if context_length and room < 0:
        raise SuiteError(
            f"context_length={context_length} is too short for babilong/{task}: by this tokenizer prompt and story "
            f"take {context_length - room} tokens. Ask for at least {least_length(task, tokenizer)}."
        )
    rng = random.Random(f"babilong/{task}@{SUITE_VERSION}:prose:{context_length}:{seed}:{index}")
    prose = choose_sentences(rng, tokenizer, room, context_length=context_length)
    slots = place_facts(rng, facts=len(facts), sentences=len(prose))
    context = [*head, *_interleave(prose, facts, slots)]
    return Sample(
        task=task,
        index=index,
        ids=(*context, *tail),
        target=encode_target(story),
        context=len(context),
        new_tokens=NEW_TOKENS,
    )


def place_facts(rng: random.Random, *, facts: int, sentences: int) -> list[int]:
    """The benchmark's placement: a slot from 0 to `sentences` for each fact, uniform with replacement, sorted.

    Slot s is before sentence s, the last slot is after the last sentence. So facts keep their order and may be neighbours.
    """
    return sorted(rng.choices(range(sentences + 1), k=facts))


def _interleave(prose: Sequence[Sequence[int]], facts: Sequence[list[int]], slots: Sequence[int]) -> list[int]:
    ids: list[int] = []
    done = 0
    for fact, slot in zip(facts, slots, strict=True):
        for sentence in prose[done:slot]:
            ids.extend(sentence)
        ids.extend(fact)
        done = slot
    for sentence in prose[done:]:
        ids.extend(sentence)
    return ids


def least_length(task: str, tokenizer: Any) -> int:
    """A length from which on every sample fits, whatever its story: prompt, longest question, and as many of the
    longest statements as a story may have (both out of 500 stories). 2 s the first time."""
    _check(task)
    known = _least.setdefault(tokenizer, {})
    if task not in known:
        known[task] = _find_least(task, tokenizer)
    return known[task]


def _find_least(task: str, tokenizer: Any) -> int:
    rng = random.Random(f"babilong/{task}@{SUITE_VERSION}:least")
    stories = [make_story(task, rng) for _ in range(500)]
    statements = {fact for story in stories for fact in story.facts}
    longest = max(len(encode(tokenizer, f" {fact}")) for fact in statements)
    questions = {story.question for story in stories}
    around = frame(tokenizer)
    fixed = len(around.before) + len(around.after) + len(encode(tokenizer, before_context(task)))
    fixed += max(len(encode(tokenizer, after_context(question))) for question in questions)
    most = LONGEST[task]
    # A step in length may allow one more statement, so the last length that is too short decides.
    too_short = [
        length
        for length in range(1, fixed + most * longest + 1)
        if fixed + most_statements(task, length) * longest > length
    ]
    return max(too_short, default=0) + 1


def published_sample(row: PublishedSample, *, task: str, index: int, tokenizer: Any) -> Sample:
    """A row of the published data in the benchmark's prompt; its length is what it is."""
    _check(task)
    around = frame(tokenizer)
    context = [*around.before, *encode(tokenizer, before_context(task) + row.input.strip())]
    return Sample(
        task=task,
        index=index,
        ids=(*context, *encode(tokenizer, after_context(row.question)), *around.after),
        target=encode_target(Story(task, (), row.question.strip(), row.target)),
        context=len(context),
        new_tokens=NEW_TOKENS,
    )


def _check(task: str) -> None:
    if task not in TASKS:
        raise SuiteError(f'babilong@1 has no task "{task}". It has: {", ".join(TASKS)}.')
