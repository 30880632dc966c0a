"""Writes the summaries that pages read: Cells and their history, means over suites, Columns; then ranks and fronts (`ranking`).

Cells and Columns are written in the transaction that accepts a result. Ranks and fronts of small boards too; those of boards
with more than INLINE Systems by a job right after it (`refresh_due`), and until then pages work them out themselves.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import fmean

import numpy as np
from django.db import transaction
from django.db.models import Count

from longboard.boards import columns
from longboard.boards.aggregates import whole_suite_cells
from longboard.boards.clusters import PER_DOCUMENT, document_of
from longboard.boards.metrics import mean_length
from longboard.boards.models import Cell, CellScores, PastCell
from longboard.boards.ranking import refresh
from longboard.boards.share_intervals import evidence, interval
from longboard.fleet.models import Hardware
from longboard.registry.models import Suite
from longboard.registry.suites import suite_info
from longboard.results.models import Measurement, Sample
from longboard.submissions.models import Run
from longboard_tasks.intervals import wilson
from longboard_tasks.suites.lra.summary import MOST_SEEDS, seeds_interval

INLINE = 400  # Systems of a board: up to here the accepting transaction does all of it, about 10 ms a front
HISTORY = ("system_id", "hardware_id", "suite_id", "task", "metric", "context_length", "value", "ci_low", "ci_high", "n",
           "unit", "trust", "runs", "last_run_id")  # fmt: skip


def update_summaries(*, run: Run, now: datetime, rank: bool = True) -> None:
    """Recomputes the Cells of one accepted Run's key, and what follows from them; without `rank`, ranks and fronts stay due.

    The hardware row is locked, so that two Runs accepted at once do not overwrite each other's summary.
    """
    Hardware.objects.select_for_update().get(pk=run.pool.hardware_id)
    write_tasks(run.suite, run.system_id, run.pool.hardware_id, run.context_length, now=now)
    write_means(run.suite, run.system_id, run.pool.hardware_id, run.context_length, now=now)
    if not rank:
        return
    # A mean over tasks with a length each may stand at another length than this Run's.
    lengths = {run.context_length, mean_length(suite_info(run.suite)) or run.context_length}
    done = [refresh(hardware=run.pool.hardware, context_length=n, now=now, most=INLINE) for n in sorted(lengths)]
    if not all(done):
        transaction.on_commit(_ask_for_the_rest, robust=True)


def write_tasks(suite: Suite, system_id: int, hardware_id: int, context_length: int, *, now: datetime) -> int:
    """The Cells of single tasks at one place from all its Measurements. Returns how many were written."""
    rows = (
        Measurement.objects.filter(
            system=system_id, hardware=hardware_id, suite=suite, context_length=context_length, depth=None
        )
        .select_related("run")
        .order_by("pk")
    )
    groups: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[row.task, row.metric].append(row)
    trains = suite_info(suite).trains
    # Trainings from other seeds are other models: sample by sample they say nothing about another System's.
    scores = {} if trains else _scores_by_task(rows)
    cells = []
    for (task, metric), measurements in groups.items():
        value, ci_low, ci_high, n = (pool_trainings if trains else pool_measurements)(measurements)
        if metric == "accuracy" and (by_seed := scores.get(task)):
            known = np.concatenate(list(by_seed.values()))
            if (
                len(known) == n and abs(float(known.mean()) - value) < 1e-4
            ):  # else some Runs have no samples: n is what we know
                ci_low, ci_high = _interval(suite.name, task, by_seed)
                ci_low, ci_high = min(value, ci_low), max(value, ci_high)
        cells.append(
            Cell(
                suite_id=suite.pk,
                task=task,
                metric=metric,
                context_length=context_length,
                hardware_id=hardware_id,
                system_id=system_id,
                value=value,
                ci_low=ci_low,
                ci_high=ci_high,
                n=n,
                unit=measurements[-1].unit,
                trust=measurements[-1].trust,
                runs=len(measurements),
                last_run=measurements[-1].run,
                updated_at=now,
            )
        )
    for cell in write_cells(cells, now=now):
        if cell.metric == "accuracy" and (by_seed := scores.get(cell.task)):
            _store_scores(cell, by_seed)
    return len(cells)


def write_means(suite: Suite, system_id: int, hardware_id: int, context_length: int, *, now: datetime) -> int:
    """The means over the whole suite at one place, if every task has its number there. Returns how many Cells were written."""
    info = suite_info(suite)
    where = {"suite": suite, "system": system_id, "hardware": hardware_id}
    if not mean_length(info):
        where["context_length"] = context_length
    cells = list(Cell.objects.filter(**where, metric="accuracy").select_related("scores").order_by("task"))
    made = whole_suite_cells(cells, info, now=now)
    for (_, scores), cell in zip(made, write_cells([cell for cell, _ in made], now=now), strict=True):
        if scores is not None:
            CellScores.objects.update_or_create(cell=cell, defaults={"seeds": scores.seeds, "scores": scores.scores})
    return len(made)


def rebuild_tasks(*, now: datetime) -> int:
    """The Cells of single tasks of every place that has Measurements, as the rules of today make them from those. Cells without
    a Measurement stay. Returns how many were written; what has not changed keeps its date (`write_cells`)."""
    suites = {suite.pk: suite for suite in Suite.objects.all()}
    fields = ("suite_id", "system_id", "hardware_id", "context_length")
    places = Measurement.objects.filter(depth=None).order_by(*fields).values_list(*fields).distinct()
    written = 0
    for suite_id, system, hardware, length in list(places):
        with transaction.atomic():
            Hardware.objects.select_for_update().get(pk=hardware)
            written += write_tasks(suites[suite_id], system, hardware, length, now=now)
    return written


def rebuild_means(*, now: datetime) -> int:
    """The means of every place from its Cells. For a site whose Cells came from elsewhere, and for one from before there were
    means. Returns how many Cells were written."""
    suites = {suite.pk: suite for suite in Suite.objects.filter(kind="accuracy")}
    fields = ("suite_id", "system_id", "hardware_id", "context_length")
    places = Cell.objects.filter(suite__in=suites, metric="accuracy").order_by(*fields).values_list(*fields)
    written = 0
    lengths = {pk: mean_length(suite_info(suite)) for pk, suite in suites.items()}
    for suite_id, system, hardware, length, tasks in places.annotate(tasks=Count("pk")).values_list(*fields, "tasks"):
        if length == lengths[suite_id] or (tasks > 1 and not lengths[suite_id]):
            written += write_means(suites[suite_id], system, hardware, length, now=now)
    return written


def _ask_for_the_rest() -> None:
    """Wakes the job now; if the broker is away, the job's own schedule does it within SWEEP_S."""
    from longboard.boards.jobs import refresh_boards

    refresh_boards.apply_async(retry=False)


