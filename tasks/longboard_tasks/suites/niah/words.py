"""RULER's aggregation tasks: `cwe` (ten common words of a list) and `fwe` (three frequent coded words).

Source: Hsieh et al. 2024 (RULER, arXiv:2404.06654); templates, knobs and counts after NVIDIA/RULER c3f5e3b, Apache-2.0: the
wording of the templates is RULER's. We differ: see docs/suites/niah.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.niah import pools
from longboard_tasks.suites.niah.layout import Around, encode_all, flatten, surround, unit_ids
from longboard_tasks.suites.niah.plan import FREQUENT, LISTED, draw, join, plan_list, plan_vocabulary

CWE_TOKENS, FWE_TOKENS = 120, 50
CWE_INSTRUCTION = (
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often.\n"
)
CWE_QUESTION = "\nQuestion: What are the 10 most common words in the above list?"
CWE_PREFIX = " Answer: The top 10 words that appear most often in the list are:"
FWE_INSTRUCTION = (
    "Read the following coded text and track the frequency of each coded word. "
    "Find the three most frequently appeared coded words."
)
FWE_QUESTION = (
    "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. "
    "What are the three most frequently appeared words in the above coded text?"
)
FWE_PREFIX = " Answer: According to the coded text above, the three most frequently appeared words are:"
ZETA = math.pi**2 / 6  # zeta(alpha) for alpha = 2
FEWEST = 53  # the least n from which ranks 2 to 5 always have different counts


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    make = _common_words if task == "cwe" else _frequent_words
    return make(context_length=context_length, seed=seed, index=index, tokenizer=tokenizer)


def _common_words(*, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """A solved example, then the longest list that fits: ten common words and one other at the least. Raises TooShort."""
    ask = {"context_length": context_length, "seed": seed, "index": index}
    plan, rng = plan_list(**ask), draw("cwe", **ask, part="list")
    example = _repeat(plan.example[:LISTED], plan.example[LISTED:], plan.example_repeats)
    rng.shuffle(example)
    solved = " ".join(f"{place}. {word}" for place, word in enumerate(plan.example[:LISTED], 1))
    listed = " ".join(f"{place}. {word}" for place, word in enumerate(example, 1))
    often, seldom = plan.repeats
    least = _list_tokens(tokenizer, plan.common * often + plan.others[:1] * seldom)
    around = surround(
        tokenizer,
        context_length,
        opening=f"{CWE_INSTRUCTION}{listed}{CWE_QUESTION}{CWE_PREFIX} {solved}\n{CWE_INSTRUCTION}",
        question=CWE_QUESTION,
        prefix=CWE_PREFIX,
        least=least,
    )
    others = _fill(tokenizer, around, plan.common * often, _endless(plan.others, plan.common), seldom)
    words = _repeat(plan.common, others, plan.repeats)
    rng.shuffle(words)
    body = flatten(_entries(tokenizer, words))
    return around.sample(body, task="cwe", index=index, target=join(plan.common), new_tokens=CWE_TOKENS)


def _frequent_words(*, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Rank k (1 is the noise) stands floor(n k^-2 / zeta(2)) times, n the largest that fits. Raises TooShort."""
    ask = {"context_length": context_length, "seed": seed, "index": index}
    vocabulary = plan_vocabulary(**ask)
    ids = list(encode_all(tokenizer, [f" {word}" for word in vocabulary]))
    sizes = [len(piece) for piece in ids]
    around = surround(
        tokenizer,
        context_length,
        opening=FWE_INSTRUCTION,
        question=FWE_QUESTION,
        prefix=FWE_PREFIX,
        least=_coded_tokens(FEWEST, sizes),
    )
    low, high = FEWEST, 2 * around.room  # n of `low` fits, of `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _coded_tokens(middle, sizes) <= around.room else (low, middle)
    order = [rank for rank, count in enumerate(count_words(low, len(vocabulary))) for _ in range(count)]
    draw("fwe", **ask, part="order").shuffle(order)
    body = flatten(ids[rank] for rank in order)
    return around.sample(
        body, task="fwe", index=index, target=join(vocabulary[1 : 1 + FREQUENT]), new_tokens=FWE_TOKENS
    )


def count_words(n: int, vocabulary: int) -> list[int]:
    """How often each rank stands in a text of nominally `n` words (the counts add up to a little less)."""
    return [int(n * rank**-2.0 / ZETA) for rank in range(1, vocabulary + 1)]


def _coded_tokens(n: int, sizes: Sequence[int]) -> int:
    return sum(count * size for count, size in zip(count_words(n, len(sizes)), sizes, strict=True))


def _repeat(common: Sequence[str], others: Sequence[str], repeats: tuple[int, int]) -> list[str]:
    often, seldom = repeats
    return [*common] * often + [*others] * seldom


def _endless(others: Sequence[str], common: Sequence[str]) -> Iterator[str]:
    """The pool's other words, then coined ones that hold no common word: the same coined ones in every sample."""
    yield from others
    yield from (word for word in pools.coin_words() if not any(part in word for part in common))


def _fill(tokenizer: Any, around: Around, common: Sequence[str], others: Iterator[str], seldom: int) -> list[str]:
    """As many other words as the room holds. The numbers' tokens depend on the list's length alone, not on its order."""
    chosen, place, room = list[str](), len(common), around.room - _list_tokens(tokenizer, common)
    while True:
        batch = [next(others) for _ in range(256)]
        numbers = _numbers(tokenizer, place, place + seldom * len(batch))
        first = place
        for word, ids in zip(batch, unit_ids(tokenizer, [f" {word}" for word in batch]), strict=True):
            need = seldom * len(ids) + sum(map(len, numbers[place - first : place - first + seldom]))
            if need > room:
                return chosen
            chosen.append(word)
            place, room = place + seldom, room - need


def _list_tokens(tokenizer: Any, words: Sequence[str]) -> int:
    return sum(map(len, _entries(tokenizer, words)))


def _entries(tokenizer: Any, words: Sequence[str]) -> Iterator[list[int]]:
    """ "1. word 2. word": number and word are segments, each with its blank before it."""
    for number, ids in zip(
        _numbers(tokenizer, 0, len(words)), unit_ids(tokenizer, [f" {w}" for w in words]), strict=True
    ):
        yield number
        yield ids


def _numbers(tokenizer: Any, done: int, upto: int) -> list[list[int]]:
    """Ids of the numbers done + 1 to upto."""
    return unit_ids(tokenizer, [f" {place}." if place > 1 else "1." for place in range(done + 1, upto + 1)])
