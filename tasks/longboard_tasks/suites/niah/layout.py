"""From texts to a prompt: token ids of haystack units, each tokenised once a tokenizer, and the frame around them.

A prompt is defined on segments (a line, a sentence, a word, a document): a segment is tokenised by itself, so no border moves
when its neighbours change, and a growing text is never tokenised again.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.prose import load_prose
from longboard_tasks.suites.segments import frame

_BATCH = 2_048  # texts tokenised in one call: enough to keep a fast tokenizer busy, few enough for its memory
# A sentence ends at . ! ? with closing quotes, before a blank; not after the titles that the prose is full of.
_SENTENCE = re.compile(r"\S.*?(?:(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?]+[\"”’')\]]*(?=\s)|$)")
_ANCHOR = "\n"  # a text that ends a token everywhere
_anchors: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_units: WeakKeyDictionary[Any, dict[str, list[int]]] = WeakKeyDictionary()
_prose: WeakKeyDictionary[Any, Prose] = WeakKeyDictionary()


class TooShort(SuiteError):
    """The context cannot hold the task's smallest prompt; `needed`: tokens of that."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"The smallest prompt of this sample takes {needed} tokens.")
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Around:
    """Everything but the haystack: its tokens, and how many are left for the haystack."""

    opening: list[int]  # template, examples, instruction
    closing: list[int]  # question, template, start of the answer
    room: int

    def sample(self, body: Sequence[int], **facts: Any) -> Sample:
        """The finished prompt; `context` ends before the question."""
        ids = (*self.opening, *body, *self.closing)
        return Sample(ids=ids, context=len(self.opening) + len(body), **facts)


def surround(
    tokenizer: Any, context_length: int, *, opening: str, question: str, prefix: str, least: int | None
) -> Around:
    """Tokenise what stands around the haystack. Raises TooShort when fewer than `least` tokens are left for it (None: any).

        before template | opening | (haystack) | question | after template | prefix

    With a chat template `prefix` starts the assistant's turn; without one it follows the question, as upstream.
    """
    template = frame(tokenizer)
    before = [*template.before, *encode(tokenizer, opening)]
    after = [*encode(tokenizer, question), *template.after, *encode(tokenizer, prefix)]
    room = context_length - len(before) - len(after)
    if least is not None and room < least:
        raise TooShort(len(before) + len(after) + least)
    return Around(before, after, room)


def encode(tokenizer: Any, text: str) -> list[int]:
    """Ids of one segment, as it stands inside a text; without special tokens."""
    return next(encode_all(tokenizer, [text]))


def encode_all(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    """Ids of each segment, in batches.

    SentencePiece's tokenizers put a blank before every text that they are given, which would double the blank of each
    segment: they get the segment behind a newline, whose tokens are dropped.
    """
    skip = _count_anchor(tokenizer)
    for first in range(0, len(texts), _BATCH):
        batch = [_ANCHOR + text if skip else text for text in texts[first : first + _BATCH]]
        made = tokenizer(batch, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False)
        for ids in made["input_ids"]:
            yield ids[skip:]


def _count_anchor(tokenizer: Any) -> int:
    """Tokens of the anchor; 0 where segments need none."""
    if tokenizer not in _anchors:
        word, next_word, both = tokenizer(["a", " a", "a a"], add_special_tokens=False)["input_ids"]
        needs = [*word, *next_word] != both
        _anchors[tokenizer] = len(tokenizer(_ANCHOR, add_special_tokens=False)["input_ids"]) if needs else 0
    return _anchors[tokenizer]


def unit_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of units that come back in other samples (words, numbers, documents): kept for the tokenizer's life."""
    known = _units.setdefault(tokenizer, {})
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    for text, ids in zip(missing, encode_all(tokenizer, missing), strict=True):
        known[text] = ids
    return [known[text] for text in texts]


def flatten(pieces: Iterable[Sequence[int]]) -> list[int]:
    return [token for piece in pieces for token in piece]


@dataclass(frozen=True, slots=True)
class Prose:
    """The haystack text: blanks collapsed, each sentence a segment with one blank before it, repeated without end."""

    ids: list[int]
    starts: list[int]  # where a sentence begins

    def take(self, room: int) -> list[int]:
        """The first `room` tokens; the last sentence may be cut, as upstream cuts at a word."""
        passes = -(-room // len(self.ids))
        return self.ids[:room] if passes == 1 else (self.ids * passes)[:room]

    def count_sentences(self, room: int) -> int:
        """Sentences in the first `room` tokens, the cut one included."""
        passes, rest = divmod(room, len(self.ids))
        return passes * len(self.starts) + bisect_left(self.starts, rest)

    def start(self, sentence: int, room: int) -> int:
        """Where sentence number `sentence` begins; `room` for the one after the last."""
        passes, rest = divmod(sentence, len(self.starts))
        return min(room, passes * len(self.ids) + self.starts[rest])

    def start_before(self, place: int) -> int:
        """The last beginning of a sentence at or before `place`."""
        passes, rest = divmod(place, len(self.ids))
        return passes * len(self.ids) + self.starts[bisect_right(self.starts, rest) - 1]


def prose(tokenizer: Any) -> Prose:
    """Moby-Dick by sentences, tokenised once a tokenizer (one to two seconds)."""
    if tokenizer not in _prose:
        text = " ".join(load_prose().text.split())
        sentences = [f" {match.group()}" for match in _SENTENCE.finditer(text)]
        ids, starts = list[int](), list[int]()
        for piece in encode_all(tokenizer, sentences):
            starts.append(len(ids))
            ids.extend(piece)
        _prose[tokenizer] = Prose(ids, starts)
    return _prose[tokenizer]


def insert(haystack: Sequence[int], pieces: Iterable[tuple[int, Sequence[int]]]) -> list[int]:
    """`haystack` with each (place, ids) put in before its token `place`; places rise."""
    made, done = list[int](), 0
    for place, ids in pieces:
        made.extend(haystack[done:place])
        made.extend(ids)
        done = place
    made.extend(haystack[done:])
    return made