def write_cells(cells: Iterable[Cell], *, now: datetime) -> list[Cell]:
    """Stores Cells with their history and their Columns. Whoever changes a Cell, its trust included, does it through here.

    One that says what it said keeps its date: a board as of an earlier moment still has it.
    """
    stored, known = [], {}
    for cell in cells:
        place = (cell.suite_id, cell.context_length, cell.hardware_id, cell.system_id)
        if place not in known:
            names = ("suite", "context_length", "hardware", "system")
            rows = Cell.objects.filter(**dict(zip(names, place, strict=True)))
            known[place] = {(row.task, row.metric): row for row in rows}
        before = known[place].get((cell.task, cell.metric))
        cell.updated_at = now
        if before is not None:
            if any(getattr(before, name) != getattr(cell, name) for name in HISTORY):
                PastCell.objects.create(
                    **{name: getattr(before, name) for name in HISTORY}, since=before.updated_at, until=now
                )
            else:
                cell.updated_at = before.updated_at
            cell.pk = before.pk
        cell.save(force_insert=before is None, force_update=before is not None)
        stored.append(cell)
    columns.put(stored, now=now)
    return stored


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


def pool_trainings(measurements: Sequence[Measurement]) -> tuple[float, float, float, int]:
    """One number of all accepted Runs of a key that trained: of Runs with one first seed the latest, of the others their mean.

    Every Run asks the same test split, so n does not add up. The interval of one Run is its own; of several,
    Student's over their means and the mean of their own add as squares, as seeds and test split do in one Run.
    """
    latest = measurements[-1]
    runs = list({measurement.run.seed: measurement for measurement in measurements}.values())
    if latest.unit != "share" or len(runs) == 1 or len(runs) > MOST_SEEDS:
        return latest.value, latest.ci_low, latest.ci_high, latest.n
    value, low, high = seeds_interval([run.value for run in runs], latest.n)
    below = value - fmean(run.value - run.ci_low for run in runs)
    above = value + fmean(run.ci_high - run.value for run in runs)
    below, above = math.hypot(value - low, value - below), math.hypot(high - value, above - value)
    return value, max(0.0, value - below), min(1.0, value + above), latest.n


def _scores_by_task(rows: Iterable[Measurement]) -> dict[str, dict[int, np.ndarray]]:
    """task -> seed -> score of each sample; Runs of one seed are averaged sample by sample."""
    seeds = {row.run_id: row.run.seed for row in rows if row.metric == "accuracy"}
    found: dict[str, dict[int, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    samples = Sample.objects.filter(run__in=list(seeds)).order_by("pk")
    for run_id, task, index, score in samples.values_list("run_id", "task", "index", "score"):
        found[task][seeds[run_id]][index].append(score)
    return {
        task: {
            seed: np.array([np.mean(by_index[index]) for index in range(max(by_index) + 1)])
            for seed, by_index in by_seed.items()
            if len(by_index) == max(by_index) + 1
        }
        for task, by_seed in found.items()
    }


def _interval(suite: str, task: str, by_seed: dict[int, np.ndarray]) -> tuple[float, float]:
    shared = (suite, task) in PER_DOCUMENT
    keys = [document_of(suite, task, seed, index) for seed, scores in by_seed.items() for index in range(len(scores))]
    return interval([evidence(np.concatenate(list(by_seed.values())), keys if shared else None)])


def _store_scores(cell: Cell, by_seed: dict[int, np.ndarray]) -> None:
    seeds = sorted(by_seed)
    CellScores.objects.update_or_create(
        cell=cell,
        defaults={
            "seeds": [[seed, len(by_seed[seed])] for seed in seeds],
            "scores": np.concatenate([by_seed[seed] for seed in seeds]).astype("<f4").tobytes(),
        },
    )
