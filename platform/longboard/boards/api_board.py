"""One board for the API: every System with both numbers, from the same Columns and the same front as the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from longboard.boards.columns import TRUSTS
from longboard.boards.metrics import stored_cost
from longboard.boards.paired import rank_ranges
from longboard.boards.prices import Price, priced
from longboard.boards.ranking import front_of, sizes_of
from longboard.boards.reported import source_for
from longboard.boards.sources import CostPlace, Key
from longboard.boards.systems import SystemFacts, current_catalogue


@dataclass(frozen=True, slots=True)
class Standing:
    """A System's two numbers (value, low, high, n), its rank range and its place on the front."""

    facts: SystemFacts
    gain: tuple[float, float, float, int]
    cost: tuple[float, float, float, int]
    trust: str
    cost_trust: str
    rank_best: int
    rank_worst: int
    on_front: bool
    probability: float


def standings(
    key: Key,
    *,
    cost: str,
    price: Price | None,
    cost_place: CostPlace,
    hardware_id: int,
    length: int,
    trust: str,
    most: int,
) -> list[Standing]:
    """The `most` most accurate with at least this trust, best first. Three statements.

    `price`: of an hour of the hardware, for a cost in money; without one no System has such a cost.
    """
    known, source = current_catalogue(), source_for(trust, None)
    rate = stored_cost(cost)
    held = source.held(key, cost=rate, cost_place=cost_place, hardware_id=hardware_id, length=length)
    trusted = known.known(held.gains.systems) & (held.gains.numbers["trust"] >= TRUSTS.index(trust))
    systems, gains = held.gains.systems[trusted], held.gains.numbers[trusted]
    costs = priced(cost, held.costs, price).at(systems)
    best, worst = gains["best"], gains["worst"]
    if not (held.ranked and trusted.all()):
        best, worst = rank_ranges(gains["value"], sizes_of(gains))
    both = np.flatnonzero(~np.isnan(costs["value"]))
    stored = source.front(key, cost=rate, hardware_id=hardware_id, length=length) if trusted.all() else None
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
            cost_trust=TRUSTS[int(costs[at]["trust"])],
            rank_best=int(best[at]),
            rank_worst=int(worst[at]),
            on_front=stored.get(int(systems[at]), (False, 0.0))[0],
            probability=stored.get(int(systems[at]), (False, 0.0))[1],
        )
        for at in both[np.lexsort((label, -gains["value"][both]))][:most]
    ]


def _numbers(number: Any) -> tuple[float, float, float, int]:
    return float(number["value"]), float(number["low"]), float(number["high"]), int(number["n"])
