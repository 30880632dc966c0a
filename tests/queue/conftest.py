"""Brokers for tests: filesystem:// always; a real Redis where LONGBOARD_TEST_REDIS_URL names one that tests may flush."""

from __future__ import annotations

import os

import pytest
import redis as redis_client
from tests.workers.conftest import make_node_process, models_dir, pool

from longboard.celery_app import app, transport_options

__all__ = ["make_node_process", "models_dir", "pool"]


@pytest.fixture(params=["filesystem", "redis"])
def broker(request, tmp_path):
    """The broker's URL and folder, with the platform's Celery pointed at it for one test."""
    url, folder = "filesystem://", tmp_path / "broker"
    if request.param == "redis":
        url = os.environ.get("LONGBOARD_TEST_REDIS_URL", "")
        if not url:
            pytest.skip("LONGBOARD_TEST_REDIS_URL is not set: .ci/run starts a Redis of its own and sets it")
        redis_client.Redis.from_url(url, socket_timeout=5).flushall()
    before = app.conf.broker_url, app.conf.broker_transport_options
    app.conf.broker_url = app.conf.broker_write_url = url
    app.conf.broker_transport_options = transport_options(url, folder)
    app.pool.force_close_all()
    app._pool = None
    app.amqp._producer_pool = None
    yield url, folder
    app.conf.broker_url = app.conf.broker_write_url = before[0]
    app.conf.broker_transport_options = before[1]
    app._pool = None
    app.amqp._producer_pool = None
