"""Reports in and out: checked against the catalogue, bounded by quotas, withdrawn by their author."""

from __future__ import annotations

import logging
import math
from datetime import datetime, timedelta

from longboard.accounts.models import User
from longboard.boards.board_view import rankable_metrics
from longboard.boards.metrics import METRICS
from longboard.errors import BadRequest, NotAllowed, QuotaExceeded
from longboard.fleet.models import Hardware
from longboard.registry.models import Model, Suite, System
from longboard.registry.services import find_model, system_for
from longboard.registry.suites import suite_info
from longboard.repeats import stored_once
from longboard.reports.models import Report, ReportedNumber
from longboard.reports.requests import NumberIn, ReportRequest
from longboard.submissions.models import Submission
from longboard_tasks.catalogue.suites import SuiteInfo
from longboard_tasks.contract import MethodRef, Runtime

log = logging.getLogger(__name__)

REPORTS_A_DAY = 20
NUMBERS_A_MONTH = 5_000
DAY, MONTH = timedelta(days=1), timedelta(days=30)


def post_report(*, author: User, request: ReportRequest, now: datetime) -> tuple[Report, bool]:
    """Stores a report with all its numbers, or nothing of it.

    The same idempotency key with the same request gives the first Report and False; with another it raises Conflict. Raises
    NotAllowed for a System that is not the author's, QuotaExceeded, and BadRequest or NotFound with the field at fault.
    """
    report, is_new = stored_once(
        Report, author=author, request=request, create=lambda digest: _create(author, request, digest, now)
    )
    if is_new:
        log.info("report stored", extra={"report": report.pk, "numbers": len(request.numbers)})
    return report, is_new


def withdraw_report(*, report: Report, actor: User, because: str, now: datetime) -> Report:
    """Takes its numbers off the boards; the report stays and says so. A second call changes nothing."""
    if report.author_id != actor.pk and not actor.is_staff:
        raise NotAllowed("Only its author and staff can withdraw a report.")
    changed = Report.objects.filter(pk=report.pk, withdrawn_at=None).update(
        withdrawn_at=now, withdrawn_because=because.replace("\x00", "").strip()[:300]
    )
    if changed:
        log.info("report withdrawn", extra={"report": report.pk})
    report.refresh_from_db()
    return report


def may_report(author: User, model: Model) -> bool:
    """One's own: the owner of the model, and who has submitted a System of it here. Staff may correct anything."""
    return (
        author.is_staff
        or model.owner_id == author.pk
        or Submission.objects.filter(author=author, system__model=model).exists()
    )


def _create(author: User, request: ReportRequest, digest: str, now: datetime) -> Report:
    model = find_model(request.model)
    if not may_report(author, model):
        raise NotAllowed(
            f'"{model.slug}" is not yours to report on: register the model yourself, or submit a system of it first.',
            field="model",
        )
    _check_quota(author, len(request.numbers), now)
    checked = _check_numbers(request.numbers, model)
    system = system_for(
        model=model,
        method=MethodRef(name=request.method, budget=request.budget, settings=request.settings),
        runtime=Runtime(dtype=request.dtype),
    )
    report = Report.objects.create(
        author=author,
        system=system,
        hardware_text=request.hardware,
        hardware=_named_hardware(request.hardware),
        source_url=request.source,
        note=request.note,
        idempotency_key=request.idempotency_key,
        request_digest=digest,
        created_at=now,
    )
    ReportedNumber.objects.bulk_create(_row(report, system, number, suite) for number, suite in checked)
    return report


def _named_hardware(text: str) -> Hardware | None:
    """The spec sheet that the text names, by slug or title: a speed stands on a board only where it names its hardware."""
    return Hardware.objects.filter(slug=text.lower()).first() or Hardware.objects.filter(title__iexact=text).first()


def _check_quota(author: User, wanted: int, now: datetime) -> None:
    """Locks the author's row, so that two reports at once cannot both fit."""
    User.objects.select_for_update().get(pk=author.pk)
    today = Report.objects.filter(author=author, created_at__gt=now - DAY).count()
    if today >= REPORTS_A_DAY:
        raise QuotaExceeded(f"You have reported {today} times in 24 hours, which is the most. Go on tomorrow.")
    month = ReportedNumber.objects.filter(report__author=author, report__created_at__gt=now - MONTH).count()
    if month + wanted > NUMBERS_A_MONTH:
        raise QuotaExceeded(
            f"You have reported {month} numbers in 30 days; {wanted} more exceed {NUMBERS_A_MONTH}.", field="numbers"
        )


