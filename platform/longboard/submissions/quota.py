"""GPU-seconds: what people may use, what they used, and what is given back.

A Run holds `held_gpu_s` of its owner's quota from submission to its end. Each closed Attempt then costs the seconds from its
start to its end, on whatever device. It is refunded where it never started, failed for
a reason of ours or of the node, or ran on a pool of the owner's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, DateTimeField, DurationField, ExpressionWrapper, F, Sum, Value

from longboard.accounts.models import User
from longboard.errors import QuotaExceeded
from longboard.submissions.models import Attempt, GpuSpend, Run

WINDOW = timedelta(days=30)
RECENT = timedelta(hours=24)  # what the fair pick looks back on
LEAST_HOLD_S = 60.0

REFUNDED = frozenset({"node_error", "lost", "disk_full", "rejected"})


@dataclass(frozen=True, slots=True)
class Quota:
    """All in GPU-seconds of the last 30 days; `allowed` None: without limit."""

    allowed: float | None
    used: float
    held: float
    refunded: float

    @property
    def left(self) -> float | None:
        return None if self.allowed is None else max(0.0, self.allowed - self.used - self.held)


def quota_of(user: User, now: datetime) -> Quota:
    spends = GpuSpend.objects.filter(user=user, closed_at__gt=now - WINDOW)
    used = spends.filter(refunded_for="").aggregate(s=Sum("gpu_s"))["s"] or 0.0
    refunded = spends.exclude(refunded_for="").aggregate(s=Sum("gpu_s"))["s"] or 0.0
    held = Run.objects.filter(owner=user).exclude(state__in=Run.FINAL).aggregate(s=Sum("held_gpu_s"))["s"] or 0.0
    return Quota(allowed=allowance(user), used=used, held=held, refunded=refunded)


def allowance(user: User) -> float | None:
    """Staff have no limit; a person's own figure goes before the site's; 0 for the site means no limit."""
    if user.is_staff:
        return None
    if user.gpu_quota_s is not None:
        return user.gpu_quota_s
    return settings.QUOTA_GPU_S or None


def check_quota(*, user: User, wanted_s: float, now: datetime) -> None:
    """Raises QuotaExceeded when `wanted_s` more do not fit. Locks the user's row, so that two requests cannot both fit."""
    User.objects.select_for_update().get(pk=user.pk)
    quota = quota_of(user, now)
    if quota.left is not None and wanted_s > quota.left:
        raise QuotaExceeded(
            f"This needs {wanted_s:.0f} GPU-seconds; of your {quota.allowed:.0f} in 30 days {quota.used:.0f} are used and "
            f"{quota.held:.0f} are held by runs under way. Ask for less, or wait until they end.",
            field="context_lengths",
        )


def record_spend(*, run: Run, attempt: Attempt, failure_class: str, now: datetime) -> None:
    """Writes what a closing Attempt cost. Called once for each, in the transaction that closes it."""
    seconds = (now - attempt.started_at).total_seconds() if attempt.started_at and not attempt.is_offline else 0.0
    if attempt.started_at is None:
        why = "not started"
    elif run.pool.owner_id == run.owner_id:
        why = "own pool"
    else:
        why = failure_class if failure_class in REFUNDED else ""
    GpuSpend.objects.create(
        attempt=attempt, user_id=run.owner_id, gpu_s=max(0.0, seconds), refunded_for=why, closed_at=now
    )


def recent_gpu_s(owners: Iterable[int], now: datetime) -> dict[int, float]:
    """GPU-seconds of the last day by owner: those spent, and those of the Attempts that run now. Two statements."""
    owners = list(owners)
    usage = dict.fromkeys(owners, 0.0)
    spent = GpuSpend.objects.filter(user__in=owners, closed_at__gt=now - RECENT, refunded_for="")
    for owner, seconds in spent.order_by().values_list("user").annotate(Sum("gpu_s")):
        usage[owner] += seconds
    so_far = Sum(ExpressionWrapper(Value(now, DateTimeField()) - F("leased_at"), output_field=DurationField()))
    held = Attempt.objects.filter(run__owner__in=owners, closed_as=Attempt.ClosedAs.OPEN, is_offline=False)
    for owner, count, length in held.order_by().values_list("run__owner").annotate(Count("pk"), so_far=so_far):
        # At least a second each, so that one owner's first runs do not take every node at once.
        usage[owner] += max(float(count), length.total_seconds())
    return usage
