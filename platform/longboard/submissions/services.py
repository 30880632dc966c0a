"""What people change: submit, cancel, run again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from longboard.accounts.models import User
from longboard.errors import BadRequest, IllegalTransition, NotAllowed, NotFound
from longboard.fleet.models import Pool
from longboard.registry.models import Model, Suite, System
from longboard.registry.services import architecture_model, find_model, system_for
from longboard.registry.suites import suite_info
from longboard.repeats import stored_once
from longboard.submissions import lease, training
from longboard.submissions.dispatch import hint_after_commit
from longboard.submissions.models import Attempt, Run, Submission
from longboard.submissions.pricing import price_run
from longboard.submissions.quota import LEAST_HOLD_S, check_quota
from longboard.submissions.requests import MAX_RUNS, SubmissionRequest
from longboard.submissions.training import Unit
from longboard.submissions.transitions import move
from longboard_tasks.catalogue.suites import TaskInfo
from longboard_tasks.contract import MethodRef, Runtime
from longboard_tasks.suites.lra.architectures import Variant

log = logging.getLogger(__name__)


def submit(*, author: User, request: SubmissionRequest, now: datetime) -> tuple[Submission, bool]:
    """Checks the request and stores it with all its Runs in one transaction; then hints go out.

    The same idempotency key with the same request gives the first Submission back and False; with another request it
    raises Conflict. Raises BadRequest and NotFound with the field that is at fault, and then stores nothing.
    """
    submission, is_new = stored_once(
        Submission, author=author, request=request, create=lambda digest: _create(author, request, digest, now)
    )
    if is_new:
        log.info("submission stored", extra={"submission": submission.pk, "runs": submission.runs.count()})
    return submission, is_new


@dataclass(frozen=True, slots=True)
class Checked:
    """What a request asks for, found and held against every rule."""

    model: Model
    variant: Variant | None  # of an architecture, with the request's configuration
    pools: list[Pool]
    units: list[Unit]  # short contexts first: the first numbers show soon


def check_request(author: User, request: SubmissionRequest) -> Checked:
    """Raises BadRequest, NotFound and NotAllowed with the field that is at fault. Writes nothing."""
    model = find_model(request.model)
    suites = [_find_suite(name) for name in dict.fromkeys(request.suites)]
    pools = [_find_pool(slug, author) for slug in dict.fromkeys(request.pools)]
    lengths = sorted(set(request.context_lengths))
    tasks = _choose_tasks(suites, request.tasks)
    variant = None
    if model.source == Model.Source.ARCHITECTURE or any(suite_info(suite).trains for suite in suites):
        variant, units = training.check(request, model=model, suites=suites, tasks=tasks, lengths=lengths)
    else:
        _check_lengths(model, suites, tasks, lengths)
        units = [
            Unit(suite, tuple(t.name for t in tasks[suite.name] if t.runs_at(length)), length)
            for length in lengths
            for suite in suites
        ]
    if len(units) * len(pools) > MAX_RUNS:
        raise BadRequest(
            f"{len(suites)} suites x {len(pools)} pools x {len(lengths)} lengths exceed {MAX_RUNS} runs. Split it.",
            field="context_lengths",
        )
    return Checked(model, variant, pools, units)


def _create(author: User, request: SubmissionRequest, digest: str, now: datetime) -> Submission:
    checked = check_request(author, request)
    model = checked.model
    if checked.variant is not None:
        model = architecture_model(checked.variant.name, checked.variant.configuration)
    system = system_for(
        model=model,
        method=MethodRef(name=request.method, budget=request.budget, settings=request.settings),
        runtime=Runtime(dtype=request.dtype, kernels=request.kernels),
    )
    runs = [_draft(request, model, system, unit, pool, now) for unit in checked.units for pool in checked.pools]
    # Whoever runs on a pool of their own uses nobody else's time.
    for run in runs:
        run.owner = author
        run.held_gpu_s = 0.0 if run.pool.owner_id == author.pk else run.held_gpu_s
    check_quota(user=author, wanted_s=sum(run.held_gpu_s for run in runs), now=now)
    submission = Submission.objects.create(
        author=author,
        system=system,
        note=request.note,
        idempotency_key=request.idempotency_key,
        request_digest=digest,
        created_at=now,
    )
    for run in runs:
        run.submission = submission
    Run.objects.bulk_create(runs)
    hint_after_commit(runs, now=now)
    return submission


def _draft(request: SubmissionRequest, model: Model, system: System, unit: Unit, pool: Pool, now: datetime) -> Run:
    """One Run of the request, priced, not yet stored."""
    suite, length = unit.suite, unit.length
    samples = request.samples or suite.definition["default_samples"]
    priced = price_run(
        model=model,
        suite=suite,
        tasks=unit.tasks,
        samples=samples,
        context_length=length,
        hardware=pool.hardware,
        dtype=request.dtype,
        has_method=request.method != "none",
    )
    return Run(
        system=system,
        suite=suite,
        tasks=list(unit.tasks),
        context_length=length,
        pool=pool,
        samples=samples,
        seed=request.seed,
        memory_bytes=priced.memory_bytes,
        held_gpu_s=priced.held_gpu_s,
        created_at=now,
        queued_at=now,
    )


def _find_suite(name: str) -> Suite:
    suite = Suite.objects.filter(name=name, is_current=True).first()
    if suite is None:
        names = ", ".join(Suite.objects.filter(is_current=True).values_list("name", flat=True))
        raise NotFound(f'Suite "{name}" is not known. There are: {names}.', field="suites")
    return suite


def _choose_tasks(suites: list[Suite], wanted: tuple[str, ...]) -> dict[str, list[TaskInfo]]:
    """The wanted tasks of each suite in its own order, or all that count towards its mean where none is wanted.

    Of a suite whose tasks are not named, a Run leaves out those that its length is too short for.
    """
    known = {suite.name: suite_info(suite).tasks for suite in suites}
    for path in wanted:
        suite, _, task = path.partition("/")
        if task not in [t.name for t in known.get(suite, ())]:
            choice = ", ".join(f"{name}/{t.name}" for name, tasks in known.items() for t in tasks)
            raise BadRequest(f'Task "{path}" is not in the suites asked for. There are: {choice}.', field="tasks")
    chosen = {name: [t for t in tasks if f"{name}/{t.name}" in wanted] for name, tasks in known.items()}
    return {name: chosen[name] or [t for t in tasks if t.role == "scored"] for name, tasks in known.items()}


def _find_pool(slug: str, author: User) -> Pool:
    pool = Pool.objects.select_related("hardware").filter(slug=slug).first()
    if pool is None:
        slugs = ", ".join(Pool.objects.filter(accepts_public_runs=True).values_list("slug", flat=True)[:20])
        raise NotFound(f'Pool "{slug}" is not known. There are: {slugs}.', field="pools")
    if not pool.accepts_public_runs and not (author.is_staff or pool.owner_id == author.pk):
        raise NotAllowed(f'Pool "{slug}" takes runs only from its owner. Choose another pool.', field="pools")
    return pool


def _check_lengths(model: Model, suites: list[Suite], tasks: dict[str, list[TaskInfo]], lengths: list[int]) -> None:
    """Refuses what no node could run: too short for every chosen task of a suite, or past the model's positions."""
    if not lengths:
        raise BadRequest("Choose at least one context length.", field="context_lengths")
    for suite in suites:
        least = min(task.least_context_length for task in tasks[suite.name])
        if lengths[0] < least:
            raise BadRequest(
                f"Suite {suite} needs a context length of at least {least} tokens, not {lengths[0]}.",
                field="context_lengths",
            )
        if suite.kind == "accuracy" and model.source == Model.Source.CONFIG:
            raise BadRequest(
                f'"{model.slug}" has random weights (a bare configuration): it runs efficiency suites, not {suite}.',
                field="suites",
            )
    if model.max_positions is not None and lengths[-1] > model.max_positions:
        raise BadRequest(
            f'Model "{model.slug}" has {model.max_positions} positions: context length {lengths[-1]} exceeds them. '
            f"Choose at most {model.max_positions}.",
            field="context_lengths",
        )


