"""Where a board's numbers come from: the Columns of today, or, for `?as_of=`, the Cells as they stood at a moment."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from django.db.models import Q

from longboard.boards.columns import CELL_FIELDS, Slice, unpack_systems
from longboard.boards.kept import Line, read_columns
from longboard.boards.metrics import WHOLE_SUITE, mean_length
from longboard.boards.models import Cell, Column, FrontEntry, PastCell
from longboard.boards.prices import PRICE_FIELDS, Price, price_of
from longboard.boards.reasons import Partial, run_url
from longboard.fleet.models import Hardware
from longboard.quantities import Quantity, quantity
from longboard_tasks.catalogue.suites import SuiteInfo


@dataclass(frozen=True, slots=True)
class Key:
    """What is ranked: one metric of one task of one suite version."""

    suite_id: int
    task: str
    metric: str
    # Of a whole suite's mean: the tasks that it is made of, and where it stands when they have a length each (0: they share one).
    tasks: tuple[str, ...] = ()
    mean_length: int = 0

    @property
    def where(self) -> dict[str, Any]:
        return {"suite": self.suite_id, "task": self.task, "metric": self.metric}

    def line(self, hardware_id: int) -> Line:
        return self.suite_id, self.task, self.metric, hardware_id

    @property
    def is_whole(self) -> bool:
        """Whether it is a mean over a suite's tasks."""
        return self.task == WHOLE_SUITE

    @property
    def parts(self) -> dict[str, Any]:
        """The numbers that a whole suite's mean is made of."""
        return {"suite": self.suite_id, "metric": "accuracy", "task__in": self.tasks}


def key_of(suite_id: int, info: SuiteInfo, task: str, metric: str) -> Key:
    """`info` as boards offer the suite (`board_info`)."""
    return Key(suite_id, task, metric, tuple(t.name for t in info.tasks if t.role == "scored"), mean_length(info))


@dataclass(frozen=True, slots=True)
class CostPlace:
    """Where the numbers of a board's other axis are."""

    suite_id: int
    task: str

    def line(self, cost: str, hardware_id: int) -> Line:
        return self.suite_id, self.task, cost, hardware_id


@dataclass(frozen=True, slots=True)
class Place:
    """A length on a hardware where something was measured, and by how many Systems."""

    hardware_id: int
    slug: str
    title: str
    length: int
    count: int
    price: Price | None = None  # of an hour of the hardware


@dataclass(frozen=True, slots=True)
class Held:
    """The numbers of both axes at one place, and which Systems have gains at other lengths there."""

    gains: Slice
    costs: Slice
    elsewhere: np.ndarray
    ranked: bool  # the rank ranges in `gains` are up to date
    changed_at: datetime | None  # of the newest number on either axis


class Number(NamedTuple):
    """One Cell, for a page: read for the Systems that it shows alone. A tuple, since a page makes 400 of them."""

    system_id: int
    length: int
    value: float
    low: float
    high: float
    n: int
    unit: str
    trust: str
    url: str  # its Run, or the report that says it

    def as_quantity(self) -> Quantity:
        return quantity(self.value, self.low, self.high, n=self.n, unit=self.unit)


PLACE_FIELDS = ("hardware_id", "hardware__slug", "hardware__title", "context_length")
_PRICES = tuple(f"hardware__{name}" for name in PRICE_FIELDS)

Front: TypeAlias = dict[int, tuple[bool, float]]  # System -> (on the front, its probability)


class Source(Protocol):
    def places(self, key: Key) -> list[Place]: ...
    def both(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int) -> dict[int, int]: ...
    def held(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int, length: int) -> Held: ...
    def front(self, key: Key, *, cost: str, hardware_id: int, length: int) -> Front | None: ...
    def numbers(self, key: Key, *, hardware_id: int, systems: Sequence[int]) -> dict[tuple[int, int], Number]: ...
    def matrix(self, key: Key, *, hardware_id: int) -> dict[int, Slice]: ...
    def partial(self, key: Key, *, hardware_id: int) -> Partial: ...


