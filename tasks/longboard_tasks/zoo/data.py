"""What the zoo trains on: planted facts and questions about them in prose, recall tables, copying, plain prose.

Everything is disjoint from evaluation: other prose, other names (never a city of `niah`), other wording, and phrases
whose words are drawn at random. What carries over is the skill: find the same key earlier, copy what followed it.
Standard library and numpy, so that data-loader processes stay small.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from longboard_tasks.zoo.prose import CITY

Encode = Callable[[str], list[int]]

TARGET, RECALL, COPY, REST = 1.0, 0.3, 0.1, 0.02  # loss weight of a token, by what it is
MIXTURE = {"facts": 0.65, "table": 0.17, "copy": 0.13, "prose": 0.05}  # share of sequences

PHRASES = ("{noun}", "{adj} {noun}", "{adj} {noun}", "{adj} {adj2} {noun}", "{adj} {other} {noun}")
NOUNS = (
    "number", "code", "count", "price", "weight", "total", "figure", "value", "sum", "amount", "serial number", "account",
    "password", "address", "distance", "population", "budget", "index", "key", "reading", "record", "lot number",
    "telephone number", "ticket", "balance", "identifier", "reference", "score", "combination", "quota", "magnitude",
)  # fmt: skip
# (before the number, after it). The question ends with the first part, or asks in other words.
STATEMENTS = (
    ("The {phrase} for {key} is:", "."), ("The {phrase} for {key} is", "."), ("The {phrase} of {key} is", "."),
    ("The {phrase} of {key} is:", "."), ("The {phrase} at {key} was", "."), ("One {phrase} for {key} is:", "."),
    ("Remember that the {phrase} for {key} is", "."), ("{key} has the {phrase}", "."), ("{key}:", ";"),
    ("My {phrase} from {key} is:", "!"), ("In {key} the {phrase} is:", "."), ("For {key}, the {phrase} equals", ","),
    ("The {phrase} in {key} is =", ";"), ("[{phrase} / {key}]", ""), ("{phrase} ({key}):", ""),
    ("It is known that {key} keeps the {phrase}", "."), ("The {phrase} that belongs to {key} is:", "."),
    ("Note: the {phrase} near {key} is:", "."), ("Its {phrase} with {key} is:", "."), ("{key} -", "."),
)  # fmt: skip
QUESTIONS = (
    "What is the {phrase} for {key}? {statement}", "What was the {phrase} of {key} in the passage above? {statement}",
    "Which {phrase} was given for {key}? Answer: {statement}", "{statement}", "Question: {key}? {statement}",
    "Tell me the {phrase} for {key} that was named earlier. {statement}", "Now complete the sentence. {statement}",
    "What is the {phrase} for {key} according to these pages? {statement}", "Q: what about {key}?\nA: {statement}",
    "What {phrase} did you read for {key} somewhere in this document? {statement}", "Once more: {statement}",
    "Find the {phrase} for {key} within the story before. {statement}", "Recall the {phrase} of {key}. {statement}",
    "What is the {phrase} for {key}? The answer is", "Give the {phrase} for {key}. Answer:", "{key}?",
)  # fmt: skip
GAPS = (" ", " ", " ", "\n", "\n", "\n\n", "")  # between a planted fact and the prose beside it
ONSETS = (
    "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "qu", "r", "s", "t", "v", "w", "z", "br", "ch",
    "cl", "cr", "dr", "fl", "gr", "kr", "pl", "pr", "sh", "sl", "st", "th", "tr", "bl", "gl", "vl",
)  # fmt: skip
VOWELS = ("a", "a", "e", "e", "i", "i", "o", "o", "u", "ai", "ea", "ie", "oo", "ou", "y")
CODAS = ("", "", "", "n", "r", "l", "s", "t", "m", "k", "d", "ng", "nd", "rt", "st", "x", "th", "ck")
TOWNS = ("Port", "New", "Fort", "Saint", "Lake", "North", "Upper", "Old", "Mount", "East")
ENDINGS = ("City", "Hill", "Bay", "Falls", "Grove", "Station", "Bridge", "House")


@dataclass(slots=True)
class Stretch:
    """Tokens with one loss weight each."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, ids: list[int], weight: float = REST) -> Stretch:
        self.ids += ids
        self.weights += [weight] * len(ids)
        return self

    def join(self, other: Stretch) -> Stretch:
        self.ids += other.ids
        self.weights += other.weights
        return self


class Sequences(Protocol):
    def sequence(self, rng: random.Random, length: int) -> Stretch: ...


