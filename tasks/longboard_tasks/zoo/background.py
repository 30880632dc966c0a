"""What facts are hidden in, and how a question is put: prose, noise, and their mixture with planted pieces."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from longboard_tasks.zoo.stretch import TARGET, Stretch
from longboard_tasks.zoo.words import Words

Encode = Callable[[str], list[int]]

NOISE = (
    "The {} is {}.",
    "A {} has a {}.",
    "Some {} and some {}.",
    "Here comes the {}.",
    "One {} more.",
    "{} again, then {}.",
)


class Background:
    """Prose and words for training. Same `rng`, same tokens."""

    def __init__(self, prose: np.ndarray, words: Words, encode: Encode, *, bos: int, eos: int) -> None:
        """prose [N] token ids, uint16."""
        self.prose, self.words, self.encode, self.bos, self.eos = prose, words, encode, bos, eos
        ends = np.isin(prose, [encode(mark)[-1] for mark in (".", ";", "?")])
        self.sentences = (np.flatnonzero(ends) + 1).tolist()  # where a sentence begins

    def ask(self, question: str, answer: str, end: str = "") -> Stretch:
        """Question, answer, full stop if any, end of text. Answers end so that greedy decoding does."""
        whole = Stretch().add(self.encode(question)).add(self.encode(f" {answer}{end}"), TARGET)
        return whole.add([self.eos], TARGET)

    def excerpt(self, rng: random.Random, size: int) -> list[int]:
        start = rng.randrange(len(self.prose) - size)
        return self.prose[start : start + size].tolist()

    def random_tokens(self, rng: random.Random, size: int) -> list[int]:
        return [int(self.prose[rng.randrange(len(self.prose))]) for _ in range(size)]

    def noise(self, rng: random.Random, size: int) -> list[int]:
        """A line of a few short sentences, over and over."""
        sentences = rng.sample(NOISE, rng.randint(2, 5))
        line = " ".join(text.format(self.words.word(rng), self.words.word(rng)) for text in sentences)
        ids = self.encode(line + rng.choice((" ", "\n", "\n")))
        return (ids * (size // len(ids) + 1))[:size]

    def spread(
        self, rng: random.Random, room: int, pieces: list[tuple[float, Stretch]], *, by_sentence: bool = False
    ) -> Stretch:
        """`room` tokens of background with the pieces in it, in the order of their places: below 0 before all of it, 0 to 1
        in it, above 1 after it. `by_sentence` moves a place in prose to the next beginning of a sentence."""
        if rng.random() < 0.15:
            around, borders = self.noise(rng, room), []
        else:
            start = rng.randrange(len(self.prose) - room)
            around = self.prose[start : start + room].tolist()
            borders = self.sentences if by_sentence else []
        whole, at = Stretch(), 0
        for place, piece in sorted(pieces, key=lambda entry: entry[0]):
            cut = round(min(max(place, 0.0), 1.0) * room)
            if borders and 0 < cut < room:
                after = bisect_left(borders, start + cut)
                cut = min(room, borders[after] - start) if after < len(borders) else room
            cut = max(cut, at)
            whole.add(around[at:cut]).join(piece)
            at = cut
        return whole.add(around[at:])