def _check_numbers(numbers: tuple[NumberIn, ...], model: Model) -> list[tuple[NumberIn, Suite]]:
    suites = {
        key: row for row in Suite.objects.all() for key in ((row.name, row.label) if row.is_current else (row.label,))
    }
    infos = {row.pk: suite_info(row) for row in set(suites.values())}
    seen, checked = set(), []
    for at, number in enumerate(numbers):
        field = f"numbers/{at}"
        suite = suites.get(number.suite)
        if suite is None:
            raise BadRequest(
                f'Suite "{number.suite}" is not known. There are: {", ".join(sorted(suites))}.', field=f"{field}/suite"
            )
        _check(number, infos[suite.pk], model, field)
        key = (suite.pk, number.task, number.metric, number.context_length)
        if key in seen:
            raise BadRequest(
                f"{number.metric} of {suite.label} {number.task} at {number.context_length} is there twice.",
                field=field,
            )
        seen.add(key)
        checked.append((number, suite))
    return checked


def _check(number: NumberIn, info: SuiteInfo, model: Model, field: str) -> None:
    task = next((t for t in info.tasks if t.name == number.task), None)
    if task is None:
        raise BadRequest(
            f'Task "{number.task}" is not in {info.label}. It has: {", ".join(t.name for t in info.tasks)}.',
            field=f"{field}/task",
        )
    if info.trains != (model.source == Model.Source.ARCHITECTURE):
        raise BadRequest(
            f'{info.label} {"trains" if info.trains else "does not train"} architectures from scratch, and "{model.slug}" '
            f"{'has weights' if info.trains else 'is an architecture without weights'}.",
            field=f"{field}/suite",
        )
    # What a training cost is no gain that a board ranks by, and still a number that can be reported.
    metrics = task.metrics if info.trains else rankable_metrics(task)
    if number.metric not in metrics:
        raise BadRequest(
            f'Metric "{number.metric}" is not one of {info.label} {task.name}. It has: {", ".join(metrics)}.',
            field=f"{field}/metric",
        )
    if task.lengths and not task.runs_at(number.context_length):
        raise BadRequest(
            f"{info.label} {task.name} has {', '.join(map(str, task.lengths))} tokens, not {number.context_length}.",
            field=f"{field}/context_length",
        )
    if number.context_length < task.least_context_length:
        raise BadRequest(
            f"{info.label} {task.name} needs {task.least_context_length} tokens at least, not {number.context_length}.",
            field=f"{field}/context_length",
        )
    if model.max_positions is not None and number.context_length > model.max_positions:
        raise BadRequest(
            f"{model.slug} has {model.max_positions} positions, and the number is at {number.context_length} tokens.",
            field=f"{field}/context_length",
        )
    metric = METRICS[number.metric]
    low, high = number.interval
    if metric.unit == "share" and not 0 <= low <= number.value <= high <= 1:
        raise BadRequest(
            f"{metric.name} and its interval run from 0 to 1, not {low:g} to {high:g}.", field=f"{field}/value"
        )
    if metric.unit != "share" and number.scores is not None:
        raise BadRequest(f"{metric.name} is no share: give its interval, not scores.", field=f"{field}/scores")
    if metric.unit != "share" and not (low > 0 and high < 1e18 and math.isfinite(high)):
        raise BadRequest(
            f"{metric.name} is above 0, its interval too, not {low:g} to {high:g}.", field=f"{field}/value"
        )


def _row(report: Report, system: System, number: NumberIn, suite: Suite) -> ReportedNumber:
    low, high = number.interval
    return ReportedNumber(
        report=report,
        system=system,
        suite=suite,
        task=number.task,
        metric=number.metric,
        context_length=number.context_length,
        value=number.value,
        ci_low=low,
        ci_high=high,
        n=number.n,
        unit=METRICS[number.metric].unit,
    )