class Live:
    """Today: one statement a method."""

    def places(self, key: Key) -> list[Place]:
        """A whole suite's mean also has the places where some of its tasks were measured, with no System as long as none
        has them all."""
        where = Q(**key.where) | Q(**key.parts) if key.is_whole else Q(**key.where)
        rows = Column.objects.filter(where).order_by("hardware__title", "context_length")
        found: dict[tuple[int, int], Place] = {}
        for hardware, slug, title, length, task, size, *price in rows.values_list(
            *PLACE_FIELDS, "task", "size", *_PRICES
        ):
            own = size if task == key.task else 0
            length = key.mean_length if key.is_whole and key.mean_length else length
            known = found.get((hardware, length))
            if known is None or own > known.count:
                found[hardware, length] = Place(hardware, slug, title, length, own, price_of(*price))
        return list(found.values())

    def both(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int) -> dict[int, int]:
        """How many Systems have numbers on both axes, by length."""
        lines = key.line(hardware_id), cost_place.line(cost, hardware_id)
        read = list(read_columns(*lines, length=None))
        gains, costs = ({c.length: c.systems for c in read if c.line == line} for line in lines)
        return shared(gains, costs)

    def held(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int, length: int) -> Held:
        gains, costs, elsewhere, ranked, changed = Slice.empty(), Slice.empty(), [], False, []
        line = key.line(hardware_id)
        for column in read_columns(line, cost_place.line(cost, hardware_id), length=length):
            if column.numbers is None:
                elsewhere.append(column.systems)
                continue
            changed.append(column.updated_at)
            if column.line == line:
                gains, ranked = column.numbers, column.is_ranked
            else:
                costs = column.numbers
        return Held(gains, costs, _others(elsewhere, gains.systems), ranked, max(changed, default=None))

    def front(self, key: Key, *, cost: str, hardware_id: int, length: int) -> Front | None:
        """The stored front; None where there is none: a change of a number drops it, and it is written again soon."""
        where = {**key.where, "cost_metric": cost, "hardware": hardware_id, "context_length": length}
        rows = FrontEntry.objects.filter(**where).order_by().values_list("system_id", "on_front", "probability")
        return {system: (on, probability) for system, on, probability in rows} or None

    def numbers(self, key: Key, *, hardware_id: int, systems: Sequence[int]) -> dict[tuple[int, int], Number]:
        rows = Cell.objects.filter(**key.where, hardware=hardware_id, system__in=list(systems)).order_by()
        return {(n.system_id, n.length): n for n in _numbers(rows)}

    def matrix(self, key: Key, *, hardware_id: int) -> dict[int, Slice]:
        rows = Column.objects.filter(**key.where, hardware=hardware_id).order_by("context_length")
        return {
            length: Slice.unpack(systems, numbers)
            for length, systems, numbers in rows.values_list("context_length", "systems", "numbers")
        }

    def partial(self, key: Key, *, hardware_id: int) -> Partial:
        """How many tasks of the suite each System has a number of."""
        rows = Column.objects.filter(**key.parts, hardware=hardware_id).order_by()
        columns = rows.values_list("context_length", "systems")
        at = key.mean_length
        return Partial.count((at or length, unpack_systems(systems)) for length, systems in columns)


