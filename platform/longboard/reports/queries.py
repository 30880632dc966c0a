"""Reads of reports: for pages and the API, and the live numbers that boards ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.urls import reverse

from longboard.boards.metrics import METRICS
from longboard.quantities import Quantity, length_label, quantity
from longboard.reports.models import Report, ReportedNumber


def live_numbers(at: datetime | None = None, **where: Any) -> QuerySet[ReportedNumber]:
    """Numbers of reports that stood at a moment (None: that stand now), older reports first: a later one takes its place."""
    rows = ReportedNumber.objects.filter(**where)
    if at is None:
        rows = rows.filter(report__withdrawn_at=None)
    else:
        rows = rows.filter(Q(report__withdrawn_at=None) | Q(report__withdrawn_at__gt=at), report__created_at__lte=at)
    return rows.order_by("report_id", "pk")


@cache
def _pattern() -> str:
    return reverse("report", args=[0])


def report_url(report_id: int) -> str:
    return _pattern().replace("/0/", f"/{report_id}/")


@dataclass(frozen=True, slots=True)
class NumberLine:
    suite: str
    task: str
    metric: str
    length: str
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class ReportPage:
    report: Report
    system_url: str
    hardware: str
    numbers: tuple[NumberLine, ...]
    may_withdraw: bool


@dataclass(frozen=True, slots=True)
class ReportLine:
    url: str
    system: str
    author: str
    hardware: str
    numbers: int
    when: str
    withdrawn: str  # a date; empty while it stands


def find_report(report_id: int) -> Report | None:
    rows = Report.objects.select_related("system__model", "system__method", "author", "hardware")
    rows = rows.prefetch_related("numbers__suite")
    return rows.filter(pk=report_id).first() if report_id < 2**63 else None


def report_page(report: Report, viewer: Any) -> ReportPage:
    """Of a report that `find_report` gave: no statement more."""
    return ReportPage(
        report=report,
        system_url=reverse("system", args=[report.system.slug]),
        hardware=report.hardware.title if report.hardware else "",
        numbers=tuple(number_lines(report.numbers.all())),
        may_withdraw=report.withdrawn_at is None and (viewer.is_staff or viewer.pk == report.author_id),
    )


def number_lines(rows: Iterable[ReportedNumber]) -> Iterable[NumberLine]:
    for row in rows:
        yield NumberLine(
            suite=row.suite.label,
            task=row.task,
            metric=METRICS[row.metric].title if row.metric in METRICS else row.metric,
            length=length_label(row.context_length),
            quantity=quantity(row.value, row.ci_low, row.ci_high, n=row.n, unit=row.unit),
        )


def report_lines(rows: QuerySet[Report], *, most: int = 50) -> list[ReportLine]:
    """The newest first. One statement."""
    rows = rows.select_related("system__model", "system__method", "author").annotate(size=Count("numbers"))
    return [
        ReportLine(
            url=report_url(row.pk),
            system=row.system.label,
            author=row.author.username,
            hardware=row.hardware_text,
            numbers=row.size,
            when=f"{row.created_at:%Y-%m-%d}",
            withdrawn=f"{row.withdrawn_at:%Y-%m-%d}" if row.withdrawn_at else "",
        )
        for row in rows.order_by("-pk")[:most]
    ]
