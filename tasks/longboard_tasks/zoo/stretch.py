"""Tokens with one loss weight each: what training sequences are put together from. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field

TARGET, RECALL, COPY, REST = 1.0, 0.3, 0.1, 0.02  # loss weight of a token, by what it is


@dataclass(slots=True)
class Stretch:
    """`weights[i]` is the loss weight of `ids[i]`, as something to predict."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: list[int], weight: float = REST) -> Stretch:
        self.ids += ids
        self.weights += [weight] * len(ids)
        return self

    def join(self, other: Stretch) -> Stretch:
        self.ids += other.ids
        self.weights += other.weights
        return self

    def cut(self, length: int) -> Stretch:
        return Stretch(self.ids[:length], self.weights[:length])