@dataclass(frozen=True, slots=True)
class Past:
    """As it stood at `at`: two statements a method, and slower, since nothing is packed."""

    at: datetime

    def places(self, key: Key) -> list[Place]:
        counts: Counter[tuple[int, int]] = Counter()
        for rows in self._rows(key.where):
            counts.update(rows.values_list("hardware_id", "context_length"))
        if key.is_whole:
            for rows in self._rows(key.parts):
                places = rows.values_list("hardware_id", "context_length")
                counts.update(dict.fromkeys(((hardware, key.mean_length or at) for hardware, at in places), 0))
        sheets = {pk: rest for pk, *rest in Hardware.objects.values_list("pk", "slug", "title", *PRICE_FIELDS)}
        found = [
            Place(hardware, sheets[hardware][0], sheets[hardware][1], length, n, price_of(*sheets[hardware][2:]))
            for (hardware, length), n in counts.items()
        ]
        return sorted(found, key=lambda place: (place.title, place.length))

    def both(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int) -> dict[int, int]:
        gains = self.matrix(key, hardware_id=hardware_id)
        costs = self.matrix(Key(cost_place.suite_id, cost_place.task, cost), hardware_id=hardware_id)
        return shared({n: s.systems for n, s in gains.items()}, {n: s.systems for n, s in costs.items()})

    def held(self, key: Key, *, cost: str, cost_place: CostPlace, hardware_id: int, length: int) -> Held:
        gains = self.matrix(key, hardware_id=hardware_id)
        here = {
            "suite": cost_place.suite_id,
            "task": cost_place.task,
            "metric": cost,
            "hardware": hardware_id,
            "context_length": length,
        }
        costs = Slice.from_rows(chain.from_iterable(rows.values_list(*CELL_FIELDS) for rows in self._rows(here)))
        held = gains.pop(length, Slice.empty())
        return Held(held, costs, _others([s.systems for s in gains.values()], held.systems), False, None)

    def front(self, key: Key, *, cost: str, hardware_id: int, length: int) -> Front | None:
        return None

    def numbers(self, key: Key, *, hardware_id: int, systems: Sequence[int]) -> dict[tuple[int, int], Number]:
        where = {**key.where, "hardware": hardware_id, "system__in": list(systems)}
        now, past = self._rows(where)
        return {(n.system_id, n.length): n for n in chain(_numbers(now), _numbers(past))}

    def matrix(self, key: Key, *, hardware_id: int) -> dict[int, Slice]:
        by_length: dict[int, list[Any]] = defaultdict(list)
        for rows in self._rows({**key.where, "hardware": hardware_id}):
            for length, *fields in rows.values_list("context_length", *CELL_FIELDS):
                by_length[length].append(tuple(fields))
        return {length: Slice.from_rows(by_length[length]) for length in sorted(by_length)}

    def partial(self, key: Key, *, hardware_id: int) -> Partial:
        by_length: dict[int, list[int]] = defaultdict(list)
        for rows in self._rows({**key.parts, "hardware": hardware_id}):
            for system, length in rows.values_list("system_id", "context_length"):
                by_length[key.mean_length or length].append(system)
        return Partial.count((length, np.array(systems, np.int64)) for length, systems in by_length.items())

    def _rows(self, where: dict[str, Any]) -> tuple[Any, Any]:
        """Each key is in exactly one of the two: a Cell that is no younger, or the PastCell whose time it was."""
        return (
            Cell.objects.filter(**where, updated_at__lte=self.at).order_by(),
            PastCell.objects.filter(**where, since__lte=self.at, until__gt=self.at).order_by(),
        )


def shared(gains: Mapping[int, np.ndarray], costs: Mapping[int, np.ndarray]) -> dict[int, int]:
    """By length, how many ids are in both. Each array rises."""
    counts = {}
    for length in gains.keys() & costs.keys():
        counts[length] = len(gains[length]) + len(costs[length]) - int(_seen(gains[length], costs[length]).sum())
    return counts


def union(*parts: np.ndarray) -> np.ndarray:
    """Ids in any of them, rising, as each of them is."""
    return np.flatnonzero(_seen(*parts))


def _others(elsewhere: list[np.ndarray], here: np.ndarray) -> np.ndarray:
    """Ids in any of `elsewhere` and not `here`, rising."""
    seen = _seen(*elsewhere, here)
    seen[here] = False
    return np.flatnonzero(seen)


def _seen(*parts: np.ndarray) -> np.ndarray:
    """Whether each id from 0 on is in any of them. Ids are dense, so that a mask is ten times as fast as a sort."""
    seen = np.zeros(max((int(ids[-1]) for ids in parts if len(ids)), default=0) + 1, bool)
    for ids in parts:
        seen[ids] = True
    return seen


def _numbers(rows: Any) -> Iterator[Number]:
    fields: Iterable[Any] = rows.values_list(
        "system_id", "context_length", "value", "ci_low", "ci_high", "n", "unit", "trust", "last_run_id"
    )
    for system, length, value, low, high, n, unit, trust, run in fields:
        yield Number(system, length, value, low, high, n, unit, trust, run_url(run))
