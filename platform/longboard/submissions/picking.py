"""Which queued Run a node gets: priority first, then the owner who had the least of the pool lately, then age.

Runs of one submission are of one age: the shortest context goes first, so that its first numbers show soon.
Left out are Runs that need more memory than the node has free, and those that this node has already failed at while another
node of the pool, alive and untried, could take them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from longboard.fleet.models import Node, silent_since
from longboard.submissions.models import Attempt, Run
from longboard.submissions.quota import recent_gpu_s

WITHIN_A_TURN = ("queued_at", "context_length", "pk")

# One index look-up an owner instead of a scan of the queue: 37,000 queued rows of 20 owners cost 40 look-ups.
_OWNERS = """
WITH RECURSIVE owner(id) AS (
    SELECT (SELECT MIN(owner_id) FROM submissions_run WHERE pool_id = %(pool)s AND state = 'queued')
    UNION ALL
    SELECT (SELECT MIN(owner_id) FROM submissions_run
            WHERE pool_id = %(pool)s AND state = 'queued' AND owner_id > owner.id)
    FROM owner WHERE owner.id IS NOT NULL
)
SELECT owner.id,
       (SELECT priority FROM submissions_run WHERE pool_id = %(pool)s AND state = 'queued' AND owner_id = owner.id
        ORDER BY priority DESC, queued_at LIMIT 1),
       (SELECT queued_at FROM submissions_run WHERE pool_id = %(pool)s AND state = 'queued' AND owner_id = owner.id
        ORDER BY priority DESC, queued_at LIMIT 1)
FROM owner WHERE owner.id IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """An owner with queued Runs in a pool: smaller sorts first."""

    owner: int
    priority: int
    usage_s: float
    oldest: str

    @property
    def key(self) -> tuple[int, float, str, int]:
        return -self.priority, self.usage_s, self.oldest, self.owner


def turns(pool_id: int, now: datetime) -> list[Turn]:
    """Owners in the order in which the pool serves them."""
    with connection.cursor() as cursor:
        cursor.execute(_OWNERS, {"pool": pool_id})
        rows = cursor.fetchall()
    if not rows:
        return []
    usage = recent_gpu_s([owner for owner, _, _ in rows], now)
    # A subquery of its own each, so a Run leased meanwhile can leave a NULL: that owner is asked last.
    found = [
        Turn(owner, priority if priority is not None else -(2**15), usage[owner], str(oldest))
        for owner, priority, oldest in rows
    ]
    return sorted(found, key=lambda turn: turn.key)


def pick(*, node: Node, now: datetime, free_memory_bytes: int | None) -> Run | None:
    """The Run for this node, locked; rows that another claim has locked are skipped. None when there is none."""
    queue = eligible(node, now, free_memory_bytes)
    order = turns(node.pool_id, now)
    for turn in order:
        if run := queue.filter(owner=turn.owner, priority=turn.priority).order_by(*WITHIN_A_TURN).first():
            return run
    # Every owner's first choice is locked or not for this node: whatever else is.
    return queue.order_by("-priority", *WITHIN_A_TURN).first() if order else None


def eligible(node: Node, now: datetime, free_memory_bytes: int | None) -> QuerySet[Run]:
    """The queued Runs that this node may have, in no order, locked as they are read."""
    # Of the Run alone: the outer side of a join cannot be locked.
    queue = Run.objects.select_for_update(of=("self",), skip_locked=True).filter(
        pool_id=node.pool_id, state=Run.State.QUEUED
    )
    if free_memory_bytes is not None:
        queue = queue.filter(memory_bytes__lte=free_memory_bytes)
    others = list(
        Node.objects.filter(pool_id=node.pool_id, state=Node.State.ACTIVE, last_seen_at__gt=silent_since(now))
        .exclude(pk=node.pk)
        .order_by()
        .values_list("pk", flat=True)[:500]
    )
    if not others:
        return queue
    tried = Attempt.objects.filter(run=OuterRef("pk"), number__gt=OuterRef("retries_from"))
    mine = tried.filter(node=node).order_by().values("run").annotate(n=Count("pk")).values("n")
    theirs = tried.filter(node__in=others).order_by().values("run").annotate(n=Count("node", distinct=True)).values("n")
    # The first test alone decides for a Run that nobody has tried, and it reads nothing but the row.
    return queue.annotate(mine=Coalesce(Subquery(mine), Value(0)), theirs=Coalesce(Subquery(theirs), Value(0))).filter(
        Q(fence=F("retries_from")) | Q(mine=0) | Q(theirs__gte=len(others))
    )


def queue_place(run: Run, now: datetime) -> int | None:
    """1 for the next Run that its pool hands out, as things stand; None once it left the queue."""
    if run.state != Run.State.QUEUED:
        return None
    queued = Run.objects.filter(pool=run.pool_id, state=Run.State.QUEUED)
    usage = {turn.owner: turn.usage_s for turn in turns(run.pool_id, now)}
    mine = usage.get(run.owner_id, 0.0)
    sooner = [owner for owner, seconds in usage.items() if seconds < mine]
    equal = [owner for owner, seconds in usage.items() if seconds == mine]
    before = Q(queued_at__lt=run.queued_at) | Q(queued_at=run.queued_at) & (
        Q(context_length__lt=run.context_length) | Q(context_length=run.context_length, pk__lt=run.pk)
    )
    ahead = Q(priority__gt=run.priority) | Q(priority=run.priority) & (
        Q(owner__in=sooner) | Q(owner__in=equal) & before
    )
    return 1 + queued.filter(ahead).count()
