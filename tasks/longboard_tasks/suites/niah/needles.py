"""RULER's needle tasks: niah_single_1 to 3, niah_multikey_1 to 3, niah_multivalue, niah_multiquery.

Source: Hsieh et al. 2024 (RULER, arXiv:2404.06654); templates, knobs and placement after NVIDIA/RULER c3f5e3b, Apache-2.0:
the wording of INSTRUCTION, QUESTION, PREFIX, NEEDLE and NOISE is RULER's and defines the tasks. We differ: see
docs/suites/niah.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.niah import pools
from longboard_tasks.suites.niah.layout import Around, encode, encode_all, flatten, insert, prose, surround, unit_ids
from longboard_tasks.suites.niah.plan import KNOBS, Knobs, NeedlesPlan, draw, join, plan_needles

NEW_TOKENS = 128
NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
NEEDLE = "One of the special magic {kind} for {key} is: {value}."
INSTRUCTION = (
    "{some} special magic {kind} {are} hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the {kind} afterwards.\n"
)
QUESTION = "\nWhat {are_all} the special magic {kind} for {query} mentioned in the provided text?"
PREFIX = " The special magic {kind} for {query} mentioned in the provided text {are}"


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Needles among noise lines, needle lines or prose; answers in the order of the question. Raises TooShort."""
    knobs = KNOBS[task]
    plan = plan_needles(task, context_length=context_length, seed=seed, index=index)
    texts = [NEEDLE.format(kind=knobs.value, key=key, value=value) for key, value in plan.needles]
    words = _words(knobs, plan)
    opening = INSTRUCTION.format(**words)
    question, prefix = QUESTION.format(**words), PREFIX.format(**words)
    if knobs.haystack == "prose":
        needles = [encode(tokenizer, f" {text}") for text in texts]
        used = sum(map(len, needles))
        around = surround(tokenizer, context_length, opening=opening, question=question, prefix=prefix, least=used + 1)
        body = _in_prose(tokenizer, around.room - used, plan.depths, needles)
    else:
        # The last line ends with the question's newline.
        (needle,) = _line_ids(tokenizer, knobs, plan.needles)
        line = encode(tokenizer, f"{NOISE}\n")
        least = len(needle) + (len(line) if knobs.haystack == "noise" else len(needle))
        around = surround(tokenizer, context_length, opening=opening, question=question[1:], prefix=prefix, least=least)
        if knobs.haystack == "noise":
            lines = [line] * ((around.room - len(needle)) // len(line))
        else:
            rng = draw(task, context_length=context_length, seed=seed, index=index, part="lines")
            lines = _needle_lines(tokenizer, rng, knobs, plan, around, len(needle))
        at = int(plan.share * len(lines))
        body = flatten([*lines[:at], needle, *lines[at:]])
    return around.sample(
        body, task=task, index=index, target=join(plan.answers), depth=plan.depth, new_tokens=NEW_TOKENS
    )


def _in_prose(tokenizer: Any, room: int, depths: tuple[int, ...], needles: list[list[int]]) -> list[int]:
    """Needles between sentences: before sentence floor(count x depth), in the order of the plan."""
    text = prose(tokenizer)
    count = text.count_sentences(room)
    places = [text.start(count * depth // 100, room) if depth < 100 else room for depth in depths]
    return insert(text.take(room), zip(places, needles, strict=True))


def _needle_lines(
    tokenizer: Any, rng: Any, knobs: Knobs, plan: NeedlesPlan, around: Around, needle: int
) -> list[list[int]]:
    """As many other needles as fit. None repeats the asked key or its value: the question has one answer."""
    (asked_key, asked_value), *_ = plan.needles
    lines, room = list[list[int]](), around.room - needle
    while True:
        drawn = list[tuple[str, str]]()
        while len(drawn) < min(2_048, 2 + room // needle):
            key, value = pools.draw_key(rng, knobs.key), pools.draw_key(rng, knobs.value)
            if key != asked_key and value != asked_value:
                drawn.append((key, value))
        for ids in _line_ids(tokenizer, knobs, drawn):
            if len(ids) > room:
                return lines
            lines.append(ids)
            room -= len(ids)


def _line_ids(tokenizer: Any, knobs: Knobs, facts: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Ids of needle lines. With word keys four segments, three of them kept: "... for" | " oval" | "-bucket" | the rest."""
    texts = [NEEDLE.format(kind=knobs.value, key=key, value=value) + "\n" for key, value in facts]
    if knobs.key != "words":
        return list(encode_all(tokenizer, texts))
    adjectives, nouns = zip(*(key.split("-") for key, _ in facts), strict=True)
    start = texts[0].index(f" {facts[0][0]}")
    rests = [text[start + 1 + len(key) :] for text, (key, _) in zip(texts, facts, strict=True)]
    (head,) = unit_ids(tokenizer, [texts[0][:start]])
    pieces = zip(
        unit_ids(tokenizer, [f" {word}" for word in adjectives]),
        unit_ids(tokenizer, [f"-{word}" for word in nouns]),
        encode_all(tokenizer, rests),
        strict=True,
    )
    return [[*head, *adjective, *noun, *rest] for adjective, noun, rest in pieces]


def _words(knobs: Knobs, plan: NeedlesPlan) -> dict[str, str]:
    """Singular with one answer, plural with several; needles stay plural."""
    *first, last = plan.queries
    query = f"{', '.join(first)}, and {last}" if first else last
    if len(plan.answers) == 1:
        return {"some": "A", "are": "is", "are_all": "is", "kind": knobs.value[:-1], "query": query}
    return {"some": "Some", "are": "are", "are_all": "are all", "kind": knobs.value, "query": query}
