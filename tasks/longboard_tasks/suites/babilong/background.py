"""The prose that a story is hidden in: sentences of public-domain books, tokenised once a process and tokenizer.

Source of the rule: Kuratov et al. 2024 (BABILong, arXiv:2406.10149): sentences of 10 tokens and more, in natural order from a
random place of a random book; when the book ends, another random place; the last sentence is cut to the budget. We differ: the
books are Moby Dick (and, beyond 131072 tokens, two centuries of State of the Union addresses) instead of PG-19's test books;
tokens are the evaluated model's, not GPT-2's; sentences are split by a pattern instead of an untrained Punkt model.
"""

from __future__ import annotations

import random
import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

from longboard_tasks.prose import load_prose

LEAST_TOKENS = 10  # shorter sentences are dropped
ONE_BOOK = 131_072  # up to this length the first book is enough
BOOKS = ("moby-dick", "sotu")
# A full stop, question or exclamation mark, closing quotes, then white space before a capital, digit or opening quote.
_BORDER = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[A-Z0-9\"'“‘(])")


@dataclass(frozen=True, slots=True)
class Book:
    """Sentences that are long enough, each tokenised with a leading blank, one after the other.

    ids         all tokens in a row
    starts      where in `ids` each sentence begins; one entry more than sentences, the last is the end
    offsets     where in the text each sentence begins, in characters
    characters  of the whole text
    """

    ids: array[int]
    starts: array[int]
    offsets: array[int]
    characters: int


_books: WeakKeyDictionary[Any, dict[str, Book]] = WeakKeyDictionary()


def open_book(tokenizer: Any, name: str) -> Book:
    """The book in the tokens of `tokenizer`: 1 to 5 s the first time, then at once."""
    known = _books.setdefault(tokenizer, {})
    if name not in known:
        known[name] = _tokenise(tokenizer, load_prose(name).text)
    return known[name]


def split_sentences(text: str) -> list[tuple[int, str]]:
    """(offset in characters, sentence) in order."""
    borders = [0, *(found.end() for found in _BORDER.finditer(text)), len(text)]
    pieces = [(start, text[start:end].strip()) for start, end in pairwise(borders)]
    return [(start, piece) for start, piece in pieces if piece]


def _tokenise(tokenizer: Any, text: str) -> Book:
    sentences = split_sentences(text)
    # One call: the tokenizers behind it work in parallel.
    encoded = tokenizer([f" {sentence}" for _, sentence in sentences], add_special_tokens=False)["input_ids"]
    ids, starts, offsets = array("I"), array("I", [0]), array("I")
    for (offset, _), tokens in zip(sentences, encoded, strict=True):
        if len(tokens) >= LEAST_TOKENS:
            ids.extend(tokens)
            starts.append(len(ids))
            offsets.append(offset)
    return Book(ids=ids, starts=starts, offsets=offsets, characters=len(text))


def choose_sentences(rng: random.Random, tokenizer: Any, budget: int, *, context_length: int) -> list[memoryview]:
    """Sentences as views into their books, `budget` tokens in all; the last one is cut. None for no budget."""
    names = BOOKS[:1] if context_length <= ONE_BOOK else BOOKS
    sentences: list[memoryview] = []
    while budget > 0:
        book = open_book(tokenizer, rng.choice(names))
        ids = memoryview(book.ids)
        # The offset falls inside a sentence; that one is partial, so the next one is the first.
        for number in range(bisect_right(book.offsets, rng.randrange(book.characters)), len(book.offsets)):
            start = book.starts[number]
            sentences.append(ids[start : min(book.starts[number + 1], start + budget)])
            budget -= len(sentences[-1])
            if not budget:
                break
    return sentences
