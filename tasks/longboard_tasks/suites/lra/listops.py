"""ListOps: the value of a nested prefix expression over digits. Standard library only.

Source: Nangia & Bowman 2018 (arXiv:1804.06028) for the task, Tay et al. 2021 (Long Range Arena, arXiv:2011.04006) for the long
version; grammar, odds and length limits as in its released generator. We differ: an expression is a pure function of (split,
seed, index), and the vocabulary has one fixed order. docs/lra.md.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CLASSES = 10
CHANCE = 0.175  # share of the most frequent answer, 0: the targets are not uniform
MAX_DEPTH = 10  # of the tree, leaves included: operators nest 9 deep
MAX_ARGUMENTS = 10
SHORTEST, LONGEST = 501, 1999  # tokens, both allowed: the released limits, 500 and 2000, are exclusive
P_OPERATOR = 0.25
OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
CLOSE = "]"
ROUND = ("(", ")")
DIGITS = "0123456789"
VOCABULARY = ("<pad>", *OPERATORS, CLOSE, *DIGITS)
IDS = {token: number for number, token in enumerate(VOCABULARY)}
SPLITS = {"train": 96_000, "validation": 2_000, "test": 2_000}  # sizes of the released files
_TOKEN = re.compile(r"\[[A-Za-z]*|[\]()]|[^\s\[\]()]+")


class ListOpsError(ValueError):
    """An expression that has no value. Says what was met, at which token, and what belongs there."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Tokens without brackets around pairs, and the value, 0 to 9."""

    tokens: tuple[str, ...]
    value: int


def evaluate(expression: str) -> int:
    """The value of an expression, 0 to 9.

    Takes the token form, `[MAX 2 9 [MIN 4 7 ] 0 ]`, with X for the closing bracket too, and the released files' form with round
    brackets around every pair, `( ( ( [MAX 2 ) 9 ) ] )`; any nesting depth, blanks optional around brackets.
    MED is the median rounded down, the two middle values averaged for an even count; SM the sum modulo 10.
    Raises ListOpsError for anything else.
    """
    open_pairs = 0
    waiting: list[tuple[str, list[int]]] = []  # operators not closed yet, with the values that they have so far
    result: int | None = None
    for place, word in enumerate(_TOKEN.findall(expression), start=1):
        if word in ROUND:
            open_pairs += 1 if word == "(" else -1
            if open_pairs < 0:
                raise ListOpsError(f'Token {place} is ")" with no "(" before it.')
            continue
        if result is not None:
            raise ListOpsError(f'Token {place}, "{word}", comes after the end of the expression.')
        if word in OPERATORS:
            waiting.append((word, []))
            continue
        if word in (CLOSE, "X"):
            if not waiting:
                raise ListOpsError(f'Token {place} closes an operator, but none is open: "{word}".')
            operator, values = waiting.pop()
            if not values:
                raise ListOpsError(f"Token {place} closes {operator} that has no argument: give it at least one.")
            value = apply(operator, values)
        elif len(word) == 1 and word in DIGITS:
            value = int(word)
        else:
            raise ListOpsError(f'Token {place} is "{word}". Expected a digit, ], or one of {" ".join(OPERATORS)}.')
        if waiting:
            waiting[-1][1].append(value)
        else:
            result = value
    if waiting:
        raise ListOpsError(f"The expression ends with {len(waiting)} operators open, the last {waiting[-1][0]}.")
    if open_pairs:
        raise ListOpsError(f"The expression ends with {open_pairs} round brackets open.")
    if result is None:
        raise ListOpsError("The expression is empty.")
    return result


def apply(operator: str, values: Sequence[int]) -> int:
    """One operator over its values, at least one. Raises KeyError for an operator that does not exist."""
    return _APPLY[operator](values)


def _median(values: Sequence[int]) -> int:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) // 2


_APPLY: dict[str, Callable[[Sequence[int]], int]] = {
    "[MIN": min,
    "[MAX": max,
    "[MED": _median,
    "[SM": lambda values: sum(values) % 10,
}


def make_expression(*, split: str, seed: int, index: int) -> Expression:
    """Expression `index` of a split: the same tokens for the same arguments, on every machine.

    Trees are drawn until one has SHORTEST to LONGEST tokens, about 12 times. Raises KeyError for an unknown split.
    """
    if split not in SPLITS:
        raise KeyError(f'ListOps has no split "{split}". It has: {", ".join(SPLITS)}.')
    draw = random.Random(f"lra/listops@1:{split}:{seed}:{index}").random
    while True:
        tokens: list[str] = []
        value = _grow(draw, 1, tokens)
        if SHORTEST <= len(tokens) <= LONGEST:
            return Expression(tuple(tokens), value)


def _grow(draw: Callable[[], float], depth: int, tokens: list[str]) -> int:
    """Append a tree to `tokens` and return its value. A tree past LONGEST stops early: it is not kept anyway."""
    if depth == MAX_DEPTH or draw() > P_OPERATOR or len(tokens) > LONGEST:
        digit = int(draw() * 10)
        tokens.append(str(digit))
        return digit
    count = 2 + int(draw() * (MAX_ARGUMENTS - 1))
    start = len(tokens)
    tokens.append("")
    values = [_grow(draw, depth + 1, tokens) for _ in range(count)]
    tokens[start] = OPERATORS[int(draw() * len(OPERATORS))]
    tokens.append(CLOSE)
    return apply(tokens[start], values)


def encode(tokens: Sequence[str]) -> list[int]:
    """Token ids, 1 to 15; 0 is left for padding. Raises KeyError for a token that is not in VOCABULARY."""
    return [IDS[token] for token in tokens]


def to_source(tokens: Sequence[str]) -> str:
    """The released files' form: round brackets around every pair, an operator taking its arguments one at a time."""
    whole: list[str] = []  # finished parts, the innermost last
    for token in tokens:
        if token in OPERATORS:
            whole.append(token)
            continue
        part = token
        if token == CLOSE:
            part = f"( {whole.pop()} {CLOSE} )"
        if whole:
            whole[-1] = f"( {whole[-1]} {part} )"
        else:
            whole.append(part)
    return whole[0]


def read_source(source: str) -> tuple[str, ...]:
    """Tokens of either form, round brackets left out. Raises ListOpsError for tokens that do not exist."""
    tokens = tuple(CLOSE if word == "X" else word for word in _TOKEN.findall(source) if word not in ROUND)
    for place, token in enumerate(tokens, start=1):
        if token not in IDS or token == VOCABULARY[0]:
            raise ListOpsError(f'Token {place} is "{token}". Expected a digit, ], or one of {" ".join(OPERATORS)}.')
    return tokens
