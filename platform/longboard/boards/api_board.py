"""One board for the API: every System with both numbers, from the same Columns and the same front as the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from longboard.boards.columns import TRUSTS
from longboard.boards.sources import Key, Live
from longboard.boards.summaries import front_of
from longboard.boards.systems import SystemFacts, current_catalogue


@dataclass(frozen=True, slots=True)
class Standing:
    """A System's two numbers (value, low, high, n), its rank range and its place on the front."""

    facts: SystemFacts
    gain: tuple[float, float, float, int]
    cost: tuple[float, float, float, int]
    trust: str
    rank_best: int
    rank_worst: int
    on_front: bool
    probability: float


def standings(key: Key, *, cost: str, efficiency_id: int, hardware_id: int, length: int, most: int) -> list[Standing]:
    """The `most` most accurate, best first. Three statements. Rank ranges are 0 while they are being worked out."""
    known, source = current_catalogue(), Live()
    held = source.held(key, cost=cost, efficiency_id=efficiency_id, hardware_id=hardware_id, length=length)
    systems, gains = held.gains.systems, held.gains.numbers
    costs = held.costs.at(systems)
    both = np.flatnonzero(~np.isnan(costs["value"]) & known.known(systems))
    stored = source.front(key, cost=cost, hardware_id=hardware_id, length=length)
    if stored is None:
        on, chance = front_of(gains, costs, cost)
        stored = {int(systems[at]): (bool(on[at]), float(chance[at])) for at in both}
    label = known.label_order[known.places(systems[both])]
    return [
        Standing(
            facts=known[int(systems[at])],
            gain=_numbers(gains[at]),
            cost=_numbers(costs[at]),
            trust=TRUSTS[int(gains[at]["trust"])],
            rank_best=int(gains[at]["best"]) if held.ranked else 0,
            rank_worst=int(gains[at]["worst"]) if held.ranked else 0,
            on_front=stored.get(int(systems[at]), (False, 0.0))[0],
            probability=stored.get(int(systems[at]), (False, 0.0))[1],
        )
        for at in both[np.lexsort((label, -gains["value"][both]))][:most]
    ]


def _numbers(number: Any) -> tuple[float, float, float, int]:
    return float(number["value"]), float(number["low"]), float(number["high"]), int(number["n"])
