"""What nodes change: claim, start, beat, fail. Each function is one row-locked transition of a Run.

    queued -> leased -> running -> (bundle: results.services)      failed <- leased, running

A call names its Attempt and its fence. After the lease ran out and the Run went to another node, every call of the
first one raises Gone (410), and the node kills its evaluator.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from longboard.errors import Conflict, Gone, NotFound
from longboard.fleet.models import Node
from longboard.submissions.dispatch import hint_after_commit
from longboard.submissions.models import Attempt, Run
from longboard_tasks.contract import FailureClass, Progress

log = logging.getLogger(__name__)

LOG_HEAD_CHARS = 16_000
LOG_TAIL_CHARS = 48_000  # about 200 lines and more

# Failures of the machine, not of the request: another node may do better.
RETRIED = frozenset({"node_error", "lost", "disk_full"})


@dataclass(frozen=True, slots=True)
class BeatReply:
    lease_until: datetime
    cancel: bool
    drain: bool


def lease_time() -> timedelta:
    return timedelta(seconds=settings.LEASE_S)


@transaction.atomic
def claim(*, node: Node, now: datetime, hint: UUID | None = None) -> Attempt | None:
    """Give one queued Run of the node's pool to it: queued -> leased. None when there is nothing to do.

    The hinted Run is tried first, then the next in the queue: a repeated or forged hint changes nothing. Of nodes that
    ask at once each gets another Run (locked rows are skipped). A node whose claim was answered but never started gets
    the same Attempt back, so a lost reply costs nothing.
    """
    if node.state != Node.State.ACTIVE:
        return None
    unstarted = (
        Attempt.objects.select_related("run")
        .filter(node=node, closed_as=Attempt.ClosedAs.OPEN, started_at=None, lease_until__gt=now)
        .first()
    )
    if unstarted is not None:
        return unstarted
    queue = Run.objects.select_for_update(skip_locked=True).filter(pool_id=node.pool_id, state=Run.State.QUEUED)
    run = queue.filter(pk=hint).first() if hint else None
    run = run or queue.order_by("-priority", "queued_at", "context_length", "pk").first()
    if run is None:
        return None
    run.state = Run.State.LEASED
    run.fence += 1
    run.done = run.total = run.tokens = 0
    run.eta_s, run.progress_note = None, ""
    run.save(update_fields=["state", "fence", "done", "total", "tokens", "eta_s", "progress_note"])
    attempt = Attempt.objects.create(
        run=run,
        node=node,
        number=run.attempts.count() + 1,
        fence=run.fence,
        leased_at=now,
        lease_until=now + lease_time(),
    )
    log.info("run leased", extra={"run": run.pk, "node": node.name, "attempt": attempt.number})
    return attempt


def lock_attempt(*, attempt_id: UUID, node: Node, fence: int) -> tuple[Run, Attempt]:
    """The Run and Attempt of a call, locked in that order. Raises NotFound for another node's Attempt, as for none."""
    attempt = Attempt.objects.filter(pk=attempt_id, node=node).only("run_id").first()
    if attempt is None:
        raise NotFound(f"This node has no attempt {attempt_id}.")
    run = Run.objects.select_for_update(of=("self",)).get(pk=attempt.run_id)
    attempt = Attempt.objects.select_for_update(of=("self",)).get(pk=attempt_id)
    if attempt.fence != fence:
        raise Conflict(f"Attempt {attempt_id} has fence {attempt.fence}, the call says {fence}.")
    return run, attempt


def _check_open(run: Run, attempt: Attempt) -> None:
    if attempt.closed_as != Attempt.ClosedAs.OPEN or attempt.fence != run.fence:
        raise Gone(f"Attempt {attempt.pk} is {attempt.get_closed_as_display()}: stop its work at once.")


