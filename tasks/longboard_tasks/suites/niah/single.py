"""`niah@1/single`: one needle in prose, give back its 7-digit number. Exact match of the number in the answer; chance 0.

Source: Kamradt 2023; number needle and scoring after Hsieh et al. 2024 (RULER, arXiv:2404.06654), niah_single_2. We differ:
context_length is the whole prompt, template included, and is met to the token; depth is a share of tokens, not of sentences;
the prompt is defined on token segments.
"""

from __future__ import annotations

from typing import Any

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.niah.plan import CITIES, NeedlePlan, plan_single
from longboard_tasks.suites.niah.scoring import string_match_all
from longboard_tasks.suites.segments import Frame, encode, frame, prose_ids

NEW_TOKENS = 24  # a tokenizer that splits digits needs 8 for the answer


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Sample `index`: the same bytes for the same arguments, on every machine.

        before template | prose[:at] | needle | prose[at:room] | question | after template | answer prefix

    Raises SuiteError when the haystack would be empty, or longer than the prose at hand.
    """
    if task != "single":
        raise SuiteError(f'niah@1 has no task "{task}". It has: single.')
    plan = plan_single(context_length=context_length, seed=seed, index=index)
    prose, around = prose_ids(tokenizer), frame(tokenizer)
    needle, question = _encode_facts(tokenizer, plan, around)
    fixed = len(around.before) + len(needle) + len(question)
    room = context_length - fixed
    if room < 1:
        raise SuiteError(
            f"context_length={context_length} leaves no room for a haystack: by this tokenizer template, needle and question "
            f"take {fixed} tokens. Ask for at least {least_length(tokenizer)}."
        )
    if room > len(prose):
        raise SuiteError(
            f"context_length={context_length} needs {room} tokens of prose; the haystack has {len(prose)} by this tokenizer. "
            f"Ask for at most {len(prose) + fixed}."
        )
    at = round(plan.depth * room)
    context = [*around.before, *prose[:at], *needle, *prose[at:room]]
    return Sample(
        task=task,
        index=index,
        ids=(*context, *question),
        target=plan.target,
        depth=plan.depth,
        context=len(context),
        new_tokens=NEW_TOKENS,
    )


def least_length(tokenizer: Any) -> int:
    """The shortest context that every sample fits, whatever its city: one token of haystack beside the longest facts."""
    around = frame(tokenizer)
    plans = [NeedlePlan(index=0, depth=0.0, city=city, number="1029384") for city in CITIES]
    facts = [sum(map(len, _encode_facts(tokenizer, plan, around))) for plan in plans]
    return len(around.before) + max(facts) + 1


def score(task: str, answer: str, target: str) -> float:
    """1 if the answer contains the number, else 0. Needs no model: stored samples can be scored again."""
    return string_match_all(answer, [target])


def _encode_facts(tokenizer: Any, plan: NeedlePlan, around: Frame) -> tuple[list[int], list[int]]:
    """(needle, everything after the haystack)."""
    # Spaces around the needle: prose is cut between tokens, which may be inside a word.
    needle = encode(tokenizer, f" {plan.needle} ")
    if not around.is_chat:
        return needle, encode(tokenizer, plan.question)
    # The start of the answer belongs to the assistant's turn, as RULER does.
    ask, prefix = plan.question.rsplit("? ", 1)
    return needle, [*encode(tokenizer, f"{ask}?"), *around.after, *encode(tokenizer, prefix)]
