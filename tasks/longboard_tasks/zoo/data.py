"""What the zoo trains on: a mixture of planted facts, recall, copying, stories and plain prose, made as it is needed.

Everything is disjoint from evaluation: other prose, other seeds, other names and other wording (tests/zoo/test_data.py).
What carries over is the skill. numpy and the standard library, so that data-loader processes stay small.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from longboard_tasks.zoo.background import Background
from longboard_tasks.zoo.needles import needle_lists, planted_facts, variable_chains
from longboard_tasks.zoo.recalling import copies, key_values, phone_books, strings, tables
from longboard_tasks.zoo.stories import hidden_stories
from longboard_tasks.zoo.stretch import REST, TARGET, Stretch

Maker = Callable[[Background, random.Random, int], Stretch]


def plain_prose(background: Background, rng: random.Random, length: int) -> Stretch:
    return Stretch().add(background.excerpt(rng, length))


MAKERS: dict[str, Maker] = {
    "facts": planted_facts,
    "needle_lists": needle_lists,
    "chains": variable_chains,
    "tables": tables,
    "phone_books": phone_books,
    "key_values": key_values,
    "strings": strings,
    "copies": copies,
    "stories": hidden_stories,
    "prose": plain_prose,
}
# Shares of the sequences. Looking back is learnt from what repeats densely; what builds on it comes after.
MIXTURES: dict[str, dict[str, float]] = {
    "first": {"facts": 0.35, "tables": 0.35, "copies": 0.25, "prose": 0.05},
    "whole": {
        "facts": 0.28,
        "needle_lists": 0.10,
        "chains": 0.08,
        "tables": 0.10,
        "phone_books": 0.07,
        "key_values": 0.07,
        "strings": 0.10,
        "copies": 0.05,
        "stories": 0.12,
        "prose": 0.03,
    },
}


class Sequences(Protocol):
    def sequence(self, rng: random.Random, length: int, mixture: str) -> Stretch: ...


class Source:
    """Makes training sequences. Same `rng`, same tokens."""

    def __init__(self, background: Background) -> None:
        self.background = background

    def sequence(self, rng: random.Random, length: int, mixture: str) -> Stretch:
        """One training sequence of exactly `length` tokens that starts with bos."""
        shares = MIXTURES[mixture]
        [kind] = rng.choices(list(shares), weights=list(shares.values()))
        whole = Stretch().add([self.background.bos]).join(MAKERS[kind](self.background, rng, length - 1))
        if len(whole) < length:  # short pieces get company
            more = self.sequence(rng, length - len(whole), mixture) if length - len(whole) > 100 else Stretch()
            whole.join(more).add(self.background.excerpt(rng, max(0, length - len(whole))))
        return whole.cut(length)


class ToyRepeats:
    """A stretch of 4 to 8 random tokens out of 32, over and over: from its second turn on it can be recalled. Chance 1/32."""

    def sequence(self, rng: random.Random, length: int, mixture: str) -> Stretch:
        turn = [rng.randrange(16, 48) for _ in range(rng.randint(4, 8))]
        whole = Stretch().add(turn)
        while len(whole) < length:
            whole.add(turn, TARGET)
        return whole.cut(length)


@dataclass(frozen=True, slots=True)
class Batch:
    """ids [B, T] int64; at [N] int64: flat places in [B * T] whose next token is learnt; weight [N] fp32."""

    ids: np.ndarray
    at: np.ndarray
    weight: np.ndarray


def make_batch(source: Sequences, *, seed: int, step: int, length: int, tokens: int, mixture: str) -> Batch:
    """Batch number `step`: sequences of one length, `tokens` in all; the loss looks at a quarter of the places.

    Every weighted answer is among them, and of the rest a random share, weighted up to stand for all of it: logits over the
    whole vocabulary are most of a small model's memory traffic.
    """
    sequences = []
    for row in range(tokens // length):
        sequences.append(source.sequence(random.Random(f"zoo@2:{seed}:{step}:{row}"), length, mixture))
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
