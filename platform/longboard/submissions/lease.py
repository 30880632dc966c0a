"""What nodes change: claim, start, beat, fail. Each is one transition of a Run, made under its row's lock.

    queued -> leased -> running -> (bundle: results.services)      failed <- leased, running

A call names its Attempt and its fence. After the lease ran out and the Run went to another node, every call of the
first one raises Gone (410), and the node kills its evaluator.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from longboard.errors import Conflict, Gone, NotFound
from longboard.fleet.models import Node
from longboard.submissions.dispatch import hint_after_commit
from longboard.submissions.models import Attempt, Run
from longboard.submissions.picking import eligible, pick
from longboard.submissions.quota import record_spend
from longboard.submissions.transitions import move, resting_state
from longboard_tasks.contract import FailureClass, Progress

log = logging.getLogger(__name__)

LOG_HEAD_CHARS = 16_000
LOG_TAIL_CHARS = 120_000
LOG_LINE_CHARS = 590  # so that the tail holds the last 200 lines whatever is printed

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
def claim(*, node: Node, now: datetime, free_memory_bytes: int | None = None) -> Attempt | None:
    """Give the next queued Run in the pool's order (`picking`) to the node: queued -> leased. None: nothing to do.

    Of nodes that ask at once each gets another Run (locked rows are skipped). A node whose claim was answered but
    never started gets the same Attempt back, so a lost reply costs nothing.
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
    run = pick(node=node, now=now, free_memory_bytes=free_memory_bytes)
    return None if run is None else _lease(run, node, now, lease_time())


def _lease(run: Run, node: Node, now: datetime, length: timedelta, *, is_offline: bool = False) -> Attempt:
    move(run, Run.State.LEASED, fence=run.fence + 1, done=0, total=0, tokens=0, eta_s=None, progress_note="")
    attempt = Attempt.objects.create(
        run=run,
        node=node,
        number=run.attempts.count() + 1,
        fence=run.fence,
        leased_at=now,
        lease_until=now + length,
        is_offline=is_offline,
    )
    log.info("run leased", extra={"run": run.pk, "node": node.name, "attempt": attempt.number})
    return attempt


@transaction.atomic
def export(*, node: Node, run_id: UUID | None, now: datetime) -> Attempt | None:
    """Leases and starts a Run for a machine with no way out: `run_id`, or the next one. None when there is nothing.

    The lease is as long as OFFLINE_LEASE_S, because such a machine cannot beat; its GPU time is not charged, because only
    the machine itself could say how long it took.
    """
    if node.state != Node.State.ACTIVE:
        return None
    if run_id is None:
        run = pick(node=node, now=now, free_memory_bytes=None)
    else:
        run = eligible(node, now, None).filter(pk=run_id).first()
    if run is None:
        return None
    attempt = _lease(run, node, now, timedelta(seconds=settings.OFFLINE_LEASE_S), is_offline=True)
    move(run, Run.State.RUNNING, started_at=now, progress_note="exported to a machine with no way out")
    attempt.started_at = now
    attempt.save(update_fields=["started_at"])
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
        move(run, Run.State.RUNNING, started_at=now)
        attempt.started_at = now
        log.info("run started", extra={"run": run.pk, "node": node.name})
    attempt.save(update_fields=["lease_until", "started_at"])
    return attempt


@transaction.atomic
def beat(
    *,
    attempt_id: UUID,
    node: Node,
    fence: int,
    now: datetime,
    progress: Progress | None = None,
    log_text: str = "",
    log_dropped: int = 0,
) -> BeatReply:
    """Renews the lease and brings progress and log lines; brings back cancel and drain."""
    run, attempt = lock_attempt(attempt_id=attempt_id, node=node, fence=fence)
    _check_open(run, attempt)
    if not attempt.is_offline:
        attempt.lease_until = now + lease_time()
    append_log(attempt, log_text, log_dropped)
    attempt.save(update_fields=["lease_until", "log_head", "log_tail", "log_skipped_bytes"])
    if progress is not None:
        run.done, run.total, run.tokens = progress.done, progress.total, progress.tokens
        run.eta_s, run.progress_note = progress.eta_s, progress.note
        run.save(update_fields=["done", "total", "tokens", "eta_s", "progress_note"])
    state = Node.objects.values_list("state", flat=True).get(pk=node.pk)
    return BeatReply(
        lease_until=attempt.lease_until, cancel=attempt.cancel_requested, drain=state == Node.State.DRAINING
    )


