"""Self-reported numbers beside the verified ones, for a reader who asks for that trust level.

A verified number of the same System at the same place is never replaced. Shares belong to the System and stand on every
hardware's board; times and sizes only where their report names that hardware. Means over a suite and stored fronts are of
verified numbers alone: what this source adds is ranked when the page is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from longboard.boards.columns import Slice
from longboard.boards.metrics import METRICS
from longboard.boards.prices import PRICE_FIELDS, price_of
from longboard.boards.reasons import Partial
from longboard.boards.sources import CostPlace, Front, Held, Key, Live, Number, Past, Place, Source
from longboard.fleet.models import Hardware
from longboard.reports.queries import live_numbers, report_url
from longboard.results.models import Trust


def source_for(trust: str, moment: datetime | None) -> Source:
    """Where the numbers of a view come from: reports only for the reader who asks for them."""
    base: Source = Past(moment) if moment else Live()
    return WithReports(base, moment) if trust == Trust.SELF_REPORTED else base


@dataclass(frozen=True, slots=True)
class WithReports:
    """`base` with the reports that stood at `at`; None: that stand now. One statement a method more."""

    base: Source
    at: datetime | None

    def places(self, key: Key) -> list[Place]:
        """Also the lengths at which something was only reported."""
        found = {(place.hardware_id, place.length): place for place in self.base.places(key)}
        rows = (
            live_numbers(self.at, **key.where).order_by().values_list("context_length", "report__hardware").distinct()
        )
        lengths: dict[int, set[int | None]] = defaultdict(set)
        for length, hardware in rows:
            lengths[length].add(hardware)
        if not lengths:
            return list(found.values())
        anywhere = METRICS[key.metric].unit == "share"
        measured = {hardware for hardware, _ in found}
        for pk, slug, title, *price in Hardware.objects.order_by("title").values_list(
            "pk", "slug", "title", *PRICE_FIELDS
        ):
            for length, named in lengths.items():
                if (pk, length) not in found and (pk in named or (anywhere and (pk in measured or not measured))):
                    found[pk, length] = Place(pk, slug, title, length, 0, price_of(*price))
        return sorted(found.values(), key=lambda place: (place.title, place.length))

    def both(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int) -> dict[int, int]:
        """Of the measured numbers alone: reports do not move what a board opens with."""
        return self.base.both(key, cost=cost, cost_place=cost_place, hardware_id=hardware_id)

    def held(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int, length: int) -> Held:
        held = self.base.held(key, cost=cost, cost_place=cost_place, hardware_id=hardware_id, length=length)
        gains = self._slices(key.where, hardware_id)
        costs = self._slices({"suite": cost_place.suite_id, "task": cost_place.task, "metric": cost}, hardware_id)
        here = _joined(held.gains, gains.pop(length, Slice.empty()))
        others = [reported.systems for reported in gains.values()]
        elsewhere = np.setdiff1d(np.unique(np.concatenate([held.elsewhere, *others])), here.systems)
        return replace(
            held,
            gains=here,
            costs=_joined(held.costs, costs.get(length, Slice.empty())),
            elsewhere=elsewhere,
            ranked=False,
        )

    def front(self, key: Key, *, cost: str, hardware_id: int, length: int) -> Front | None:
        return None

    def numbers(self, key: Key, *, hardware_id: int, systems: Sequence[int]) -> dict[tuple[int, int], Number]:
        rows = self._rows({**key.where, "system__in": list(systems)}, hardware_id).values_list(
            "system_id", "context_length", "value", "ci_low", "ci_high", "n", "unit", "report_id"
        )
        found = {}
        for system, length, value, low, high, n, unit, report in rows:
            found[system, length] = Number(
                system, length, value, low, high, n, unit, str(Trust.SELF_REPORTED), report_url(report)
            )
        return found | self.base.numbers(key, hardware_id=hardware_id, systems=systems)

    def matrix(self, key: Key, *, hardware_id: int) -> dict[int, Slice]:
        base, reported = self.base.matrix(key, hardware_id=hardware_id), self._slices(key.where, hardware_id)
        empty = Slice.empty()
        return {n: _joined(base.get(n, empty), reported.get(n, empty)) for n in sorted({*base, *reported})}

    def partial(self, key: Key, *, hardware_id: int) -> Partial:
        return self.base.partial(key, hardware_id=hardware_id)

    def _rows(self, where: dict[str, Any], hardware_id: int) -> Any:
        rows = live_numbers(self.at, **where)
        return rows if METRICS[where["metric"]].unit == "share" else rows.filter(report__hardware=hardware_id)

    def _slices(self, where: dict[str, Any], hardware_id: int) -> dict[int, Slice]:
        """By context length; of two reports of one System the later."""
        rows: Iterable[Any] = self._rows(where, hardware_id).values_list(
            "context_length", "system_id", "value", "ci_low", "ci_high", "n"
        )
        latest: dict[int, dict[int, tuple[Any, ...]]] = defaultdict(dict)
        for length, system, *number in rows:
            latest[length][system] = (system, *number, str(Trust.SELF_REPORTED))
        return {length: Slice.from_rows(by_system.values()) for length, by_system in latest.items()}


def _joined(verified: Slice, reported: Slice) -> Slice:
    """Both, by rising System; a verified number goes before a reported one of the same System."""
    new = ~np.isin(reported.systems, verified.systems)
    systems = np.concatenate([verified.systems, reported.systems[new]])
    numbers = np.concatenate([verified.numbers, reported.numbers[new]])
    order = np.argsort(systems, kind="stable")
    return Slice(systems[order], numbers[order])
