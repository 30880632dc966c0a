"""The papers' own sequences as token ids, for small models trained and tested on them. Standard library only, plain lists.

Sources: Jelassi et al. 2024 (Repeat After Me, arXiv:2402.01032) for strings, Arora et al. 2023 (Zoology, arXiv:2312.04927) for
MQAR. `labels[i]` is what the model has to say when it has read `ids[: i + 1]`, so no shift is left to do; IGNORE elsewhere.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.recall.plan import SUITE_VERSION, slot_weights

IGNORE = -100
ALPHABET = 26
BEGIN, SEPARATOR, END, PAD = 26, 27, 28, 29  # "$", "|", ".", "*"
VOCABULARY = 30
STRING_KINDS = ("copy", "prefix_ngram", "suffix_ngram", "duplicate_ngram")
PACKED_LENGTH = 220
# (sequence length, pairs): the paper's figure, and the mixture that the authors' code trains and tests on later.
FIGURE = ((64, 4), (128, 8), (256, 16), (512, 64))
TRAIN_MIXTURE = (((64, 4), 100_000), ((128, 8), 20_000), ((256, 16), 20_000), ((256, 32), 20_000), ((256, 64), 20_000))
TEST_MIXTURE = tuple(
    (pair, 1_000) for pair in ((64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256))
)


@dataclass(frozen=True, slots=True)
class TokenExample:
    ids: list[int]
    labels: list[int]  # as long as ids


def string_example(
    kind: str,
    *,
    seed: int,
    index: int,
    least: int = 5,
    most: int = 20,
    ngram: int = 3,
    answer_length: int | None = None,
) -> TokenExample:
    """A string of `least` to `most` letters and what is asked of it.

        copy              $ s | s .
        prefix_ngram      $ g | s | a .
        suffix_ngram      $ s | g a .
        duplicate_ngram   copy of a string in which one n-gram stands twice (evaluation only)

    g is an n-gram of s, a what follows its first occurrence: the whole rest, or its first `answer_length` letters. Labelled is
    the answer with its full stop. Raises SuiteError for another kind, or strings too short for the n-gram.
    """
    rng = random.Random(f"recall/{kind}@{SUITE_VERSION}:{seed}:{index}:{least}:{most}:{ngram}:{answer_length}")
    if kind not in STRING_KINDS or not 0 < least <= most or (kind != "copy" and least < 2 * ngram):
        raise SuiteError(
            f"kind={kind!r}, strings of {least} to {most}, n-grams of {ngram}: expected a kind of {', '.join(STRING_KINDS)} "
            f"and strings of at least two n-grams."
        )
    string = rng.choices(range(ALPHABET), k=rng.randint(least, most))
    if kind == "duplicate_ngram":
        one = rng.randrange(len(string) - 2 * ngram + 1)
        two = rng.randrange(one + ngram, len(string) - ngram + 1)
        string[two : two + ngram] = string[one : one + ngram]
    if kind in ("copy", "duplicate_ngram"):
        return _labelled([BEGIN, *string, SEPARATOR], [*string, END])
    at = rng.randrange(len(string) - ngram)
    gram = string[at : at + ngram]
    first = next(start for start in range(at + 1) if string[start : start + ngram] == gram)
    rest = string[first + ngram :]
    answer = [*(rest if answer_length is None else rest[:answer_length]), END]
    if kind == "prefix_ngram":
        return _labelled([BEGIN, *gram, SEPARATOR, *string, SEPARATOR], answer)
    return _labelled([BEGIN, *string, SEPARATOR, *gram], answer)


def _labelled(prompt: list[int], answer: list[int]) -> TokenExample:
    ids = prompt + answer
    return TokenExample(ids, [IGNORE] * (len(prompt) - 1) + answer + [IGNORE])


def pack(examples: Iterable[TokenExample], length: int = PACKED_LENGTH) -> Iterator[TokenExample]:
    """Rows of `length` tokens, examples one after the other; the last one of a row is cut and not labelled, as upstream.

    Raises SuiteError for an example that no row can hold.
    """
    ids: list[int] = []
    labels: list[int] = []
    for example in examples:
        if len(example.ids) > length:
            raise SuiteError(f"An example of {len(example.ids)} tokens does not fit a row of {length}.")
        room = length - len(ids)
        if len(example.ids) <= room:
            ids, labels = ids + example.ids, labels + example.labels
        else:
            yield TokenExample(ids + example.ids[:room], labels + [IGNORE] * room)
            ids, labels = [], []
    if ids:
        room = length - len(ids)
        yield TokenExample(ids + [PAD] * room, labels + [IGNORE] * room)


def string_accuracy(predicted: list[int], labels: list[int]) -> tuple[float, float]:
    """(string accuracy, character accuracy) of one example: all labelled positions right, and the share of them."""
    right = [one == two for one, two in zip(predicted, labels, strict=True) if two != IGNORE]
    return float(all(right)), sum(right) / len(right)


def mqar_example(
    *,
    length: int,
    pairs: int,
    seed: int,
    index: int,
    vocabulary: int = 8_192,
    alpha: float = 0.01,
    random_non_queries: bool = False,
) -> TokenExample:
    """Multi-query associative recall: key value key value ..., then each key once more, where its value is the label.

    Keys are distinct ids below vocabulary / 2 (0 is the filler), values distinct ids from there on. Of the even offsets after
    the pairs, `pairs` slots are drawn one by one without replacement with weight alpha * j^(alpha - 1), j = 1 ...: the k-th
    drawn is the k-th key's. `random_non_queries` puts random ids for the fillers, from this example's own seed (the authors'
    code takes them from a generator that the seed does not reach). Raises SuiteError for settings outside the paper's.
    """
    if length % 2 or 4 * pairs > length or vocabulary <= length or pairs < 1:
        raise SuiteError(
            f"length={length}, pairs={pairs}, vocabulary={vocabulary}: expected an even length, at least 4 positions a pair, "
            "and a vocabulary larger than the length."
        )
    rng = random.Random(
        f"recall/mqar_tokens@{SUITE_VERSION}:{length}:{pairs}:{vocabulary}:{alpha}:{random_non_queries}:{seed}:{index}"
    )
    half = vocabulary // 2
    keys, values = rng.sample(range(1, half), pairs), rng.sample(range(half, vocabulary), pairs)
    ids = [token for pair in zip(keys, values, strict=True) for token in pair] + [0] * (length - 2 * pairs)
    labels = [IGNORE] * length
    for key, value, slot in zip(keys, values, draw_slots(rng, (length - 2 * pairs) // 2, pairs, alpha), strict=True):
        at = 2 * pairs + 2 * slot
        ids[at], labels[at] = key, value
    if random_non_queries:
        ids[2 * pairs :] = [token or rng.randrange(vocabulary) for token in ids[2 * pairs :]]
    return TokenExample(ids, labels)


def draw_slots(rng: random.Random, slots: int, count: int, alpha: float) -> list[int]:
    """`count` of the slots 0 to `slots` - 1 in the order drawn, without replacement, with the paper's weights.

    Exponential clocks: the order in which clocks with rates w ring is the order of successive draws with weights w.
    """
    rings = [-math.log(1 - rng.random()) / weight for weight in slot_weights(slots, alpha)]
    return sorted(range(slots), key=rings.__getitem__)[:count]


def mqar_accuracy(predicted: list[int], labels: list[int]) -> float:
    """Share of right values among an example's queries."""
    return string_accuracy(predicted, labels)[1]
