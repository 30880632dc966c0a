"""The node's Celery side: one job, `execute`, whose message is only a hint. Its first act is the claim.

A worker that lost its broker for good, or one that went deaf after a reset, would wait for ever. So a node that has not
claimed for DEAF_S asks the site by itself, over HTTPS, as outsiders' nodes do.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from celery import Celery, shared_task
from celery.signals import worker_ready

from longboard_worker.client import Refused, Unreachable
from longboard_worker.identity import default_home
from longboard_worker.node import Node

log = logging.getLogger(__name__)

DEAF_S = 60.0
_one_at_a_time = threading.Lock()
_last_claim = time.monotonic()


@shared_task(name="longboard_worker.jobs.execute", ignore_result=True)
def execute(hint: str = "") -> bool:
    """Does the Run that the site gives, which the hint (a Run's id) only tells of: brokers deliver in no order to rely on.

    A hint that came late or twice does another Run, or finds nothing and ends.
    """
    global _last_claim
    with _one_at_a_time:
        try:
            log.info("asking for a run", extra={"hint": hint})
            return this_node().work_once()
        except (Unreachable, Refused) as error:
            # The site's sweep hints again; an unacknowledged message would only come back sooner and as often.
            print(f"no claim: {error}", flush=True)
            return False
        finally:
            _last_claim = time.monotonic()


@worker_ready.connect
def _listen_without_a_broker(**_: Any) -> None:
    threading.Thread(target=_ask_when_deaf, daemon=True).start()


def _ask_when_deaf() -> None:
    deaf_s = float(os.environ.get("LONGBOARD_NODE_DEAF_S", DEAF_S))
    while not this_node().is_draining:
        time.sleep(deaf_s / 4 * random.uniform(0.8, 1.2))
        if time.monotonic() - _last_claim < deaf_s:
            continue
        while execute():  # as long as there is something that no hint told of
            log.warning("a run was found without a hint")


@cache
def this_node() -> Node:
    models_dir = os.environ.get("LONGBOARD_MODELS_DIR")
    return Node(default_home(), Path(models_dir) if models_dir else None)


def make_app(broker_url: str, broker_dir: Path | None = None) -> Celery:
    """A Celery app for one worker with one run at a time. The platform's twin is in longboard.celery_app."""
    app = Celery("longboard-node", broker=broker_url, set_as_current=True)
    app.conf.update(
        broker_transport_options=transport_options(broker_url, broker_dir),
        broker_connection_retry_on_startup=True,
        task_ignore_result=True,
        accept_content=["json"],
        task_serializer="json",
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        # Early acknowledgement on purpose: leases decide who repeats a run, never the broker.
        task_acks_late=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def transport_options(broker_url: str, broker_dir: Path | None) -> dict[str, Any]:
    if not broker_url.startswith("filesystem://"):
        return {"visibility_timeout": 43_200, "unacked_restore_interval": 2, "unacked_restore_throttle": 1}
    if broker_dir is None:
        raise ValueError("A filesystem:// broker needs its folder: set LONGBOARD_BROKER_DIR.")
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
