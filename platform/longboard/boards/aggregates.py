"""One number for a whole suite version: the mean of its tasks, raw and above chance, where every task was measured.

A set of tasks that lacks one is no mean: it is shown as partial and never ranked, since the missing tasks may be the hard ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from longboard.boards.clusters import document_of
from longboard.boards.metrics import MEAN, MEAN_ABOVE_CHANCE, WHOLE_SUITE, mean_length
from longboard.boards.models import Cell, CellScores
from longboard.boards.share_intervals import Evidence, evidence, interval
from longboard.results.models import Trust
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo
from longboard_tasks.intervals import Z95

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Part:
    """One task's number. `scores` [n], or None where `share` and `n` are all we know; `documents` [n]: equal keys share one."""

    share: float
    n: int
    chance: float = 0.0
    scores: Floats | None = None
    documents: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class Mean:
    value: float
    low: float
    high: float


def tasks_at(info: SuiteInfo, length: int) -> tuple[TaskInfo, ...]:
    """The tasks that a complete set has at a context length: all that can be asked in so many tokens.

    Of a suite whose tasks have a length each the set stands at the longest, and there it has them all.
    """
    at = mean_length(info)
    return tuple(
        t
        for t in info.tasks
        if t.name != WHOLE_SUITE
        and t.role == "scored"
        and "accuracy" in t.metrics
        and (length == at if at else t.least_context_length <= length)
    )


def means_of(parts: Sequence[Part]) -> tuple[Mean, Mean]:
    """The unweighted mean over tasks, raw and above chance (0) to all right (1), each with its 95 % interval.

    One score interval over all tasks (`share_intervals`), whatever their sample counts, documents and kinds of scores. Above
    chance each task weighs 1 / (1 - chance), and the mean is cut at 0 after it is taken, not task by task.
    """
    found = []
    seen = [_evidence(part) for part in parts]
    for base in ([0.0] * len(parts), [part.chance for part in parts]):
        weights = 1 / (len(parts) * (1 - np.array(base)))
        shift = float(weights @ base)
        value = float(weights @ [part.share for part in parts])
        found.append(_cut(*(end - shift for end in (value, *interval(seen, weights)))))
    return found[0], found[1]


def means_of_trained(parts: Sequence[tuple[tuple[float, float, float], float]]) -> tuple[Mean, Mean]:
    """As `means_of`, of tasks whose numbers (value, low, high), each with its chance, hold the spread over seeds already.

    The tasks are independent, so the arms of their intervals add as squares.
    """
    numbers, chance = np.array([number for number, _ in parts]), np.array([chance for _, chance in parts])[:, None]
    found = []
    for base in (np.zeros_like(chance), chance):
        value, low, high = _above(numbers, base).T
        mean, below, above = value.mean(), np.linalg.norm(value - low), np.linalg.norm(high - value)
        found.append(_cut(float(mean), float(mean - below / len(parts)), float(mean + above / len(parts))))
    return found[0], found[1]


def _above(share: Floats, chance: Floats) -> Floats:
    return (share - chance) / (1 - chance)


def _cut(*number: float) -> Mean:
    value, low, high = (min(1.0, max(0.0, float(x))) for x in number)
    return Mean(value, min(value, low), max(value, high))


def _evidence(part: Part) -> Evidence:
    return Evidence(part.share, part.n) if part.scores is None else evidence(part.scores, part.documents)


def effective_n(values: Floats, lows: Floats, highs: Floats, n: Floats) -> Floats:
    """How many independent yes-or-no samples would give each interval: what ranks and differences compare shares by.

    Wilson's interval is as wide for exactly one count. A mean over tasks varies less than a share of as many samples (its tasks
    differ), above chance it varies more, and so do samples that share documents. Where the width is that of no interval, n.
    """
    half = (highs - lows) / 2
    inside = (half > 0) & (half < 0.5) & (values >= 0) & (values <= 1)
    h2, z2, spread = np.where(inside, half, 0.25) ** 2, Z95**2, values * (1 - values)
    # Wilson's half-width, squared, is a quadratic in 1 / n.
    a, b = z2**2 * (h2 - 0.25), z2 * (2 * h2 - spread)
    return np.where(inside, np.clip(np.round(2 * a / (-b - np.sqrt(b**2 - 4 * a * h2))), 1, None), n)


def whole_suite_cells(cells: Iterable[Cell], info: SuiteInfo, *, now: datetime) -> list[tuple[Cell, CellScores | None]]:
    """The Cells of the means, unsaved, from the accuracy Cells of one System at one place (`scores` read with them).

    Empty when a task is missing. The means are trusted as their least trusted part. Where all tasks answered the same number of
    samples of each seed, the scores go along, task by task within a seed, so that Systems are compared sample by sample.
    """
    by_task = {cell.task: cell for cell in cells if cell.metric == "accuracy"}
    length = mean_length(info) or (next(iter(by_task.values())).context_length if by_task else 0)
    tasks = tasks_at(info, length)
    if len(tasks) < 2 or any(task.name not in by_task for task in tasks):
        return []
    own = [by_task[task.name] for task in tasks]
    if info.trains:
        means = means_of_trained(
            [((cell.value, cell.ci_low, cell.ci_high), task.chance) for task, cell in zip(tasks, own, strict=True)]
        )
    else:
        means = means_of([_part(info.name, task, cell) for task, cell in zip(tasks, own, strict=True)])
    last = max(own, key=lambda cell: (cell.updated_at, cell.pk or 0))
    made = [
        Cell(
            suite_id=last.suite_id,
            task=WHOLE_SUITE,
            metric=metric,
            context_length=length,
            hardware_id=last.hardware_id,
            system_id=last.system_id,
            value=mean.value,
            ci_low=mean.low,
            ci_high=mean.high,
            n=sum(cell.n for cell in own),
            unit="share",
            trust=min((cell.trust for cell in own), key=Trust.values.index),
            runs=sum(cell.runs for cell in own),
            last_run_id=last.last_run_id,
            updated_at=now,
        )
        for metric, mean in zip((MEAN, MEAN_ABOVE_CHANCE), means, strict=True)
    ]
    return [(made[0], None if info.trains else _joined(own)), (made[1], None)]


def _part(suite: str, task: TaskInfo, cell: Cell) -> Part:
    if not hasattr(cell, "scores"):
        return Part(cell.value, cell.n, task.chance)
    scores = np.frombuffer(bytes(cell.scores.scores), "<f4").astype(float)
    if abs(scores.mean() - cell.value) > 1e-4:  # runs without kept samples were pooled in: the share is what we know
        return Part(cell.value, cell.n, task.chance)
    keys = [document_of(suite, task.name, seed, i) for seed, size in cell.scores.seeds for i in range(size)]
    shared = len(set(keys)) < len(keys)
    return Part(cell.value, cell.n, task.chance, scores, keys if shared else None)


def _joined(cells: Sequence[Cell]) -> CellScores | None:
    if not all(hasattr(cell, "scores") and cell.scores.seeds == cells[0].scores.seeds for cell in cells):
        return None
    rows, parts, start = [np.frombuffer(bytes(cell.scores.scores), "<f4") for cell in cells], [], 0
    for _, size in cells[0].scores.seeds:
        parts += [row[start : start + size] for row in rows]
        start += size
    seeds = [[seed, size * len(cells)] for seed, size in cells[0].scores.seeds]
    return CellScores(seeds=seeds, scores=np.concatenate(parts).tobytes())
