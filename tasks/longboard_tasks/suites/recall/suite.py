"""`recall@1`: give back, to the letter, what stands in the context. Five tasks for language models.

Sources: Jelassi et al. 2024 (Repeat After Me, arXiv:2402.01032) for copying, n-gram look-up and the phone book; Arora et al.
2023 (Zoology, arXiv:2312.04927) for mqar. We differ: the strings fill the context and the answer has a fixed number of letters
(an answer as long as the context would measure decoding); letters stand apart, so that each is its own token; names come from
our own list; mqar is one question after a gap of prose instead of queries among blanks. docs/suites/recall.md. The papers'
own token sequences, for small models, are in `tokens`.
"""

from __future__ import annotations

from typing import Any

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.recall import scoring
from longboard_tasks.suites.recall.names import COUNT, full_name
from longboard_tasks.suites.recall.plan import (
    COPIED,
    FOLLOWING,
    LETTERS,
    NGRAM,
    PAIRS,
    QUERIES,
    TASKS,
    draw_letters,
    draw_phone,
    entry,
    expected,
    plan_pairs,
    plan_phone_book,
    plan_string,
    stream,
)
from longboard_tasks.suites.segments import encode, frame, prose_ids

score, secondary = scoring.score, scoring.secondary

NEW_TOKENS = {"copy": 48, "ngram_prefix": 24, "ngram_suffix": 24, "phone_book": 16, "mqar": 32}
CHUNK = 64  # lines tokenised in one call
# What stands before the context, and after it: question, then the start of the answer.
WORDING = {
    "copy": ("A string of letters:", "\n\nRepeat the string from its first letter.", "\n\nThe string again:"),
    "ngram_prefix": (
        "In the string of letters below, find what follows{ngram}.\n\nA string of letters:",
        "\n\nGive the letters that follow.",
        "\n\nThe letters that follow:",
    ),
    "ngram_suffix": (
        "A string of letters:",
        "\n\nGive the letters that follow{ngram} in the string.",
        "\n\nThe letters that follow{ngram}:",
    ),
    "phone_book": (
        "Phone book:\n\n",
        "\nGive the number of each name, from the phone book.\n\n{examples}",
        "\n{name}:",
    ),
    "mqar": (
        "A text with a list of keys and values:\n\n",
        "\n\nGive the values of the keys {keys}.",
        "\n\nValues of {keys}:",
    ),
}


