"""Columns as this process has them: what it has read is kept by revision, and a board reads again only what has changed since.

At 10,000 Systems a Column is half a megabyte, and to be sent the same nine again took 8 of the 57 ms of a page.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

import numpy as np
from django.db.models import Case, Q, Value, When
from django.db.models.fields import BinaryField

from longboard.boards.columns import NUMBER, Ints, Slice, unpack_systems
from longboard.boards.models import Column

Line: TypeAlias = tuple[int, str, str, int]  # suite id, task, metric, hardware id: its Columns differ by context length
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read:
    """A Column's Systems, and its numbers where they were asked for."""

    line: Line
    length: int
    systems: Ints
    numbers: Slice | None
    updated_at: datetime
    is_ranked: bool


class Kept(Generic[T]):
    """The `most` values last used, one a Column. Threads share them: nobody writes to them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[tuple[Line, int], tuple[UUID, T]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, lines: Collection[Line]) -> dict[UUID, T]:
        """All that is held of these lines, by revision. Whether it is still true the database says."""
        with self._lock:
            places = [place for place in self._held if place[0] in lines]
            for place in places:
                self._held.move_to_end(place)
            return dict(self._held[place] for place in places)

    def put(self, line: Line, length: int, revision: UUID, value: T) -> None:
        with self._lock:
            self._held[line, length] = (revision, value)
            self._held.move_to_end((line, length))
            while len(self._held) > self._most:
                self._held.popitem(last=False)


_numbers: Kept[Slice] = Kept(64)  # 28 MB at 10,000 Systems: both axes of one hardware at eight lengths
_systems: Kept[Ints] = Kept(128)  # 10 MB


def read_columns(gains: Line, costs: Line, *, length: int | None) -> Iterator[Read]:
    """The Columns of both axes: with numbers at this length, where the costs are read there alone; None: Systems at every length.

    One statement, which sends only what is not kept.
    """
    systems, numbers = _systems.of((gains, costs)), _numbers.of((gains, costs))
    nothing: Any = Value(b"", output_field=BinaryField())
    wanted = Q(context_length=length) & ~Q(revision__in=list(numbers)) if length is not None else Q(pk=None)
    there = Q(**_where(costs)) if length is None else Q(**_where(costs), context_length=length)
    rows = Column.objects.filter(Q(**_where(gains)) | there).annotate(
        new_systems=Case(When(revision__in=list(systems), then=nothing), default="systems"),
        new_numbers=Case(When(wanted, then="numbers"), default=nothing),
    )
    for suite, task, metric, hardware, at, revision, updated_at, ranked_at, ids, packed in rows.order_by("pk").values_list(
        "suite_id", "task", "metric", "hardware_id", "context_length", "revision", "updated_at", "ranked_at",
        "new_systems", "new_numbers",
    ):  # fmt: skip
        line = (suite, task, metric, hardware)
        if revision not in systems:
            systems[revision] = unpack_systems(ids)
            _systems.put(line, at, revision, systems[revision])
        if at == length and revision not in numbers:
            numbers[revision] = Slice(systems[revision], np.frombuffer(bytes(packed), NUMBER))
            _numbers.put(line, at, revision, numbers[revision])
        found = numbers[revision] if at == length else None
        yield Read(line, at, systems[revision], found, updated_at, ranked_at is not None)


def _where(line: Line) -> dict[str, Any]:
    return dict(zip(("suite", "task", "metric", "hardware"), line, strict=True))