def orders(*, attempt_id: UUID, node: Node, fence: int) -> BeatReply:
    """What a node is to know between two beats: cancel, drain, or Gone. Reads only, so it may be asked often."""
    attempt = Attempt.objects.select_related("run").filter(pk=attempt_id, node=node).first()
    if attempt is None:
        raise NotFound(f"This node has no attempt {attempt_id}.")
    if attempt.fence != fence:
        raise Conflict(f"Attempt {attempt_id} has fence {attempt.fence}, the call says {fence}.")
    _check_open(attempt.run, attempt)
    return BeatReply(
        lease_until=attempt.lease_until, cancel=attempt.cancel_requested, drain=node.state == Node.State.DRAINING
    )


@transaction.atomic
def fail(
    *,
    attempt_id: UUID,
    node: Node,
    fence: int,
    failure_class: FailureClass,
    message: str,
    log_text: str,
    now: datetime,
    log_dropped: int = 0,
) -> Run:
    """The node gives up: the Attempt closes; the Run is queued again for a fault of the machine, else it has failed."""
    run, attempt = lock_attempt(attempt_id=attempt_id, node=node, fence=fence)
    if attempt.closed_as == Attempt.ClosedAs.FAILED and attempt.failure_class == failure_class:
        return run
    _check_open(run, attempt)
    append_log(attempt, log_text, log_dropped)
    closed_as = Attempt.ClosedAs.CANCELLED if failure_class == "cancelled" else Attempt.ClosedAs.FAILED
    close(run=run, attempt=attempt, closed_as=closed_as, failure=(failure_class, message), now=now)
    return run


def close(*, run: Run, attempt: Attempt, closed_as: str, failure: tuple[str, str], now: datetime) -> None:
    """Ends a locked Attempt that brought no result, and says where its Run goes: queued, failed or cancelled.

    A Run that an earlier round gave a result goes back to accepted: the result stands, and the Attempt tells the rest.
    """
    attempt.closed_at, attempt.closed_as = now, closed_as
    attempt.failure_class, attempt.failure_message = failure
    attempt.save()
    record_spend(run=run, attempt=attempt, failure_class=failure[0], now=now)
    tries = run.attempts.count() - run.retries_from
    told = {"failure_class": failure[0], "failure_message": failure[1]}
    if closed_as == Attempt.ClosedAs.CANCELLED or (attempt.cancel_requested and closed_as == Attempt.ClosedAs.LOST):
        end(run, Run.State.CANCELLED, now=now, **told)
    elif failure[0] in RETRIED and tries < settings.MAX_ATTEMPTS:
        move(run, Run.State.QUEUED, queued_at=now, **told)
        hint_after_commit([run], now=now)
    else:
        end(run, Run.State.FAILED, now=now, **told)
    log.info(
        "attempt closed", extra={"run": run.pk, "attempt": attempt.number, "as": closed_as, "run_state": run.state}
    )


def end(run: Run, state: str, *, now: datetime, failure_class: str, failure_message: str) -> None:
    """An open Run ends without a new result."""
    rest = resting_state(run, state)
    if rest == Run.State.ACCEPTED:
        failure_class = failure_message = ""
    move(run, rest, finished_at=now, failure_class=failure_class, failure_message=failure_message, held_gpu_s=0)


def append_log(attempt: Attempt, text: str, dropped: int = 0) -> None:
    """Keeps the head and the tail of what came, and counts what fell out between them and out of over-long lines.

    `dropped`: characters that the node itself left out.
    """
    attempt.log_skipped_bytes += dropped
    text = text.replace("\x00", "\ufffd")  # PostgreSQL's text cannot hold NUL
    room = LOG_HEAD_CHARS - len(attempt.log_head)
    if room > 0:
        attempt.log_head += text[:room]
        text = text[room:]
    tail = attempt.log_tail + text
    short = _LONG_LINE.sub(_shorten, tail)
    attempt.log_skipped_bytes += max(0, len(tail.encode()) - len(short.encode()))
    if len(short) > LOG_TAIL_CHARS:
        attempt.log_skipped_bytes += len(short[:-LOG_TAIL_CHARS].encode())
        short = short[-LOG_TAIL_CHARS:]
    attempt.log_tail = short


_LONG_LINE = re.compile(rf"[^\n]{{{LOG_LINE_CHARS + 1},}}")
_CUT = " [...] "


def _shorten(line: re.Match[str]) -> str:
    half = (LOG_LINE_CHARS - len(_CUT)) // 2
    return line[0][:half] + _CUT + line[0][-half:]
