"""One System: what it is, its numbers of today, and every number that it ever had here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import reverse

from longboard.boards.board_rows import model_url
from longboard.boards.exports import Table
from longboard.boards.marks import Mark, mark_of
from longboard.boards.metrics import METRICS
from longboard.boards.models import Cell, PastCell
from longboard.boards.reasons import run_url
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import System
from longboard.reports.models import Report
from longboard.reports.queries import ReportLine, report_lines
from longboard.results.dates import measured_at

HISTORY = 200  # lines shown; the export has all


@dataclass(frozen=True, slots=True)
class Entry:
    """A number: when it was measured, and from when it was shown here until another took its place."""

    suite: str
    task: str
    metric: str
    length: str
    hardware: str
    quantity: Quantity
    trust: str
    measured: str  # the day
    since: str
    until: str  # empty: it stands
    run_url: str


@dataclass(frozen=True, slots=True)
class SystemPage:
    system: System
    mark: Mark
    facts: tuple[tuple[str, str], ...]
    model_url: str
    current: tuple[Entry, ...]
    history: tuple[Entry, ...]
    past: int
    reports: tuple[ReportLine, ...]  # what its own people say of it
    board_url: str
    exports: dict[str, str]
    table: Table


def system_page(slug: str) -> SystemPage | None:
    """Five statements."""
    system = System.objects.filter(slug=slug).select_related("model", "method").first()
    if system is None:
        return None
    order = ("suite__name", "-suite__version", "task", "metric", "hardware__title", "context_length")
    cells = list(Cell.objects.filter(system=system).select_related("suite", "hardware").order_by(*order))
    past = list(
        PastCell.objects.filter(system=system).select_related("suite", "hardware").order_by("-until", "-pk")[:10_000]
    )
    measured = measured_at([c.last_run_id for c in cells] + [c.last_run_id for c in past])
    accuracy = next((c for c in cells if c.suite.kind == "accuracy"), None)
    return SystemPage(
        system=system,
        mark=mark_of(system.pk),
        facts=(
            ("Method", system.method.title),
            *((("Budget", f"{system.budget:g} of the cache kept"),) if system.method.takes_budget else ()),
            ("Precision", system.dtype),
            ("Attention", system.attention),
            ("Kernels", system.kernels),
            ("Digest", system.digest[:16]),
        ),
        model_url=model_url(system.model.slug),
        current=tuple(_entry(c, measured, since=c.updated_at, until=None) for c in cells),
        history=tuple(_entry(c, measured, since=c.since, until=c.until) for c in past[:HISTORY]),
        past=len(past),
        reports=tuple(report_lines(Report.objects.filter(system=system))),
        board_url=_board_url(accuracy) if accuracy else "",
        exports={kind: reverse("system-table", args=[slug, kind]) for kind in ("csv", "json", "parquet")},
        table=_table(system, cells, past, measured),
    )


def _board_url(cell: Cell) -> str:
    board = reverse("board", args=[cell.suite.label])
    return f"{board}?hardware={cell.hardware.slug}&length={cell.context_length}"


def _entry(cell: Any, measured: Mapping[UUID, datetime], *, since: Any, until: Any) -> Entry:
    return Entry(
        suite=cell.suite.label,
        task=cell.task,
        metric=METRICS[cell.metric].title if cell.metric in METRICS else cell.metric,
        length=length_label(cell.context_length),
        hardware=cell.hardware.title,
        quantity=quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit),
        trust=cell.trust,
        measured=f"{measured[cell.last_run_id]:%Y-%m-%d}" if cell.last_run_id in measured else "",
        since=f"{since:%Y-%m-%d %H:%M}",
        until=f"{until:%Y-%m-%d %H:%M}" if until else "",
        run_url=run_url(cell.last_run_id),
    )


def _table(system: System, cells: Sequence[Cell], past: Sequence[PastCell], measured: Mapping[UUID, datetime]) -> Table:
    columns = {
        "system": "text", "suite": "text", "task": "text", "metric": "text", "context_length": "whole", "hardware": "text",
        "value": "number", "ci_low": "number", "ci_high": "number", "n": "whole", "unit": "text", "trust": "text",
        "measured": "text", "since": "text", "until": "text",
    }  # fmt: skip

    def rows() -> Iterator[Sequence[Any]]:
        lines: list[tuple[Any, Any, Any]] = [(c, c.updated_at, None) for c in cells]
        for c, since, until in lines + [(c, c.since, c.until) for c in past]:
            at = measured[c.last_run_id].isoformat() if c.last_run_id in measured else None
            yield (system.slug, c.suite.label, c.task, c.metric, c.context_length, c.hardware.slug, c.value, c.ci_low,
                   c.ci_high, c.n, c.unit, c.trust, at, since.isoformat(), until.isoformat() if until else None)  # fmt: skip

    return Table(columns, rows(), {"system": system.slug})