def _check_may_steer(run: Run, actor: User) -> None:
    if not (actor.is_staff or run.submission.author_id == actor.pk):
        raise NotAllowed("Only the author of a submission and the staff can cancel or repeat its runs.")


@transaction.atomic
def cancel_run(*, run: Run, actor: User, now: datetime) -> Run:
    """A queued Run ends at once. A held one is asked to stop, which its node hears within ten seconds; one that was
    exported ends at once, because its node cannot hear. A final one stays as it is."""
    run = Run.objects.select_for_update(of=("self",)).select_related("submission").get(pk=run.pk)
    _check_may_steer(run, actor)
    attempt = run.attempts.filter(closed_as=Attempt.ClosedAs.OPEN).first()
    if run.state == Run.State.QUEUED:
        told = f"Cancelled by {actor.username} before it started."
        lease.end(run, Run.State.CANCELLED, now=now, failure_class="cancelled", failure_message=told)
    elif attempt is not None and attempt.is_offline and run.state != Run.State.UPLOADED:
        told = f"Cancelled by {actor.username} while it was exported."
        lease.close(
            run=run, attempt=attempt, closed_as=Attempt.ClosedAs.CANCELLED, failure=("cancelled", told), now=now
        )
    elif attempt is not None:
        attempt.cancel_requested = True
        attempt.save(update_fields=["cancel_requested"])
    log.info("cancel asked", extra={"run": run.pk, "state": run.state})
    return run


def cancel_many(*, run_ids: Sequence[UUID], actor: User, now: datetime) -> list[Run]:
    """Cancels each Run that has not ended; all of them must be the actor's to cancel, or none is touched.

    Raises NotFound for an id that is no Run and NotAllowed for a Run of somebody else. One transaction a Run, so that
    hundreds of them lock no node out.
    """
    rows = {run.pk: run for run in Run.objects.filter(pk__in=run_ids).select_related("submission")}
    for run_id in run_ids:
        if run_id not in rows:
            raise NotFound(f"There is no run {run_id}.", field="runs")
        _check_may_steer(rows[run_id], actor)
    return [cancel_run(run=rows[run_id], actor=actor, now=now) for run_id in dict.fromkeys(run_ids)]


@transaction.atomic
def rerun(*, run: Run, actor: User, now: datetime) -> Run:
    """Queues an ended Run again: a new round with new Attempts, and the old ones stay. Else IllegalTransition.

    A result that it already has stays, too: the repeat adds one, and where a node of another owner brings it, both are
    compared (results.agreement).
    """
    run = Run.objects.select_for_update(of=("self",)).select_related("submission", "pool").get(pk=run.pk)
    _check_may_steer(run, actor)
    if not run.is_final:
        raise IllegalTransition(f"Run {run.pk} is {run.state}: only a run that has ended can be repeated.")
    held_s = 0.0 if run.pool.owner_id == run.owner_id else LEAST_HOLD_S
    check_quota(user=run.submission.author, wanted_s=held_s, now=now)
    move(
        run,
        Run.State.QUEUED,
        round=run.round + 1,
        retries_from=run.attempts.count(),
        held_gpu_s=held_s,
        failure_class="",
        failure_message="",
        queued_at=now,
        started_at=None,
        finished_at=None,
    )
    hint_after_commit([run], now=now)
    return run
