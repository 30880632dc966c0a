"""The platform's Celery: it sends hints to the pools' queues, and its own worker runs the sweep.

Not named celery.py: that would hide the library from type checkers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery

from longboard import file_broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")


def transport_options(broker_url: str, broker_dir: Path) -> dict[str, Any]:
    """Options by broker; for `filesystem://` the folders have to exist before the first message."""
    if not broker_url.startswith("filesystem://"):
        # Redelivery is the lease sweep's task, so a message may stay unacknowledged for as long as a run takes.
        return {"visibility_timeout": 43_200, "unacked_restore_interval": 2, "unacked_restore_throttle": 1}
    folders = {name: broker_dir / name for name in ("messages", "control", "processed")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(folders["messages"]),
        "data_folder_out": str(folders["messages"]),
        "control_folder": str(folders["control"]),
        "processed_folder": str(folders["processed"]),
        "polling_interval": 0.1,
        "store_processed": False,
    }


def make_app() -> Celery:
    from django.conf import settings

    file_broker.install()
    app = Celery("longboard")
    app.conf.update(
        broker_url=settings.CELERY_BROKER_URL,
        broker_transport_options=transport_options(settings.CELERY_BROKER_URL, settings.BROKER_DIR),
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=5,
        task_ignore_result=True,
        accept_content=["json"],
        task_serializer="json",
        task_default_queue="platform",
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5},
        beat_schedule={
            "sweep": {"task": "longboard.submissions.jobs.sweep", "schedule": settings.SWEEP_S},
            "boards": {"task": "longboard.boards.jobs.refresh_boards", "schedule": settings.SWEEP_S},
            "checkpoints": {"task": "longboard.checkpoints.jobs.reap", "schedule": 3_600.0},
            "webhooks": {"task": "longboard.webhooks.jobs.tell", "schedule": settings.SWEEP_S},
        },
        beat_schedule_filename=str(settings.DATA_DIR / "celerybeat-schedule"),
    )
    app.autodiscover_tasks(
        ["longboard.submissions", "longboard.boards", "longboard.webhooks", "longboard.checkpoints"],
        related_name="jobs",
    )
    return app


app = make_app()
