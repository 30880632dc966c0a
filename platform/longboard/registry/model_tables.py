"""A model's tables: costs by length, and what an architecture reached in training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.urls import reverse

from longboard.boards.marks import Mark, mark_of
from longboard.boards.models import Cell
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import System
from longboard.submissions.failures import FAILURE_WORDS
from longboard_tasks.catalogue.metrics import MetricInfo
from longboard_tasks.catalogue.suites import SuiteInfo


@dataclass(frozen=True, slots=True)
class EfficiencyLine:
    system: str
    mark: Mark
    length: str
    cells: tuple[tuple[Quantity | None, str], ...]


# Of what was trained from scratch, and of the clock of the same suite, which trains nothing.
TRAINED_METRICS = (
    "accuracy", "train_tokens_per_s", "train_peak_memory_bytes", "forward_tokens_per_s", "forward_peak_memory_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainedLine:
    """One task of a suite that trains. `cells`: number and its run's address, in the order of TRAINED_METRICS."""

    system: str
    mark: Mark
    task: str
    length: str
    note: str  # what the number is no part of
    failure: str  # of the latest Run, where no number came of any
    failure_url: str
    cells: tuple[tuple[Quantity | None, str], ...]


def quantity_of(cell: Cell) -> Quantity:
    return quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit)


def _own_part(system: System) -> str:
    """Its label without the model's title, which the page bears already: "bfloat16", "+ SnapKV 0.25 (float32)"."""
    rest = system.label.removeprefix(system.model.title).strip()
    return rest[1:-1] if rest.startswith("(") else rest


def efficiency_lines(
    cells: Iterable[Cell], systems: Mapping[int, System], metrics: tuple[MetricInfo, ...]
) -> tuple[EfficiencyLine, ...]:
    found = {(c.system_id, c.context_length, c.metric): c for c in cells}
    return tuple(
        EfficiencyLine(
            system=_own_part(systems[pk]),
            mark=mark_of(pk),
            length=length_label(length),
            cells=tuple(
                (quantity_of(c), reverse("run", args=[c.last_run_id]))
                if (c := found.get((pk, length, m.name)))
                else (None, "")
                for m in metrics
            ),
        )
        for pk, length in sorted({(pk, length) for pk, length, _ in found})
    )


ROLES = {"scored": "", "beside": "no part of the mean", "unranked": "never ranked"}


def trained_lines(
    cells: Iterable[Cell], failures: Iterable[Any], systems: Mapping[int, System], infos: Mapping[int, SuiteInfo]
) -> tuple[TrainedLine, ...]:
    """Task by task, in the suite's own order; the mean stands on its board. What failed and has no number says why."""
    found = {(c.system_id, c.suite_id, c.task, c.context_length, c.metric): c for c in cells}
    failed: dict[tuple[int, int, str, int], tuple[UUID, str]] = {}
    for system, suite, tasks, length, run, why in failures:
        failed[system, suite, tasks[0], length] = run, FAILURE_WORDS.get(why, "result rejected")
    lines = []
    for system, suite, task, length in sorted({key[:4] for key in found} | set(failed)):
        run, why = failed.get((system, suite, task, length), (None, ""))
        measured = any(key[:4] == (system, suite, task, length) for key in found)
        info = next((t for t in infos[suite].tasks if t.name == task), None)
        if info is None:
            continue
        own = [found.get((system, suite, task, length, metric)) for metric in TRAINED_METRICS]
        lines.append(
            (
                infos[suite].tasks.index(info),
                TrainedLine(
                    system=systems[system].label,
                    mark=mark_of(system),
                    task=info.title,
                    length=length_label(length),
                    note=ROLES[info.role],
                    failure="" if measured else why,
                    failure_url=reverse("run", args=[run]) if run and not measured else "",
                    cells=tuple(
                        (quantity_of(c), reverse("run", args=[c.last_run_id])) if c else (None, "") for c in own
                    ),
                ),
            )
        )
    return tuple(line for _, line in sorted(lines, key=lambda pair: pair[0]))
