"""What `niah@1` asks: which fact, at which depth, for each sample. Standard library only.

A plan needs no tokenizer, so the platform derives every target by itself and re-scores uploaded answers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SUITE_VERSION = 1
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the haystack before the needle
NEEDLE = "The special magic number for {city} is: {number}."
QUESTION = (
    "\n\nWhat is the special magic number for {city} mentioned in the provided text? "
    "The special magic number for {city} is:"
)
# The zoo never trains on these names, nor on this wording.
CITIES = (
    "Amsterdam", "Athens", "Bangkok", "Berlin", "Bogota", "Brussels", "Budapest", "Cairo", "Chicago", "Copenhagen",
    "Dakar", "Dublin", "Geneva", "Hanoi", "Havana", "Helsinki", "Istanbul", "Jakarta", "Lagos", "Lima", "Lisbon",
    "London", "Madrid", "Manila", "Melbourne", "Mexico City", "Montreal", "Nairobi", "Oslo", "Paris", "Prague",
    "Quito", "Rome", "Santiago", "Seoul", "Singapore", "Stockholm", "Sydney", "Tokyo", "Toronto", "Vienna", "Warsaw",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NeedlePlan:
    index: int
    depth: float
    city: str
    number: str  # 7 digits, the first one not 0

    @property
    def target(self) -> str:
        return self.number

    @property
    def needle(self) -> str:
        return NEEDLE.format(city=self.city, number=self.number)

    @property
    def question(self) -> str:
        return QUESTION.format(city=self.city)


def plan_single(*, context_length: int, seed: int, index: int) -> NeedlePlan:
    """Sample `index` of `niah@1/single`: depths take turns, fact and number follow from the seed string."""
    rng = random.Random(f"niah/single@{SUITE_VERSION}:{context_length}:{seed}:{index}")
    return NeedlePlan(
        index=index,
        depth=DEPTHS[index % len(DEPTHS)],
        city=rng.choice(CITIES),
        number=f"{rng.randrange(10**6, 10**7)}",
    )