def new_tokens(task: str) -> int:
    return NEW_TOKENS[task]


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Sample `index`: the same bytes for the same arguments, on every machine.

    The string tasks and the phone book are made of whole letters and lines: they meet the length where pieces fit, and miss it
    by less than one piece. Raises SuiteError for a length too short.
    """
    _check(task)
    ask = {"context_length": context_length, "seed": seed, "index": index}
    least = least_length(task, tokenizer)
    if context_length < least:
        raise SuiteError(
            f"context_length={context_length} is too short for recall/{task} by this tokenizer. Ask for at least {least}."
        )
    build = {"phone_book": _phone_book, "mqar": _pairs}.get(task)
    head, body, tail = build(tokenizer, ask) if build else _string(task, tokenizer, ask)
    planned = expected(task, **ask)
    return Sample(
        task=task,
        index=index,
        ids=(*head, *body, *tail),
        target=planned.target,
        depth=planned.depth,
        context=len(head) + len(body),
        new_tokens=NEW_TOKENS[task],
    )


def _wrap(task: str, tokenizer: Any, **values: str) -> tuple[list[int], list[int]]:
    """(before the context, after it). A chat model gets the start of the answer in its own turn."""
    around = frame(tokenizer)
    before, question, answer = (text.format(**values) for text in WORDING[task])
    head = [*around.before, *encode(tokenizer, before)]
    if not around.is_chat:
        return head, encode(tokenizer, question + answer)
    return head, [*encode(tokenizer, question), *around.after, *encode(tokenizer, answer.lstrip("\n"))]


def _apart(letters: str) -> str:
    return "".join(f" {letter}" for letter in letters)


def _string(task: str, tokenizer: Any, ask: dict[str, int]) -> tuple[list[int], list[int], list[int]]:
    plan = plan_string(task, **ask)
    head, tail = _wrap(task, tokenizer, ngram=_apart(plan.ngram))
    tokens = {letter: encode(tokenizer, f" {letter}") for letter in LETTERS}
    planted = plan.ngram + plan.answer
    room = ask["context_length"] - len(head) - len(tail) - sum(len(tokens[letter]) for letter in planted)
    attempt = 0
    while True:
        rng = stream(task, f"filler{attempt}", **ask)
        filler = draw_letters(rng, room // min(map(len, tokens.values())))
        filler = _fill({letter: len(ids) for letter, ids in tokens.items()}, filler, room)
        at = round((plan.depth or 0.0) * len(filler))
        string = filler[:at] + planted + filler[at:]
        # The look-up has one answer: the n-gram is nowhere else.
        if not plan.ngram or string.find(plan.ngram) == string.rfind(plan.ngram) == at:
            return head, [token for letter in string for token in tokens[letter]], tail
        attempt += 1


def _fill(sizes: dict[str, int], filler: str, room: int) -> str:
    """The letters that fit. A letter of more tokens takes the place of a late one where that meets the length."""
    count = 0
    while count < len(filler) and sizes[filler[count]] <= room:
        room -= sizes[filler[count]]
        count += 1
    filler = filler[:count]
    for at in range(count - 1, max(-1, count - 9), -1):
        longer = [letter for letter in LETTERS if sizes[letter] == sizes[filler[at]] + room]
        if room and longer:
            return filler[:at] + longer[0] + filler[at + 1 :]
    return filler


def _phone_book(tokenizer: Any, ask: dict[str, int]) -> tuple[list[int], list[int], list[int]]:
    plan = plan_phone_book(**ask)
    rng = stream("phone_book", "filler", **ask)
    known = (plan.asked, *plan.examples)
    head, tail = _wrap_phone_book(tokenizer, plan.asked[0], plan.examples)
    asked, *examples = [encode(tokenizer, f"{entry(person)}\n") for person in known]
    room = ask["context_length"] - len(head) - len(tail) - sum(map(len, (asked, *examples)))
    taken = {name for name, _ in known}
    # No line is shorter than 8 tokens; some more to exchange the last lines for.
    names = rng.sample(range(COUNT), min(COUNT, ask["context_length"] // 8 + 3 * CHUNK))
    names = [name for name in names if name not in taken]
    lines: list[list[int]] = []
    for start in range(0, len(names), CHUNK):
        full = room < 0
        new = [f"{entry((name, draw_phone(rng)))}\n" for name in names[start : start + CHUNK]]
        lines += tokenizer(new, add_special_tokens=False)["input_ids"]
        room -= sum(map(len, lines[start:]))
        if full:  # one chunk more than fits, to choose from
            break
    if room >= 0:
        raise SuiteError(
            f"context_length={ask['context_length']} needs more than the {COUNT} names of recall/phone_book."
        )
    count = len(lines)
    while room < 0:
        count -= 1
        room += len(lines[count])
    lines = _end_exactly(lines[:count], lines[count:], room)
    for line in examples:
        lines.insert(rng.randrange(len(lines) + 1), line)
    lines.insert(round(plan.depth * len(lines)), asked)
    return head, [token for line in lines for token in line], tail


def _wrap_phone_book(
    tokenizer: Any, asked: int, examples: tuple[tuple[int, str], tuple[int, str]]
) -> tuple[list[int], list[int]]:
    return _wrap("phone_book", tokenizer, examples="\n".join(map(entry, examples)), name=full_name(asked))


def _end_exactly(lines: list[list[int]], spare: list[list[int]], room: int) -> list[list[int]]:
    """Meet the length: exchange some of the last lines for longer ones until no token is left, or no exchange helps."""
    lines, spare = list(lines), list(spare)
    while room > 0:
        gains = [
            (len(other) - len(lines[at]), at, number)
            for at in range(max(0, len(lines) - CHUNK), len(lines))
            for number, other in enumerate(spare[:CHUNK])
            if 0 < len(other) - len(lines[at]) <= room
        ]
        if not gains:
            break
        gain, at, number = max(gains)
        lines[at], spare[number] = spare[number], lines[at]
        room -= gain
    return lines


def _pairs(tokenizer: Any, ask: dict[str, int]) -> tuple[list[int], list[int], list[int]]:
    plan = plan_pairs(**ask)
    head, tail = _wrap("mqar", tokenizer, keys=", ".join(plan.pairs[query][0] for query in plan.queries))
    block = encode(tokenizer, "\n\n" + "".join(f"{key}: {value}\n" for key, value in plan.pairs) + "\n")
    room = ask["context_length"] - len(head) - len(tail) - len(block)
    prose = prose_ids(tokenizer)
    start = stream("mqar", "filler", **ask).randrange(len(prose))
    filler = prose[start : start + room]
    while len(filler) < room:  # the book begins again
        filler += prose[: room - len(filler)]
    at = room - round(plan.gap * room)
    return head, [*filler[:at], *block, *filler[at:]], tail


def least_length(task: str, tokenizer: Any) -> int:
    """A length from which on every sample fits: the longest facts, with nothing around them."""
    _check(task)
    widest = max(LETTERS, key=lambda letter: len(encode(tokenizer, f" {letter}")))
    per_letter = len(encode(tokenizer, f" {widest}"))
    if task == "phone_book":
        # Names differ by a few tokens; 200 of them, and four tokens more, stand for all.
        people = [(number * (COUNT // 200), "9876543210") for number in range(200)]
        longest = sorted(people, key=lambda person: len(encode(tokenizer, entry(person))))[-3:]
        head, tail = _wrap_phone_book(tokenizer, longest[0][0], (longest[1], longest[2]))
        return len(head) + len(tail) + sum(len(encode(tokenizer, f"{entry(person)}\n")) + 4 for person in longest) + 12
    if task == "mqar":
        head, tail = _wrap(task, tokenizer, keys=", ".join(["qzkx"] * QUERIES))
        per_pair = len(encode(tokenizer, "qzkx: 4821\n"))
        fixed = len(head) + len(tail) + 4 + QUERIES * 4
        needed = [fixed + count * per_pair for count in PAIRS]
        # More pairs come with length: each number has to fit where it first appears.
        late = [need for count, need in zip(PAIRS, needed, strict=True) if need > max(16 * count + 256, needed[0])]
        return max([needed[0], *late])
    ngram = 0 if task == "copy" else NGRAM
    head, tail = _wrap(task, tokenizer, ngram=_apart(widest * ngram))
    return len(head) + len(tail) + per_letter * (ngram + (FOLLOWING if ngram else COPIED) + 1)


def _check(task: str) -> None:
    if task not in TASKS:
        raise SuiteError(f'recall@1 has no task "{task}". It has: {", ".join(TASKS)}.')
