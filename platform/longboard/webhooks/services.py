"""What people change about their webhooks, and the job that tells them: find what ended, send what is due."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from longboard.accounts.models import User
from longboard.errors import Conflict
from longboard.submissions.models import Run
from longboard.webhooks.models import Delivery, Webhook
from longboard.webhooks.outgoing import NotSent, post, read_address, sign

log = logging.getLogger(__name__)

MOST = 5  # webhooks of a person
BATCH = 100  # events found, and calls made, in one pass
RETRIES = tuple(timedelta(seconds=s) for s in (10, 60, 600, 3_600, 21_600))  # after that an event is given up
GIVE_UP = 20  # events in a row: then the webhook stops by itself
OVERLAP = timedelta(minutes=2)  # a run's end is written before its transaction commits
KEEP = timedelta(days=30)


def make_webhook(*, user: User, url: str, now: datetime) -> Webhook:
    """A webhook for what ends from now on. Raises BadRequest for an address that we would not call, Conflict for a sixth."""
    read_address(url)
    if user.webhooks.count() >= MOST:
        raise Conflict(f"You have {MOST} webhooks, which is the most. Delete one first.")
    if user.webhooks.filter(url=url).exists():
        raise Conflict("You have a webhook with this address already.", field="url")
    return Webhook.objects.create(
        user=user, url=url, secret=f"lbw_{secrets.token_urlsafe(32)}", created_at=now, seen_until=now
    )


def delete_webhook(*, webhook: Webhook) -> None:
    webhook.delete()


def find_events(*, now: datetime) -> int:
    """Makes a Delivery for each run that has ended and whose author has a webhook. Twice makes none twice."""
    made = 0
    for webhook in Webhook.objects.filter(stopped_at=None).order_by("pk"):
        after = max(webhook.created_at, webhook.seen_until - OVERLAP)
        runs = (
            Run.objects.filter(submission__author=webhook.user_id, state__in=Run.FINAL)
            .filter(finished_at__gt=after, finished_at__lte=now)
            .select_related("submission", "system", "suite")
            .order_by("finished_at", "pk")[:BATCH]
        )
        rows = [
            Delivery(
                webhook=webhook, run=run, ended_at=run.finished_at or now, body=_body(run), created_at=now, next_at=now
            )
            for run in runs
        ]
        known = set(
            Delivery.objects.filter(webhook=webhook, run__in=[r.run_id for r in rows]).values_list("run", "ended_at")
        )
        fresh = [row for row in rows if (row.run_id, row.ended_at) not in known]
        with transaction.atomic():
            Delivery.objects.bulk_create(fresh, ignore_conflicts=True)
            webhook.seen_until = rows[-1].ended_at if len(rows) == BATCH else now
            webhook.save(update_fields=["seen_until"])
        made += len(fresh)
    return made


def _body(run: Run) -> str:
    event = {
        "event": f"run.{run.state}",
        "run": str(run.pk),
        "submission": str(run.submission_id),
        "system": run.system.slug,
        "suite": run.suite.label,
        "context_length": run.context_length,
        "state": run.state,
        "failure_class": run.failure_class,
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "url": f"{settings.SITE_URL}/runs/{run.pk}/",
    }
    return json.dumps(event, sort_keys=True)


def deliver_due(*, now: datetime, send: Callable[..., int] = post) -> int:
    """Sends what is due, each event by one process alone. A 2xx is delivered; else the next try is later, five times."""
    due = Delivery.objects.filter(next_at__lte=now, webhook__stopped_at=None).order_by("next_at", "pk")
    sent = 0
    for pk in list(due.values_list("pk", flat=True)[:BATCH]):
        # Taken before it is sent: another process finds it not due, and if we die the next try comes after this pause.
        with transaction.atomic():
            row = Delivery.objects.select_for_update(of=("self",)).select_related("webhook").get(pk=pk)
            if row.next_at is None or row.next_at > now:
                continue
            pause = RETRIES[row.attempts] if row.attempts < len(RETRIES) else None
            row.attempts += 1
            row.next_at = now + pause if pause else None
            row.save(update_fields=["attempts", "next_at"])
        sent += _send(row, now, send)
    Delivery.objects.filter(next_at=None, created_at__lt=now - KEEP).delete()
    return sent


def _send(row: Delivery, now: datetime, send: Callable[..., int]) -> bool:
    body = row.body.encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "longboard-webhook",
        "Longboard-Delivery": str(row.pk),
        "Longboard-Signature": sign(row.webhook.secret, body, int(now.timestamp())),
    }
    try:
        row.status, row.error = send(row.webhook.url, body, headers), ""
    except NotSent as error:
        row.status, row.error = None, str(error)[:200]
    delivered = row.status is not None and 200 <= row.status < 300
    if delivered:
        row.delivered_at, row.next_at = now, None
        Webhook.objects.filter(pk=row.webhook_id).update(failures=0)
    elif not row.error:
        row.error = f"The answer was {row.status}."
    row.save(update_fields=["status", "error", "delivered_at", "next_at"])
    if not delivered and row.next_at is None:
        failures = row.webhook.failures + 1
        stopped = now if failures >= GIVE_UP else None
        Webhook.objects.filter(pk=row.webhook_id).update(failures=failures, stopped_at=stopped)
        log.warning("webhook event given up", extra={"webhook": row.webhook_id, "delivery": row.pk})
    return delivered
