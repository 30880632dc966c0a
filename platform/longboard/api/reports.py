"""Routes for self-reported results: post, read, withdraw."""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Path, Query, Router, Status

from longboard.api.auth import REPORTER, PersonRequest
from longboard.api.paging import next_cursor, position_of
from longboard.api.schemas.base import Error
from longboard.api.schemas.reports import ReportedNumberOut, ReportOut, ReportPageOut, WithdrawIn
from longboard.errors import NotFound
from longboard.reports.models import Report
from longboard.reports.queries import find_report, report_url
from longboard.reports.requests import ReportRequest
from longboard.reports.services import post_report, withdraw_report

router = Router(tags=["people"])

PAGE = 20
ReportId = Annotated[int, Path(ge=1, lt=2**63)]
REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 422), Error)
NOT_FOUND: dict[int, Any] = dict.fromkeys((400, 404, 422), Error)


@router.post("/reports", response={200: ReportOut, 201: ReportOut, **REFUSALS}, auth=REPORTER)
def create_report(request: PersonRequest, body: ReportRequest) -> Any:
    """Posts self-reported results of a System of yours: a model that you registered, or one that you submitted here.

    They are shown to readers who ask for that trust level, marked, and never ranked among measured ones. A token of the scope
    `report` is enough. With `idempotency_key` the same report again answers 200 with the first; a new one answers 201.
    """
    report, created = post_report(author=request.auth, request=body, now=timezone.now())
    return Status(201 if created else 200, _report(report))


@router.get("/reports", response={200: ReportPageOut, **NOT_FOUND})
def list_reports(
    request: HttpRequest,
    system: str = "",
    author: str = "",
    cursor: str = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> Any:
    """Every report, withdrawn ones too, oldest first, by keyset pages."""
    rows = Report.objects.select_related("system", "author", "hardware").prefetch_related("numbers__suite")
    wanted = {"system__slug": system, "author__username": author}
    rows = rows.filter(**{key: value.replace("\x00", "") for key, value in wanted.items() if value})
    page = list(rows.filter(pk__gt=int(position_of("reports", cursor) or 0)).order_by("pk")[: limit + 1])
    return ReportPageOut(items=[_report(row) for row in page[:limit]], next=next_cursor("reports", page, limit))


@router.get("/reports/{report_id}", response={200: ReportOut, **NOT_FOUND})
def read_report(request: HttpRequest, report_id: ReportId) -> Any:
    return _report(_find(report_id))


@router.post("/reports/{report_id}/withdraw", response={200: ReportOut, **REFUSALS}, auth=REPORTER)
def withdraw(request: PersonRequest, report_id: ReportId, body: WithdrawIn) -> Any:
    """Takes its numbers off the boards; the report stays to be read, marked as withdrawn. A second call changes nothing."""
    row = withdraw_report(report=_find(report_id), actor=request.auth, because=body.because, now=timezone.now())
    return _report(row)


def _find(report_id: int) -> Report:
    row = find_report(report_id)
    if row is None:
        raise NotFound(f"There is no report {report_id}.")
    return row


def _report(row: Report) -> ReportOut:
    return ReportOut(
        id=row.pk,
        author=row.author.username,
        system=row.system.slug,
        trust=row.trust,
        hardware=row.hardware_text,
        hardware_slug=row.hardware.slug if row.hardware else "",
        source=row.source_url,
        note=row.note,
        created_at=row.created_at,
        withdrawn_at=row.withdrawn_at,
        withdrawn_because=row.withdrawn_because,
        numbers=[
            ReportedNumberOut(
                suite=number.suite.label,
                task=number.task,
                metric=number.metric,
                context_length=number.context_length,
                value=number.value,
                ci_low=number.ci_low,
                ci_high=number.ci_high,
                n=number.n,
                unit=number.unit,
            )
            for number in row.numbers.all()
        ],
        url=f"{settings.SITE_URL}{report_url(row.pk)}",
    )
