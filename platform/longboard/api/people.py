"""Routes for people and their scripts: look up, submit, watch, read numbers."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from longboard.api.auth import PERSON, PersonRequest
from longboard.api.paging import next_cursor, position_of
from longboard.api.schemas.base import Error
from longboard.api.schemas.fleet import NodeOut, PoolOut
from longboard.api.schemas.registry import HubModelIn, ModelOut, SuiteOut
from longboard.api.schemas.results import MeasurementOut, MeasurementPage, SampleOut, SamplePage
from longboard.api.schemas.submissions import AttemptOut, RunDetail, RunOut, SubmissionOut
from longboard.errors import NotFound
from longboard.fleet.models import Pool
from longboard.registry.models import Model, Suite
from longboard.registry.services import register_hub_model
from longboard.results.dates import measured_at, measured_in
from longboard.results.models import Measurement
from longboard.submissions.models import Run, Submission
from longboard.submissions.picking import queue_place
from longboard.submissions.requests import SubmissionRequest
from longboard.submissions.services import cancel_run, rerun, submit
from longboard.submissions.states import submission_state
from longboard_tasks.contract import Progress

router = Router(tags=["people"])

PAGE = 100
REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 422), Error)
NOT_FOUND: dict[int, Any] = dict.fromkeys((400, 404, 422), Error)


@router.get("/models", response={200: list[ModelOut], 422: Error})
def list_models(request: HttpRequest, after: str = "", limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE) -> Any:
    """Registered Models by slug; `after` is the last slug of the page before."""
    return Model.objects.filter(slug__gt=after.replace("\x00", ""))[:limit]


@router.post("/models", response={200: ModelOut, **REFUSALS}, auth=PERSON)
def add_hub_model(request: PersonRequest, body: HubModelIn) -> Any:
    """Registers a hub model at a full commit hash. The same one twice gives the same Model."""
    return register_hub_model(
        owner=request.auth,
        repository=body.repository,
        revision=body.revision,
        title=body.title,
    )


@router.get("/suites", response=list[SuiteOut])
def list_suites(request: HttpRequest) -> Any:
    return Suite.objects.all()[:PAGE]


@router.get("/pools", response=list[PoolOut])
def list_pools(request: HttpRequest) -> Any:
    """Pools with their hardware and nodes."""
    now = timezone.now()
    return [
        PoolOut(
            slug=pool.slug,
            title=pool.title,
            hardware=pool.hardware.slug,
            is_first_party=pool.is_first_party,
            accepts_public_runs=pool.accepts_public_runs,
            nodes=[
                NodeOut(
                    id=node.pk,
                    name=node.name,
                    state=node.state,
                    is_alive=node.is_alive(now),
                    last_seen_at=node.last_seen_at,
                )
                for node in pool.nodes.all()
            ],
        )
        for pool in Pool.objects.select_related("hardware").prefetch_related("nodes")[:PAGE]
    ]


@router.post("/submissions", response={200: SubmissionOut, 201: SubmissionOut, **REFUSALS}, auth=PERSON)
def create_submission(request: PersonRequest, body: SubmissionRequest) -> Any:
    """Submits a System to suites, context lengths and pools: one Run for each combination.

    With `idempotency_key` the same request again answers 200 with the first Submission; a new one answers 201.
    """
    submission, created = submit(author=request.auth, request=body, now=timezone.now())
    return Status(201 if created else 200, _submission(submission.pk))


@router.get("/submissions/{uuid:submission_id}", response={200: SubmissionOut, **NOT_FOUND})
def read_submission(request: HttpRequest, submission_id: UUID) -> Any:
    return _submission(submission_id)


@router.get("/runs/{uuid:run_id}", response={200: RunDetail, **NOT_FOUND})
def read_run(request: HttpRequest, run_id: UUID) -> Any:
    """One Run with its Attempts and last log lines."""
    run = _run(run_id)
    attempts = list(run.attempts.select_related("node", "bundle"))
    return RunDetail(
        **_run_out(run).model_dump(),
        measured_at=measured_at([run.pk]).get(run.pk),
        attempts=[
            AttemptOut(
                id=attempt.pk,
                number=attempt.number,
                node=attempt.node.name,
                leased_at=attempt.leased_at,
                started_at=attempt.started_at,
                closed_at=attempt.closed_at,
                closed_as=attempt.closed_as,
                failure_class=attempt.failure_class,
                failure_message=attempt.failure_message,
                bundle_digest=attempt.bundle.digest if hasattr(attempt, "bundle") else None,
            )
            for attempt in attempts
        ],
        log_tail=(attempts[-1].log_tail or attempts[-1].log_head)[-20_000:] if attempts else "",
    )


@router.post("/runs/{uuid:run_id}/cancel", response={200: RunOut, **REFUSALS}, auth=PERSON)
def cancel(request: PersonRequest, run_id: UUID) -> Any:
    """Ends a queued Run at once; a held one is told to stop, which its node hears within ten seconds."""
    cancel_run(run=_run(run_id), actor=request.auth, now=timezone.now())
    return _run_out(_run(run_id))


@router.post("/runs/{uuid:run_id}/rerun", response={200: RunOut, **REFUSALS}, auth=PERSON)
def repeat(request: PersonRequest, run_id: UUID) -> Any:
    """Queues an ended Run again, as a new round; a result that it has stays."""
    rerun(run=_run(run_id), actor=request.auth, now=timezone.now())
    return _run_out(_run(run_id))


@router.get("/runs/{uuid:run_id}/samples", response={200: SamplePage, **NOT_FOUND})
def list_samples(
    request: HttpRequest, run_id: UUID, cursor: str = "", limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE
) -> Any:
    """The samples of an accepted Run, each with prompt digest, answer, target and score."""
    rows = list(_run(run_id).sample_rows.filter(pk__gt=_after("samples", cursor)).order_by("pk")[: limit + 1])
    return SamplePage(
        items=[SampleOut.model_validate(row) for row in rows[:limit]], next=next_cursor("samples", rows, limit)
    )


@router.get("/measurements", response={200: MeasurementPage, **NOT_FOUND})
def list_measurements(
    request: HttpRequest,
    suite: str = "",
    metric: str = "",
    system: str = "",
    hardware: str = "",
    context_length: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    cursor: str = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> Any:
    """All published numbers, oldest first, by keyset pages."""
    rows = Measurement.objects.select_related("system", "hardware", "suite").filter(
        pk__gt=_after("measurements", cursor)
    )
    wanted = {"suite__name": suite, "metric": metric, "system__slug": system, "hardware__slug": hardware}
    rows = rows.filter(**{key: value.replace("\x00", "") for key, value in wanted.items() if value})
    if context_length is not None:
        rows = rows.filter(context_length=context_length)
    page = list(rows.order_by("pk")[: limit + 1])
    measured = measured_in(row.bundle_id for row in page)
    items = [
        MeasurementOut(
            id=row.pk,
            run=row.run_id,
            system=row.system.slug,
            hardware=row.hardware.slug,
            suite=row.suite.label,
            task=row.task,
            metric=row.metric,
            context_length=row.context_length,
            depth=row.depth,
            value=row.value,
            ci_low=row.ci_low,
            ci_high=row.ci_high,
            n=row.n,
            unit=row.unit,
            trust=row.trust,
            measured_at=measured.get(row.bundle_id),
        )
        for row in page[:limit]
    ]
    return MeasurementPage(items=items, next=next_cursor("measurements", page, limit))


def _run(run_id: UUID) -> Run:
    run = Run.objects.select_related("system", "suite", "pool", "submission").filter(pk=run_id).first()
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    return run


def _submission(submission_id: UUID) -> SubmissionOut:
    submission = Submission.objects.select_related("system__model").filter(pk=submission_id).first()
    if submission is None:
        raise NotFound(f"There is no submission {submission_id}.")
    runs = list(
        submission.runs.select_related("system", "suite", "pool").order_by("context_length", "suite__name", "pk")
    )
    return SubmissionOut(
        id=submission.pk,
        system=submission.system.slug,
        model=submission.system.model.slug,
        state=submission_state([run.state for run in runs]),
        note=submission.note,
        created_at=submission.created_at,
        runs=[_run_out(run, with_place=False) for run in runs],
        url=f"{settings.SITE_URL}/submissions/{submission.pk}/",
    )


def _run_out(run: Run, *, with_place: bool = True) -> RunOut:
    return RunOut(
        id=run.pk,
        submission=run.submission_id,
        system=run.system.slug,
        suite=run.suite.label,
        tasks=run.tasks,
        context_length=run.context_length,
        pool=run.pool.slug,
        samples=run.samples,
        seed=run.seed,
        state=run.state,
        failure_class=run.failure_class,
        failure_message=run.failure_message,
        progress=Progress(done=run.done, total=run.total, tokens=run.tokens, eta_s=run.eta_s, note=run.progress_note),
        queue_place=queue_place(run, timezone.now()) if with_place else None,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        url=f"{settings.SITE_URL}/runs/{run.pk}/",
    )


def _after(listing: str, cursor: str) -> int:
    return int(position_of(listing, cursor) or 0)
