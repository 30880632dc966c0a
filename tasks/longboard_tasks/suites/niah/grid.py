"""`grid`, `passkey` and `streamed`: one fact in prose at a depth of its own.

Sources: Kamradt 2023 (LLMTest_NeedleInAHaystack, MIT) for `grid` and its placement; Mohtashami and Jaggi 2023 (arXiv:2305.16300)
and Yuan et al. 2024 (longctx_bench, MIT) for `passkey`. The wording is ours, and so is `streamed`. We differ: see
docs/suites/niah.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.niah import pools
from longboard_tasks.suites.niah.layout import TooShort, encode, insert, prose, surround, unit_ids
from longboard_tasks.suites.niah.plan import (
    STREAM_LEAST,
    FactPlan,
    join,
    plan_grid,
    plan_passkey,
    plan_streamed,
    stream_ends,
    stream_fact,
    stream_spacing,
)

NEW_TOKENS = {"grid": 48, "passkey": 32, "streamed": 48}
FACT = " The best thing to do in {place} is to {} after a {} near the {}."
FACT_OPENING = "Read this text to answer a question.\n\n"
FACT_QUESTION = "\n\nWhat is the best thing to do in {place} by this text?"
FACT_PREFIX = " The best thing to do in {place} is to"
KEY = " The pass key is {key}. Keep it in mind: {key} is the pass key."
KEY_OPENING = (
    "A pass key is hidden in the following text, among much that has nothing to do with it. It will be asked for.\n\n"
)
KEY_QUESTION = "\n\nWhat is the pass key?"
KEY_PREFIX = " The pass key is"


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Met to the token. Raises TooShort."""
    ask = {"context_length": context_length, "seed": seed, "index": index}
    if task == "streamed":
        return _make_streamed(**ask, tokenizer=tokenizer)
    if task == "grid":
        fact = plan_grid(**ask)
        depth, target, needle = fact.depth, join(fact.keywords), say(fact)
        texts = _ask(fact)
    else:
        target, depth = plan_passkey(**ask)
        needle = KEY.format(key=target)
        texts = {"opening": KEY_OPENING, "question": KEY_QUESTION, "prefix": KEY_PREFIX}
    planted = encode(tokenizer, needle)
    around = surround(tokenizer, context_length, **texts, least=len(planted) + 1)
    room, text = around.room - len(planted), prose(tokenizer)
    place = int(room * depth)
    if task == "grid" and place < room:
        place = text.start_before(place)  # back to just after a full stop
    body = insert(text.take(room), [(place, planted)])
    return around.sample(body, task=task, index=index, target=target, depth=depth, new_tokens=NEW_TOKENS[task])


def say(fact: FactPlan) -> str:
    return FACT.format(*fact.keywords, place=fact.place)


def _ask(fact: FactPlan) -> dict[str, str]:
    return {
        "opening": FACT_OPENING,
        "question": FACT_QUESTION.format(place=fact.place),
        "prefix": FACT_PREFIX.format(place=fact.place),
    }


def _make_streamed(*, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """A trunk cut where the question begins.

    The trunk depends on (seed, trunk number, tokenizer) alone, so prompts of one seed share their tokens up to the shorter's
    question, whatever their lengths: one pass over the trunk answers the questions of every reporting length.
    """
    plan = plan_streamed(context_length=context_length, seed=seed, index=index)
    reserve, _ = _longest(tokenizer)
    around = surround(tokenizer, context_length, **_ask(plan.fact), least=1)
    pieces = dict(_stream_needles(tokenizer, seed, plan.trunk, reserve, context_length))
    if context_length < STREAM_LEAST or plan.end not in pieces:
        raise TooShort(context_length + 1)
    text, body, done = prose(tokenizer), list[int](), 0
    hay = text.take(around.room)
    for place, ids in pieces.values():
        body.extend(hay[done:place])
        body.extend(ids)
        done = place
    body.extend(hay[done:])
    return around.sample(
        body[: around.room],
        task="streamed",
        index=index,
        target=join(plan.fact.keywords),
        depth=plan.fact.depth,
        new_tokens=NEW_TOKENS["streamed"],
    )


def _stream_needles(
    tokenizer: Any, seed: int, trunk: int, reserve: int, context_length: int
) -> Iterator[tuple[int, tuple[int, list[int]]]]:
    """(planned end, (place in the haystack, ids)): ends by `planned end - reserve` of the trunk, before a sentence.

    A planned needle that would run into the one before it is left out: where tokens are short, among the first thousands.
    """
    text, built, hay = prose(tokenizer), 0, 0  # tokens of trunk and of haystack so far
    for end in stream_ends(context_length):
        ids = encode(tokenizer, say(stream_fact(seed=seed, trunk=trunk, end=end)))
        latest = end - reserve - len(ids)
        if end and latest < built:
            continue
        place = max(hay, text.start_before(hay + latest - built)) if end else 0
        built, hay = built + place - hay + len(ids), place
        yield end, (place, ids)


def least_streamed(tokenizer: Any) -> int:
    """The least power of two that holds nine needles of any wording; every length from there on does."""
    reserve, needle = _longest(tokenizer)
    length, least_spacing = STREAM_LEAST, stream_spacing(STREAM_LEAST // 2)
    # Two needles and the question before the first eighth; from there on, a needle between any two planned ends.
    while length // 8 < reserve + 2 * needle or max(least_spacing, stream_spacing(length // 8)) < needle:
        length *= 2
    return length


def _longest(tokenizer: Any) -> tuple[int, int]:
    """(tokens of template and question, tokens of a needle) at their longest. A needle that is planned to end at a length must
    stand before that length's question, whichever it is.
    """

    def longest(words: Sequence[str]) -> str:
        sizes = unit_ids(tokenizer, [f" {word}" for word in words])
        return max(zip(words, sizes, strict=True), key=lambda pair: len(pair[1]))[0]

    fact = FactPlan(
        longest(pools.PLACES), (longest(pools.ACTIVITIES), longest(pools.FOODS), longest(pools.VENUES)), depth=0.0
    )
    around = surround(tokenizer, 0, **_ask(fact), least=None)
    return len(around.opening) + len(around.closing), len(encode(tokenizer, say(fact)))
