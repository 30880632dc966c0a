"""What repairs everything that events missed: leases that ran out, lost hints, bundles left unchecked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from longboard.fleet.models import Node
from longboard.submissions.dispatch import hint_after_commit
from longboard.submissions.lease import close
from longboard.submissions.models import Attempt, Run

log = logging.getLogger(__name__)

BATCH = 500


@dataclass(frozen=True, slots=True)
class Swept:
    expired: int
    hinted: int


def sweep(*, now: datetime) -> Swept:
    """One pass, bounded to BATCH rows of each kind; any number may run at once."""
    swept = Swept(expired=_expire_leases(now), hinted=_repeat_hints(now))
    if swept.expired:
        log.warning("leases expired", extra={"count": swept.expired})
    return swept


def _expire_leases(now: datetime) -> int:
    over = Q(lease_until__lte=now) | Q(node__state=Node.State.REVOKED)
    overdue = Attempt.objects.filter(over, closed_as=Attempt.ClosedAs.OPEN).exclude(
        run__state=Run.State.UPLOADED  # its bundle is here: the check will close it
    )
    expired = 0
    for pk, run_id in overdue.order_by("lease_until").values_list("pk", "run_id")[:BATCH]:
        with transaction.atomic():
            run = Run.objects.select_for_update(of=("self",)).select_related("pool").get(pk=run_id)
            attempt = Attempt.objects.select_for_update(of=("self",)).select_related("node").get(pk=pk)
            is_revoked = attempt.node.state == Node.State.REVOKED
            if attempt.closed_as != Attempt.ClosedAs.OPEN or not (is_revoked or attempt.lease_until <= now):
                continue  # it beat, or was closed, since we looked
            held_s = (
                (attempt.lease_until - attempt.leased_at).total_seconds() if attempt.is_offline else settings.LEASE_S
            )
            message = (
                f'Node "{attempt.node.name}" was revoked.'
                if is_revoked
                else f'Node "{attempt.node.name}" was not heard from for {held_s:g} s.'
            )
            close(run=run, attempt=attempt, closed_as=Attempt.ClosedAs.LOST, failure=("lost", message), now=now)
            expired += 1
    return expired


def _repeat_hints(now: datetime) -> int:
    """Queued Runs whose last hint is older than two sweeps: the broker may have lost it, or the node that took it."""
    stale = now - timedelta(seconds=max(2 * settings.SWEEP_S, 1))
    with transaction.atomic():
        runs = list(
            Run.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("pool")
            .filter(state=Run.State.QUEUED, pool__is_first_party=True)
            .filter(Q(hinted_at=None) | Q(hinted_at__lt=stale))
            .order_by("queued_at")[:BATCH]
        )
        hint_after_commit(runs, now=now)
    return len(runs)
