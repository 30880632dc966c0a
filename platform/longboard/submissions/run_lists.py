"""Runs as lines of a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse

from longboard.quantities import ago_text, length_label
from longboard.registry.suites import suite_info
from longboard.results.dates import measured_at
from longboard.submissions.failures import FAILURE_WORDS
from longboard.submissions.models import Run


@dataclass(frozen=True, slots=True)
class RunLine:
    """A Run in a list."""

    id: UUID
    url: str
    what: str  # suite at length
    system: str
    pool: str
    state: str
    is_final: bool
    progress: str
    percent: int
    note: str  # failure in words
    when: str  # it was measured; without a result: it ended, began or was asked for


def run_lines(runs: QuerySet[Run], now: datetime) -> list[RunLine]:
    rows = list(runs.select_related("suite", "pool", "system__model", "system__method"))
    measured = measured_at(run.pk for run in rows if run.state == Run.State.ACCEPTED)
    return [
        RunLine(
            id=run.pk,
            url=reverse("run", args=[run.pk]),
            what=f"{what_of(run)} at {length_label(run.context_length)}",
            system=run.system.label,
            pool=run.pool.title,
            state=run.state,
            is_final=run.is_final,
            progress=f"{run.done} of {run.total}" if run.total and not run.is_final else "",
            percent=percent_of(run),
            note=FAILURE_WORDS.get(run.failure_class, run.failure_class),
            when=ago_text(measured.get(run.pk) or run.finished_at or run.started_at or run.created_at, now),
        )
        for run in rows
    ]


def what_of(run: Run) -> str:
    """The suite; of one that trains, with its task, which each Run has one of."""
    return f"{run.suite.label}/{run.tasks[0]}" if suite_info(run.suite).trains else run.suite.label


def latest_runs(runs: QuerySet[Run], now: datetime, *, most: int = 20) -> list[RunLine]:
    return run_lines(runs.order_by("-created_at", "-pk")[:most], now)


def percent_of(run: Run) -> int:
    if run.state == Run.State.ACCEPTED:
        return 100
    return min(100, 100 * run.done // run.total) if run.total else 0
