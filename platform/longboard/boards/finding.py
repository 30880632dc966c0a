"""Which board an address names, and a version of it that changes whenever its numbers may have changed. One statement."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db.models import OuterRef, Subquery
from django.urls import reverse

from longboard.boards.choices import Choice
from longboard.boards.metrics import board_info, cost_task
from longboard.boards.models import Column
from longboard.boards.sources import CostPlace
from longboard.boards.systems import version_of, version_subqueries
from longboard.fleet.models import Hardware
from longboard.registry.models import Suite
from longboard.registry.suites import suite_info
from longboard.reports.models import Report
from longboard.submissions.models import Run
from longboard_tasks.catalogue.suites import SuiteInfo


@dataclass(frozen=True, slots=True)
class Found:
    """A board's suite, what it can show, and a version that changes whenever its numbers may have changed."""

    suite: Suite
    info: SuiteInfo
    efficiency_id: int  # 0: there is none
    suites: tuple[Choice, ...]
    systems_version: str
    version: str

    def cost_place(self, task: str) -> CostPlace:
        """Where the costs beside a task's accuracy are: suites that train have their own."""
        return CostPlace(self.suite.pk if self.info.trains else self.efficiency_id, cost_task(self.info, task))


def find_board(name: str) -> Found | None:
    """The accuracy suite called `name` (its current version) or `name@version`; None when there is none. One statement."""
    rows = list(_suites())
    wanted = next((s for s in rows if name == s.label or (name == s.name and s.is_current)), None)
    if wanted is None or wanted.kind != "accuracy":
        return None
    efficiency = next((s for s in rows if s.kind == "efficiency" and s.is_current), None)
    return Found(
        suite=wanted,
        info=board_info(suite_info(wanted)),
        efficiency_id=efficiency.pk if efficiency else 0,
        suites=tuple(
            Choice(s.name, s.title, s == wanted, url=reverse("board", args=[s.name]))
            for s in rows
            if s.kind == "accuracy" and s.is_current
        ),
        systems_version=version_of(wanted),
        version="/".join(f"{s.last_column}/{s.last_queued}/{s.last_ended}" for s in (wanted, efficiency or wanted))
        + f"/{wanted.last_price}/{wanted.last_report}/{wanted.last_withdrawn}/{version_of(wanted)}",
    )


def first_board() -> Found | None:
    """The board that the home page shows."""
    first = Suite.objects.filter(kind="accuracy", is_current=True).order_by("pk").values_list("name", flat=True).first()
    return find_board(first) if first else None


def _suites() -> Any:
    return Suite.objects.raw(*_statement())


@cache
def _statement() -> tuple[str, tuple[Any, ...]]:
    """All suites, with what tells whether anything of a board may have changed: its newest Column, the newest Run, the last to
    end, reports and prices. Put together once a process: it has no parameter of a request, and putting it together took three
    quarters of what finding a board costs (3.0 of 4.1 ms CPU).
    """
    runs = Run.objects.filter(suite=OuterRef("pk"))
    rows = Suite.objects.annotate(
        last_column=Subquery(
            Column.objects.filter(suite=OuterRef("pk")).order_by("-updated_at").values("updated_at")[:1]
        ),
        last_queued=Subquery(runs.order_by("-queued_at").values("queued_at")[:1]),
        last_ended=Subquery(runs.filter(finished_at__isnull=False).order_by("-finished_at").values("finished_at")[:1]),
        last_report=Subquery(Report.objects.order_by("-created_at").values("created_at")[:1]),
        last_withdrawn=Subquery(
            Report.objects.filter(withdrawn_at__isnull=False).order_by("-withdrawn_at").values("withdrawn_at")[:1]
        ),
        last_price=Subquery(Hardware.objects.order_by("-updated_at").values("updated_at")[:1]),
        **version_subqueries(),
    )
    return rows.query.sql_with_params()