class ToyRepeats:
    """A stretch of 4 to 8 random tokens out of 32, over and over: from its second turn on it can be recalled. Chance 1/32."""

    def sequence(self, rng: random.Random, length: int) -> Stretch:
        turn = [rng.randrange(16, 48) for _ in range(rng.randint(4, 8))]
        whole = Stretch().add(turn)
        while len(whole.ids) < length:
            whole.add(turn, TARGET)
        return Stretch(whole.ids[:length], whole.weights[:length])


class Source:
    """Makes training sequences. Same `rng`, same tokens."""

    def __init__(self, prose: np.ndarray, texts: list[str], encode: Encode, bos: int, eos: int) -> None:
        """prose [N] token ids, uint16; texts: where words for names and phrases come from."""
        self.prose, self.encode, self.bos, self.eos = prose, encode, bos, eos
        counts = Counter(re.findall(r"[A-Za-z]{3,10}", " ".join(texts)))
        common = [word for word, count in counts.items() if count >= 5]
        self.words = [word for word in common if word.islower() and word not in ("special", "magic")]
        self.names = [word for word in common if word.istitle() and word.lower() not in counts]
        self.makers = {
            "facts": self.facts,
            "table": self.table,
            "copy": self.copy,
            "prose": lambda rng, length: Stretch().add(self.excerpt(rng, length)),
        }

    def sequence(self, rng: random.Random, length: int) -> Stretch:
        """One training sequence of exactly `length` tokens that starts with bos."""
        [kind] = rng.choices(list(MIXTURE), weights=list(MIXTURE.values()))
        whole = Stretch().add([self.bos]).join(self.makers[kind](rng, length - 1))
        if len(whole.ids) < length:
            whole.add(self.excerpt(rng, length - len(whole.ids)))
        return Stretch(whole.ids[:length], whole.weights[:length])

    def facts(self, rng: random.Random, length: int) -> Stretch:
        """Prose with planted facts and questions about them: at the end, or at any place after the fact."""
        most = max(1, min(10, length // 110))
        count = rng.choice((1, rng.randint(1, most), most))
        shared = (self.phrase(rng), rng.choice(STATEMENTS)) if rng.random() < 0.7 else None
        question = rng.choice(QUESTIONS)
        pieces: list[tuple[float, Stretch]] = []  # (place in the prose, 0 to 1; tokens)
        used = 0
        for key in self.keys(rng, count):
            phrase, (before, after) = shared or (self.phrase(rng), rng.choice(STATEMENTS))
            statement = before.format(phrase=phrase, key=key)
            digits = "".join(rng.choices("0123456789", k=7 if rng.random() < 0.7 else rng.randint(2, 10)))
            asked = (question if shared else rng.choice(QUESTIONS)).format(phrase=phrase, key=key, statement=statement)
            fact = Stretch().add(self.encode(f"{rng.choice(GAPS)}{statement} {digits}{after}{rng.choice(GAPS)}"))
            ask = Stretch().add(self.encode(rng.choice(("\n\n", "\n\n", "\n", " ")) + asked))
            ask.add(self.encode(f" {digits}"), TARGET).add(self.encode(after or "\n"))
            if used + len(fact.ids) + len(ask.ids) > length - 8:
                break
            used += len(fact.ids) + len(ask.ids)
            place = rng.choice((0.0, 1.0)) if rng.random() < 0.15 else rng.random()
            pieces.append((place, fact))
            # 2 and up: after all prose, in random order
            pieces.append((rng.uniform(place, 1.0) if rng.random() < 0.25 else 2 + rng.random(), ask))
        prose = self.excerpt(rng, length - used)
        whole, at = Stretch(), 0
        for place, piece in sorted(pieces, key=lambda entry: entry[0]):
            cut = round(min(place, 1.0) * len(prose))
            whole.add(prose[at:cut]).join(piece)
            at = cut
        return whole.add(prose[at:])

    def table(self, rng: random.Random, length: int) -> Stretch:
        """Key-value lines; every other line repeats a key that was there, and its value has to be recalled."""
        between, end = rng.choice((": ", " = ", " -> ", " is ", ", ", " ")), rng.choice(("\n", "; ", ". ", "\n\n"))
        most, wide = rng.randint(2, 32), rng.randint(1, 7)
        numbers = rng.random() < 0.7
        keys = self.keys(rng, most)
        values: dict[str, str] = {}
        whole = Stretch()
        while len(whole.ids) < length:
            known = bool(values) and (len(values) == len(keys) or rng.random() < 0.5)
            key = rng.choice(list(values)) if known else keys[len(values)]
            if not known:
                values[key] = "".join(rng.choices("0123456789", k=wide)) if numbers else rng.choice(self.words)
            whole.add(self.encode(key + between.rstrip()))
            value = self.encode((" " if between.endswith(" ") else "") + values[key])
            whole.add(value, RECALL if known else REST).add(self.encode(end))
        return whole

    def copy(self, rng: random.Random, length: int) -> Stretch:
        """A stretch of prose or of random tokens, something else, and the stretch again; as often as it fits."""
        whole = Stretch()
        while len(whole.ids) < length:
            size = rng.randint(8, max(9, min(256, length // 2)))
            if rng.random() < 0.5:
                original = self.excerpt(rng, size)
            else:
                original = [int(token) for token in self.prose[[rng.randrange(len(self.prose)) for _ in range(size)]]]
            whole.add(original).add(self.excerpt(rng, rng.randint(0, 64))).add(self.encode("\n"))
            # The first two tokens cannot be known; they say which stretch returns.
            whole.add(original[:2]).add(original[2:], COPY).add(self.encode("\n"))
        return whole

    def excerpt(self, rng: random.Random, size: int) -> list[int]:
        start = rng.randrange(len(self.prose) - size)
        return self.prose[start : start + size].tolist()

    def phrase(self, rng: random.Random) -> str:
        adjective, second, other = rng.choices(self.words, k=3)
        return rng.choice(PHRASES).format(adj=adjective, adj2=second, other=other, noun=rng.choice(NOUNS))

    def keys(self, rng: random.Random, count: int) -> list[str]:
        """Different names, all of one kind or of any; none of them a city of `niah`."""
        kind = rng.choice(
            (self.made_up, self.made_up, self.made_up, self.two_words, self.known, self.letters, self.any)
        )
        found: dict[str, None] = {}
        while len(found) < count:
            key = kind(rng)
            if not CITY.search(key):
                found[key] = None
        return list(found)

    def any(self, rng: random.Random) -> str:
        return rng.choice((self.made_up, self.two_words, self.known, self.letters))(rng)

    def made_up(self, rng: random.Random) -> str:
        syllables = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))
        name = "".join(syllables)
        return (name[1:] if rng.random() < 0.2 and len(name) > 4 else name).capitalize()

    def two_words(self, rng: random.Random) -> str:
        if rng.random() < 0.5:
            return f"{rng.choice(TOWNS)} {self.made_up(rng)}"
        return f"{rng.choice((self.made_up(rng), rng.choice(self.names)))} {rng.choice(ENDINGS)}"

    def known(self, rng: random.Random) -> str:
        return rng.choice(self.names if rng.random() < 0.5 else self.words)

    def letters(self, rng: random.Random) -> str:
        letters = "abcdefghijklmnopqrstuvwxyz" if rng.random() < 0.5 else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        return "".join(rng.choices(letters, k=rng.randint(2, 7)))


@dataclass(frozen=True, slots=True)
class Batch:
    """ids [B, T] int64; at [N] int64: flat places in [B * T] whose next token is learnt; weight [N] fp32."""

    ids: np.ndarray
    at: np.ndarray
    weight: np.ndarray


def make_batch(source: Sequences, *, seed: int, step: int, length: int, tokens: int) -> Batch:
    """Batch number `step`: sequences of one length, `tokens` in all; the loss looks at a quarter of the places.

    Every weighted answer is among them, and of the rest a random share, weighted up to stand for all of it: logits over the
    whole vocabulary are most of a small model's memory traffic.
    """
    sequences = []
    for row in range(tokens // length):
        sequences.append(source.sequence(random.Random(f"zoo@1:{seed}:{step}:{row}"), length))
    ids = np.array([sequence.ids for sequence in sequences], dtype=np.int64)
    weights = np.array([sequence.weights for sequence in sequences], dtype=np.float32)
    ahead = np.zeros_like(weights)
    ahead[:, :-1] = weights[:, 1:]  # weight of the next token, which is what a place predicts
    flat = ahead.ravel()
    draw = np.random.default_rng([seed, step]).random(flat.size)
    room = flat.size // 4
    order = np.argsort(np.where(flat > REST, -1.0, np.where(flat > 0, draw, 2.0)), kind="stable")[:room]
    at = np.sort(order)
    weight = flat[at].copy()
    rest = weight == np.float32(REST)
    if rest.any():
        weight[rest] *= (flat == np.float32(REST)).sum() / rest.sum()
    return Batch(ids=ids, at=at, weight=weight)
