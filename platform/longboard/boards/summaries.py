"""Writes the summaries that pages read: Cells, then the fronts that those Cells touch. In the accepting transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from longboard.boards.fronts import Axis, Point, front, membership
from longboard.boards.models import Cell, FrontEntry
from longboard.fleet.models import Hardware
from longboard.registry.models import Suite
from longboard.results.models import Measurement
from longboard.submissions.models import Run
from longboard_tasks.catalogue import COST_METRICS, COST_TASK, METRICS
from longboard_tasks.intervals import wilson


def update_summaries(*, run: Run, now: datetime) -> None:
    """Recomputes the Cells of one accepted Run's key and every front at its context length and hardware.

    The hardware row is locked, so that two Runs accepted at once do not overwrite each other's summary.
    """
    Hardware.objects.select_for_update().get(pk=run.pool.hardware_id)
    rows = (
        Measurement.objects.filter(
            system=run.system_id,
            hardware=run.pool.hardware_id,
            suite=run.suite_id,
            context_length=run.context_length,
            depth=None,
        )
        .select_related("run")
        .order_by("pk")
    )
    groups: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[row.task, row.metric].append(row)
    for (task, metric), measurements in groups.items():
        value, ci_low, ci_high, n = pool_measurements(measurements)
        Cell.objects.update_or_create(
            suite_id=run.suite_id,
            task=task,
            metric=metric,
            context_length=run.context_length,
            hardware_id=run.pool.hardware_id,
            system_id=run.system_id,
            defaults={
                "value": value,
                "ci_low": ci_low,
                "ci_high": ci_high,
                "n": n,
                "unit": measurements[-1].unit,
                "trust": measurements[-1].trust,
                "runs": len(measurements),
                "last_run": run,
                "updated_at": now,
            },
        )
    rebuild_fronts(hardware=run.pool.hardware, context_length=run.context_length, now=now)


def pool_measurements(measurements: Sequence[Measurement]) -> tuple[float, float, float, int]:
    """One number of all accepted Runs of a key. Shares pool their samples, and no Run is dropped for being worse.

    Speeds and sizes are taken from the latest Run: its software is the one that a reader would meet today.
    Runs of one seed ask the same samples again, so only distinct seeds add to n.
    """
    latest = measurements[-1]
    if latest.unit != "share":
        return latest.value, latest.ci_low, latest.ci_high, latest.n
    by_seed: dict[int, list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        by_seed[measurement.run.seed].append(measurement)
    means = [
        (sum(m.value * m.n for m in same) / sum(m.n for m in same), max(m.n for m in same)) for same in by_seed.values()
    ]
    n = sum(size for _, size in means)
    share = min(1.0, max(0.0, sum(mean * size for mean, size in means) / n))
    low, high = wilson(share, n)
    return share, low, high, n


def rebuild_fronts(*, hardware: Hardware, context_length: int, now: datetime) -> None:
    """Every (accuracy suite, task) x cost metric at one length and hardware, over Systems that have both numbers."""
    cells = Cell.objects.filter(
        hardware=hardware, context_length=context_length, suite__is_current=True
    ).select_related("suite")
    gains: dict[tuple[Suite, str], dict[int, Cell]] = defaultdict(dict)
    costs: dict[str, dict[int, Cell]] = defaultdict(dict)
    for cell in cells:
        if cell.metric == "accuracy":
            gains[cell.suite, cell.task][cell.system_id] = cell
        elif cell.task == COST_TASK and cell.metric in COST_METRICS:
            costs[cell.metric][cell.system_id] = cell
    for (suite, task), by_system in gains.items():
        for cost_metric, cost_by_system in costs.items():
            both = by_system.keys() & cost_by_system.keys()
            points = [_point(system, by_system[system], cost_by_system[system]) for system in sorted(both)]
            key = {
                "suite": suite,
                "task": task,
                "metric": "accuracy",
                "cost_metric": cost_metric,
                "context_length": context_length,
                "hardware": hardware,
            }
            _store_front(key, points, now)


def _point(system_id: int, gain: Cell, cost: Cell) -> Point[int]:
    axis = Axis(cost.value, cost.ci_low, cost.ci_high)
    if METRICS[cost.metric].higher_is_better:
        axis = Axis(-cost.value, -cost.ci_high, -cost.ci_low)
    return Point(key=system_id, gain=Axis(gain.value, gain.ci_low, gain.ci_high), cost=axis)


def _store_front(key: dict, points: Iterable[Point[int]], now: datetime) -> None:
    points = list(points)
    on_front = front([(p.key, p.gain.value, p.cost.value) for p in points])
    probability = membership(points)
    FrontEntry.objects.bulk_create(
        [
            FrontEntry(
                **key,
                system_id=point.key,
                on_front=point.key in on_front,
                probability=probability[point.key],
                updated_at=now,
            )
            for point in points
        ],
        update_conflicts=True,
        unique_fields=["suite", "task", "metric", "cost_metric", "context_length", "hardware", "system"],
        update_fields=["on_front", "probability", "updated_at"],
    )
