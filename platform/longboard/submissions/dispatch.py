"""Hints on a pool's Celery queue. A message carries only a run id: losing, repeating or forging one changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from kombu.exceptions import OperationalError

from longboard.celery_app import app
from longboard.submissions.models import Run

log = logging.getLogger(__name__)

EXECUTE = "longboard_worker.jobs.execute"  # the node's Celery task, named here because the platform cannot import it


def hint_after_commit(runs: Iterable[Run], *, now: datetime) -> None:
    """Tells the first-party pools once the rows are there for all to see. Outsiders' nodes ask by themselves."""
    hints = [(str(run.pk), run.pool.queue) for run in runs if run.pool.is_first_party]
    if hints:
        Run.objects.filter(pk__in=[pk for pk, _ in hints]).update(hinted_at=now)
        transaction.on_commit(lambda: send_hints(hints))


def send_hints(hints: Iterable[tuple[str, str]]) -> None:
    """Sends (run id, queue) pairs. A broker that is down costs nothing but time: the sweep sends them again."""
    try:
        with app.connection_for_write() as connection:
            for run_id, queue in hints:
                app.send_task(EXECUTE, args=[run_id], queue=queue, connection=connection)
    except (OperationalError, OSError) as error:
        log.warning("broker does not take hints, the sweep will repeat them", extra={"error": str(error)})
