"""A request that is sent twice is stored once: by its author's idempotency key, also where both arrive at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, transaction

from longboard.accounts.models import User
from longboard.errors import Conflict
from longboard.reports.models import Report
from longboard.reports.requests import ReportRequest
from longboard.submissions.models import Submission
from longboard.submissions.requests import SubmissionRequest
from longboard_tasks.contract import canonical_json, sha256

Row = TypeVar("Row", Submission, Report)


def stored_once(
    rows: type[Row], *, author: User, request: SubmissionRequest | ReportRequest, create: Callable[[str], Row]
) -> tuple[Row, bool]:
    """The row of this request, and whether it is new: `create` makes it from the request's digest, in one transaction.

    The same key with the same request gives the first row back; with another request it raises Conflict.
    """
    digest = sha256(canonical_json(request))
    if earlier := _earlier(rows, author, request.idempotency_key, digest):
        return earlier, False
    try:
        with transaction.atomic():
            return create(digest), True
    except IntegrityError:
        # Of two equal requests at once, the other one was first.
        if earlier := _earlier(rows, author, request.idempotency_key, digest):
            return earlier, False
        raise


def _earlier(rows: type[Row], author: User, key: str, digest: str) -> Row | None:
    earlier = rows.objects.filter(author=author, idempotency_key=key).first() if key else None
    if earlier is not None and earlier.request_digest != digest:
        raise Conflict(
            f'The idempotency key "{key}" was used for another request ({earlier.pk}). Use a new key for a new request.',
            field="idempotency_key",
        )
    return earlier
