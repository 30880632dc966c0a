"""Columns: every Cell of one metric at one length on one hardware, packed, so that a board reads 10,000 Systems in one go.

`systems` holds System ids, little-endian int32, rising; `numbers` a NUMBER for each, in that order. Cells are the truth:
`put` carries changed Cells over in the transaction that wrote them, `rebuild` makes Columns from the Cells again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np

from longboard.boards.metrics import WHOLE_SUITE
from longboard.boards.models import Cell, Column, FrontEntry
from longboard.results.models import Trust
from longboard_tasks.catalogue.metrics import COST_METRICS, COST_TASK, TRAINING_COSTS

NUMBER = np.dtype(
    [
        ("value", "<f8"),
        ("low", "<f8"),
        ("high", "<f8"),
        ("n", "<u4"),
        ("best", "<u4"),  # rank range among all Systems of the Column; 0: not worked out
        ("worst", "<u4"),
        ("trust", "<u4"),  # index into Trust.values: a higher one is better proof
    ]
)
VALUE, TRUST = 0, 6  # places in a NUMBER that has become a tuple
TRUSTS = tuple(Trust.values)
_NOBODY = np.array([(np.nan, np.nan, np.nan, 0, 0, 0, 0)], NUMBER)

Ints = np.ndarray[Any, np.dtype[np.int64]]
Numbers = np.ndarray[Any, np.dtype[np.void]]
Packed: TypeAlias = bytes | memoryview  # what drivers give for a BinaryField
Key: TypeAlias = tuple[int, str, str, int, int]  # suite id, task, metric, context length, hardware id

CELL_FIELDS = ("system_id", "value", "ci_low", "ci_high", "n", "trust")


@dataclass(frozen=True, slots=True)
class Slice:
    """The numbers of one Column: `systems` [N] rising ids, `numbers` [N] of NUMBER."""

    systems: Ints
    numbers: Numbers

    @classmethod
    def empty(cls) -> Slice:
        return cls(np.zeros(0, np.int64), np.zeros(0, NUMBER))

    @classmethod
    def unpack(cls, systems: Packed, numbers: Packed) -> Slice:
        return cls(unpack_systems(systems), np.frombuffer(bytes(numbers), NUMBER))

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, float, float, float, int, str]]) -> Slice:
        """From (system, value, low, high, n, trust) rows in any order."""
        ordered = sorted(rows)
        numbers = np.zeros(len(ordered), NUMBER)
        for at, (_, value, low, high, n, trust) in enumerate(ordered):
            numbers[at] = (value, low, high, n, 0, 0, TRUSTS.index(trust))
        return cls(np.array([row[0] for row in ordered], np.int64), numbers)

    def at(self, systems: Ints) -> Numbers:
        """The numbers of these Systems, in their order; NaN values where one has none."""
        if np.array_equal(systems, self.systems):  # most boards: everybody has a number
            return self.numbers
        places = places_by_id(self.systems)
        # -1 takes the last, which is nobody's. `take`, since an index copies records field by field, twenty times as slowly.
        return np.concatenate([self.numbers, _NOBODY]).take(places[np.minimum(systems, len(places) - 1)])


def unpack_systems(packed: Packed) -> Ints:
    return np.frombuffer(bytes(packed), "<i4").astype(np.int64)


def places_by_id(ids: Ints) -> Ints:
    """Where each id from 0 to one past the last stands in `ids`, which rise; -1: nowhere. Ids are dense: a tenth of a search."""
    places = np.full(int(ids[-1]) + 2 if len(ids) else 1, -1, np.int64)
    places[ids] = np.arange(len(ids))
    return places


def pack(column: Slice) -> dict[str, Any]:
    """The fields of a Column that hold this Slice."""
    return {
        "size": len(column.systems),
        "systems": column.systems.astype("<i4").tobytes(),
        "numbers": column.numbers.tobytes(),
    }


def put(cells: Iterable[Cell], *, now: datetime) -> set[Key]:
    """Carries changed Cells into their Columns, whose ranks are then due. In the caller's transaction, hardware locked."""
    changed: dict[Key, list[Cell]] = defaultdict(list)
    for cell in cells:
        changed[cell.suite_id, cell.task, cell.metric, cell.context_length, cell.hardware_id].append(cell)
    for key, rows in changed.items():
        stored = Column.objects.filter(**_where(key)).first()
        column = Slice.unpack(stored.systems, stored.numbers) if stored else Slice.empty()
        fresh = Slice.from_rows((c.system_id, c.value, c.ci_low, c.ci_high, c.n, c.trust) for c in rows)
        _store(key, _merged(column, fresh), now)
    return set(changed)


def rebuild(key: Key, *, now: datetime) -> None:
    """Makes one Column again from its Cells; without any left it goes."""
    rows = list(Cell.objects.filter(**_where(key)).order_by().values_list(*CELL_FIELDS))
    if not rows:
        Column.objects.filter(**_where(key)).delete()
        return
    _store(key, Slice.from_rows(rows), now)


def rebuild_all(*, now: datetime) -> int:
    """Every Column from every Cell. For a site whose Cells came from elsewhere, and for repair."""
    keys = set(Cell.objects.order_by().values_list("suite", "task", "metric", "context_length", "hardware").distinct())
    keys |= set(Column.objects.values_list("suite", "task", "metric", "context_length", "hardware"))
    for key in sorted(keys):
        rebuild(key, now=now)
    return len(keys)


def _store(key: Key, column: Slice, now: datetime) -> None:
    fields = {**pack(column), "updated_at": now, "ranked_at": None, "revision": uuid4()}
    if not Column.objects.filter(**_where(key)).update(**fields):
        Column.objects.create(**_where(key), **fields)
    _drop_fronts(key)


def _drop_fronts(key: Key) -> None:
    """A stored front is true or not there: those with this Column on either axis go, and are due."""
    suite, task, metric, length, hardware = key
    here = FrontEntry.objects.filter(hardware=hardware, context_length=length)
    if metric in TRAINING_COSTS:
        here.filter(suite=suite, cost_metric=metric, task__in=(task, WHOLE_SUITE)).delete()
    elif task == COST_TASK and metric in COST_METRICS:
        here.filter(cost_metric=metric).delete()
    else:
        here.filter(suite=suite, task=task, metric=metric).delete()


def _merged(old: Slice, new: Slice) -> Slice:
    """`new` in place of what `old` says of the same Systems. Ranks of the others stay until they are worked out anew."""
    keep = ~np.isin(old.systems, new.systems)
    systems = np.concatenate([old.systems[keep], new.systems])
    numbers = np.concatenate([old.numbers[keep], new.numbers])
    order = np.argsort(systems, kind="stable")
    return Slice(systems[order], numbers[order])


def _where(key: Key) -> dict[str, Any]:
    return dict(zip(("suite_id", "task", "metric", "context_length", "hardware_id"), key, strict=True))
