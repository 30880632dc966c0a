"""Rank ranges and fronts of boards, worked out from Columns: at once for small boards, by a job for large ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import numpy as np
from django.db import transaction

from longboard.boards import columns
from longboard.boards.aggregates import effective_n
from longboard.boards.clusters import PER_DOCUMENT
from longboard.boards.columns import Slice
from longboard.boards.fronts import front, membership
from longboard.boards.metrics import METRICS, WHOLE_SUITE, cost_task
from longboard.boards.models import Cell, CellScores, Column, FrontEntry
from longboard.boards.paired import rank_ranges
from longboard.fleet.models import Hardware
from longboard.registry.suites import suite_info
from longboard_tasks.catalogue.metrics import COST_METRICS, TRAINING_COSTS
from longboard_tasks.catalogue.suites import SuiteInfo

DUE_AT_ONCE = 200  # Columns that one `refresh_due` takes
DRAWS = 400


def refresh(*, hardware: Hardware, context_length: int, now: datetime, most: int | None = None) -> bool:
    """Ranks and fronts of every board at one length on one hardware whose Columns changed since; at most `most` Systems a board.

    Returns whether all of it is done.
    """
    place = {"hardware": hardware, "context_length": context_length}
    here = list(Column.objects.filter(**place, suite__is_current=True).select_related("suite").order_by("pk"))
    gains = [c for c in here if METRICS[c.metric].unit == "share" and METRICS[c.metric].higher_is_better]
    infos = {column.suite_id: suite_info(column.suite) for column in here}
    gains = [c for c in gains if _is_ranked(c, infos[c.suite_id])]

    def costs(gain: Column) -> list[Column]:
        info = infos[gain.suite_id]
        task = cost_task(info, gain.task)
        if info.trains:
            return [c for c in here if (c.suite_id, c.task) == (gain.suite_id, task) and c.metric in TRAINING_COSTS]
        return [c for c in here if c.task == task and c.metric in COST_METRICS]

    small = [c for c in gains if most is None or c.size <= most]
    for column in small:
        if column.ranked_at is None:
            _rank(column, now)
    stored = set(
        FrontEntry.objects.filter(**place)
        .order_by()
        .values_list("suite_id", "task", "metric", "cost_metric")
        .distinct()
    )
    entries = [
        entry
        for gain in small
        for cost in costs(gain)
        if (gain.suite_id, gain.task, gain.metric, cost.metric) not in stored
        for entry in _front_entries(gain, cost, now)
    ]
    FrontEntry.objects.bulk_create(entries, batch_size=1_000)
    if len(small) < len(gains):
        return False
    Column.objects.filter(**place, ranked_at=None).update(ranked_at=now)
    return True


def rebuild_fronts(*, hardware: Hardware, context_length: int, now: datetime) -> None:
    """All of it, whether due or not."""
    FrontEntry.objects.filter(hardware=hardware, context_length=context_length).delete()
    Column.objects.filter(hardware=hardware, context_length=context_length).update(ranked_at=None)
    refresh(hardware=hardware, context_length=context_length, now=now)


def refresh_due(*, now: datetime) -> int:
    """Ranks and fronts that no transaction has done, place by place. Any number may run at once: each locks its hardware."""
    places = (
        Column.objects.filter(ranked_at=None, suite__is_current=True)
        .order_by("hardware_id", "context_length")
        .values_list("hardware_id", "context_length")
        .distinct()[:DUE_AT_ONCE]
    )
    if not Column.objects.exists() and Cell.objects.exists():
        columns.rebuild_all(now=now)  # a site from before there were Columns
    count = 0
    for hardware_id, length in places:
        with transaction.atomic():
            hardware = Hardware.objects.select_for_update().get(pk=hardware_id)
            refresh(hardware=hardware, context_length=length, now=now)
        count += 1
    return count


def _is_ranked(column: Column, info: SuiteInfo) -> bool:
    return column.task == WHOLE_SUITE or all(t.role != "unranked" for t in info.tasks if t.name == column.task)


def _rank(column: Column, now: datetime) -> None:
    held = Slice.unpack(column.systems, column.numbers)
    numbers = held.numbers.copy()
    numbers["best"], numbers["worst"] = rank_ranges(numbers["value"], sizes_of(numbers), _score_matrix(column, held))
    column.numbers, column.ranked_at, column.revision = numbers.tobytes(), now, uuid4()
    column.save(update_fields=["numbers", "ranked_at", "revision"])


def sizes_of(numbers: columns.Numbers) -> np.ndarray:
    """[N] the sample sizes that ranks go by."""
    return effective_n(numbers["value"], numbers["low"], numbers["high"], np.maximum(numbers["n"], 1)).astype(np.int64)


def _score_matrix(column: Column, held: Slice) -> np.ndarray | None:
    """[Systems, samples] of the Column, NaN where one did not answer; None for metrics without stored scores. Samples that share
    a document are one, with their mean."""
    rows = list(
        CellScores.objects.filter(
            cell__suite=column.suite_id,
            cell__task=column.task,
            cell__metric=column.metric,
            cell__context_length=column.context_length,
            cell__hardware=column.hardware_id,
        )
        .order_by("cell__system_id")
        .values_list("cell__system_id", "seeds", "scores")
    )
    if not rows:
        return None
    sizes: dict[int, int] = {}
    for _, seeds, _ in rows:
        for seed, size in seeds:
            sizes[seed] = max(size, sizes.get(seed, 0))
    starts, total = {}, 0
    for seed in sorted(sizes):
        starts[seed], total = total, total + sizes[seed]
    matrix = np.full((len(held.systems), total), np.nan, np.float32)
    place = {int(system): at for at, system in enumerate(held.systems)}
    for system, seeds, packed in rows:
        scores, read = np.frombuffer(bytes(packed), "<f4"), 0
        for seed, size in seeds:
            matrix[place[system], starts[seed] : starts[seed] + size] = scores[read : read + size]
            read += size
    each = PER_DOCUMENT.get((column.suite.name, column.task), 1)
    if each > 1 and all(size % each == 0 for size in sizes.values()):
        return matrix.reshape(len(matrix), -1, each).mean(axis=2)
    return matrix


def _front_key(gain: Column) -> dict[str, Any]:
    return {
        "suite_id": gain.suite_id,
        "task": gain.task,
        "metric": gain.metric,
        "context_length": gain.context_length,
        "hardware_id": gain.hardware_id,
    }


def _front_entries(gain: Column, cost: Column, now: datetime) -> list[FrontEntry]:
    gains, costs = Slice.unpack(gain.systems, gain.numbers), Slice.unpack(cost.systems, cost.numbers)
    on, probability = front_of(gains.numbers, costs.at(gains.systems), cost.metric)
    return [
        FrontEntry(
            **_front_key(gain),
            cost_metric=cost.metric,
            system_id=int(gains.systems[at]),
            on_front=bool(on[at]),
            probability=float(probability[at]),
            updated_at=now,
        )
        for at in np.flatnonzero(on | (probability > 0))
    ]


def front_of(
    gains: columns.Numbers, costs: columns.Numbers, cost_metric: str, *, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    """(on the front, its probability) of aligned numbers; rows without both are on none."""
    gain = np.stack([gains["value"], gains["low"], gains["high"]], axis=1)
    cost = np.stack([costs["value"], costs["low"], costs["high"]], axis=1)
    if METRICS[cost_metric].higher_is_better:
        cost = -cost[:, [0, 2, 1]]
    return front(gain[:, 0], cost[:, 0]), membership(gain, cost, draws=draws)
