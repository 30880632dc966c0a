"""Real Celery workers on real brokers: a hint wakes a node; lost, repeated and forged hints change nothing."""

import pytest
from django.utils import timezone
from tests.workers.conftest import state_of, wait_until
from tests.workers.test_node import submit

from longboard.celery_app import app
from longboard.submissions.dispatch import EXECUTE, send_hints
from longboard.submissions.models import Run
from longboard.submissions.sweep import sweep

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def node(pool, make_node_process, broker):
    url, folder = broker
    process = make_node_process()
    process.enrol(pool)
    process.start(LONGBOARD_BROKER_URL=url, LONGBOARD_BROKER_DIR=str(folder))
    wait_until(lambda: "ready" in process.log(), what="the Celery worker")
    return process


def test_a_submission_wakes_the_pools_worker_which_finishes_every_run(node):
    runs = submit(suites=("niah", "efficiency"))
    wait_until(lambda: all(state_of(run) == Run.State.ACCEPTED for run in runs), timeout_s=120, what="both runs")
    assert {run.attempts.count() for run in runs} == {1}


def test_a_lost_hint_is_sent_again_by_the_sweep(node, monkeypatch):
    with monkeypatch.context() as deaf:
        deaf.setattr("longboard.submissions.dispatch.send_hints", lambda hints: None)
        (run,) = submit()
    assert state_of(run) == Run.State.QUEUED
    assert sweep(now=timezone.now() + timezone.timedelta(seconds=60)).hinted == 1
    wait_until(lambda: state_of(run) == Run.State.ACCEPTED, what="the run")


def test_a_node_that_hears_no_hint_asks_the_site_by_itself(pool, make_node_process, broker, monkeypatch):
    url, folder = broker
    node = make_node_process()
    node.enrol(pool)
    node.start(LONGBOARD_BROKER_URL=url, LONGBOARD_BROKER_DIR=str(folder), LONGBOARD_NODE_DEAF_S="2")
    wait_until(lambda: "ready" in node.log(), what="the Celery worker")
    with monkeypatch.context() as deaf:
        deaf.setattr("longboard.submissions.dispatch.send_hints", lambda hints: None)
        (run,) = submit()
    wait_until(lambda: state_of(run) == Run.State.ACCEPTED, what="the run")
    wait_until(lambda: "found without a hint" in node.log(), what="the node's word, once it is back")


def test_every_hint_sent_five_times_and_some_forged_runs_everything_once(node):
    queue = "pool.local-cpu"
    send_hints([("not-a-run", queue), ("00000000-0000-0000-0000-000000000000", queue)])
    runs = submit(context_lengths=(256, 300))
    send_hints([(str(run.pk), queue) for run in runs] * 4)
    wait_until(lambda: all(state_of(run) == Run.State.ACCEPTED for run in runs), timeout_s=120, what="both runs")
    assert [run.attempts.count() for run in runs] == [1, 1]


def test_short_contexts_run_first_in_whatever_order_the_broker_brings_the_hints(
    pool, make_node_process, broker, monkeypatch
):
    url, folder = broker
    process = make_node_process()
    process.enrol(pool)
    with monkeypatch.context() as deaf:
        deaf.setattr("longboard.submissions.dispatch.send_hints", lambda hints: None)
        runs = submit(context_lengths=(384, 256, 320))
    send_hints([(str(run.pk), "pool.local-cpu") for run in sorted(runs, key=lambda run: -run.context_length)])
    process.start(LONGBOARD_BROKER_URL=url, LONGBOARD_BROKER_DIR=str(folder))
    wait_until(lambda: all(state_of(run) == Run.State.ACCEPTED for run in runs), timeout_s=180, what="three runs")
    started = Run.objects.order_by("started_at").values_list("context_length", flat=True)
    assert list(started) == [256, 320, 384]


def test_a_broker_that_is_down_does_not_lose_a_submission(pool, monkeypatch, tmp_path):
    before = app.conf.broker_url
    try:
        app.conf.broker_url = app.conf.broker_write_url = "redis://127.0.0.1:9/0"
        app.conf.broker_transport_options = {}
        (run,) = submit()
    finally:
        app.conf.broker_url = app.conf.broker_write_url = before
    assert state_of(run) == Run.State.QUEUED


def test_the_job_that_the_platform_names_is_the_one_that_the_node_has():
    from longboard_worker.jobs import execute

    assert execute.name == EXECUTE