@transaction.atomic
def start(*, attempt_id: UUID, node: Node, fence: int, now: datetime) -> Attempt:
    """leased -> running; must succeed before the evaluator starts. The same call twice is fine."""
    run, attempt = lock_attempt(attempt_id=attempt_id, node=node, fence=fence)
    _check_open(run, attempt)
    if attempt.cancel_requested:
        close(run=run, attempt=attempt, closed_as=Attempt.ClosedAs.CANCELLED, failure=("cancelled", ""), now=now)
        # The caller must see the cancel, and the transaction must keep it: so no raise from in here.
        return attempt
    attempt.lease_until = now + lease_time()
    if run.state == Run.State.LEASED:
        run.state = Run.State.RUNNING
        run.started_at = now
        run.save(update_fields=["state", "started_at"])
        attempt.started_at = now
        log.info("run started", extra={"run": run.pk, "node": node.name})
    attempt.save(update_fields=["lease_until", "started_at"])
    return attempt


@transaction.atomic
def beat(
    *, attempt_id: UUID, node: Node, fence: int, now: datetime, progress: Progress | None = None, log_text: str = ""
) -> BeatReply:
    """Renews the lease and brings progress and log lines; brings back cancel and drain."""
    run, attempt = lock_attempt(attempt_id=attempt_id, node=node, fence=fence)
    _check_open(run, attempt)
    attempt.lease_until = now + lease_time()
    append_log(attempt, log_text)
    attempt.save(update_fields=["lease_until", "log_head", "log_tail", "log_skipped_bytes"])
    if progress is not None:
        run.done, run.total, run.tokens = progress.done, progress.total, progress.tokens
        run.eta_s, run.progress_note = progress.eta_s, progress.note
        run.save(update_fields=["done", "total", "tokens", "eta_s", "progress_note"])
    state = Node.objects.values_list("state", flat=True).get(pk=node.pk)
    return BeatReply(
        lease_until=attempt.lease_until, cancel=attempt.cancel_requested, drain=state == Node.State.DRAINING
    )


@transaction.atomic
def fail(
    *, attempt_id: UUID, node: Node, fence: int, failure_class: FailureClass, message: str, log_text: str, now: datetime
) -> Run:
    """The node gives up: the Attempt closes; the Run is queued again for a fault of the machine, else it has failed."""
    run, attempt = lock_attempt(attempt_id=attempt_id, node=node, fence=fence)
    if attempt.closed_as == Attempt.ClosedAs.FAILED and attempt.failure_class == failure_class:
        return run
    _check_open(run, attempt)
    append_log(attempt, log_text)
    closed_as = Attempt.ClosedAs.CANCELLED if failure_class == "cancelled" else Attempt.ClosedAs.FAILED
    close(run=run, attempt=attempt, closed_as=closed_as, failure=(failure_class, message), now=now)
    return run


def close(*, run: Run, attempt: Attempt, closed_as: str, failure: tuple[str, str], now: datetime) -> None:
    """Ends a locked Attempt that brought no result, and says where its Run goes: queued, failed or cancelled."""
    attempt.closed_at, attempt.closed_as = now, closed_as
    attempt.failure_class, attempt.failure_message = failure
    attempt.save()
    tries = run.attempts.count() - run.retries_from
    if closed_as == Attempt.ClosedAs.CANCELLED or (attempt.cancel_requested and closed_as == Attempt.ClosedAs.LOST):
        run.state, run.finished_at = Run.State.CANCELLED, now
    elif failure[0] in RETRIED and tries < settings.MAX_ATTEMPTS:
        run.state, run.queued_at = Run.State.QUEUED, now
    else:
        run.state, run.finished_at = Run.State.FAILED, now
    run.failure_class, run.failure_message = failure
    run.save(update_fields=["state", "queued_at", "finished_at", "failure_class", "failure_message"])
    log.info(
        "attempt closed", extra={"run": run.pk, "attempt": attempt.number, "as": closed_as, "run_state": run.state}
    )
    if run.state == Run.State.QUEUED:
        hint_after_commit([run], now=now)


def append_log(attempt: Attempt, text: str) -> None:
    """Keeps the head and the tail of what came, and counts what fell out between them."""
    text = text.replace("\x00", "\ufffd")  # PostgreSQL's text cannot hold NUL
    room = LOG_HEAD_CHARS - len(attempt.log_head)
    if room > 0:
        attempt.log_head += text[:room]
        text = text[room:]
    tail = attempt.log_tail + text
    if len(tail) > LOG_TAIL_CHARS:
        attempt.log_skipped_bytes += len(tail[:-LOG_TAIL_CHARS].encode())
        tail = tail[-LOG_TAIL_CHARS:]
    attempt.log_tail = tail
