"""When a number was measured, and when it came here: two dates that a baseline or a run off line sets days apart.

Measured is by the clock of the machine that did it: its bundle's manifest says when the Run began, under its signature.
Received is by ours (`Bundle.received_at`), and so are the dates of Cells and Columns: what the site showed on a day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from longboard.results.models import Bundle


def measured_by(manifest: dict[str, Any]) -> datetime | None:
    """When the Run of a manifest began; None where it does not say."""
    return _utc(manifest["started_at"]) if manifest.get("started_at") else None


def measured_at(run_ids: Iterable[UUID]) -> dict[UUID, datetime]:
    """Run -> when its accepted bundle was measured, of a repeated Run the last. One statement, none for no Runs."""
    bundles = Bundle.objects.filter(attempt__run__in=set(run_ids), state=Bundle.State.ACCEPTED).order_by("pk")
    found = bundles.values_list("attempt__run_id", "manifest__started_at")
    return {run_id: _utc(started) for run_id, started in found if started}


def measured_in(bundle_ids: Iterable[int]) -> dict[int, datetime]:
    """Bundle -> when it was measured: of each number its own, whatever its Run brought in another round. One statement."""
    found = Bundle.objects.filter(pk__in=set(bundle_ids)).order_by().values_list("pk", "manifest__started_at")
    return {pk: _utc(started) for pk, started in found if started}


def _utc(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
