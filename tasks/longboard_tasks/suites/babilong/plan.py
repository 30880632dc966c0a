"""What `babilong@1` asks: the story, question and answer of each sample. Standard library only.

A plan needs no tokenizer and no prose, so the platform derives every target by itself and re-scores uploaded answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from longboard_tasks.suites.babilong import people, relations
from longboard_tasks.suites.babilong.story import Story

SUITE_VERSION = 1

_BUILDERS: dict[str, Callable[[random.Random], Story]] = {
    "qa1": people.where_is_person,
    "qa2": people.where_is_thing,
    "qa3": people.where_was_thing,
    "qa4": relations.what_is_next_to,
    "qa5": people.who_gave,
    "qa6": people.is_person_there,
    "qa7": people.how_many,
    "qa8": people.what_carried,
    "qa9": people.is_not_there,
    "qa10": people.is_maybe_there,
    "qa11": people.where_is_she,
    "qa12": people.where_is_pair,
    "qa13": people.where_are_they,
    "qa14": people.where_before,
    "qa15": relations.afraid_of,
    "qa16": relations.what_colour,
    "qa17": relations.which_side,
    "qa18": relations.does_it_fit,
    "qa19": relations.how_to_go,
    "qa20": people.why_go,
}
TASKS: tuple[str, ...] = tuple(_BUILDERS)
# The longest story of each task, in statements: the longest of the release (en-10k, test).
LONGEST = dict.fromkeys(TASKS, 10) | {
    "qa2": 88, "qa3": 228, "qa4": 2, "qa5": 94, "qa6": 14, "qa7": 34, "qa8": 58, "qa14": 14, "qa15": 8, "qa16": 9,
    "qa17": 2, "qa18": 15, "qa19": 5, "qa20": 12,
}  # fmt: skip
# What even the shortest context has to allow, so that there is a story to draw.
_FEWEST = {"qa3": 8, "qa15": 8, "qa16": 9}


@dataclass(frozen=True, slots=True)
class Expected:
    target: str  # a JSON object with "answer" and "question": the scorers need both
    depth: float | None


def expected(task: str, *, context_length: int, seed: int, index: int) -> Expected:
    """The target of sample `index`. No depth: the facts are spread over the whole context."""
    story = plan_story(task, context_length=context_length, seed=seed, index=index)
    return Expected(target=encode_target(story), depth=None)


def plan_story(task: str, *, context_length: int, seed: int, index: int) -> Story:
    """The story of sample `index`, drawn again until it is short enough for its length. Raises KeyError for another task."""
    rng = random.Random(f"babilong/{task}@{SUITE_VERSION}:{context_length}:{seed}:{index}")
    while True:
        story = make_story(task, rng)
        if len(story.facts) <= most_statements(task, context_length):
            return story


def make_story(task: str, rng: random.Random) -> Story:
    """One story of `task`, of any length."""
    return _BUILDERS[task](rng)


def most_statements(task: str, context_length: int) -> int:
    """The longest story at a length: one statement for 16 tokens beyond 512, and never longer than the release has.

    The benchmark has one for 8 of GPT-2's tokens. With a small vocabulary a statement takes 16, and the rule has to be the
    same for every tokenizer: a target must not depend on it. context_length=0 is no limit of its own.
    """
    if context_length == 0:
        return LONGEST[task]
    return min(LONGEST[task], max(_FEWEST.get(task, 6), (context_length - 512) // 16))


def encode_target(story: Story) -> str:
    return json.dumps({"answer": story.answer, "question": story.question})
