"""The broker loses everything, the database restarts, messages come twice: the same outcome."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from tests.faults.site import wait_until

pytestmark = pytest.mark.long

ENDED = ("accepted", "failed", "cancelled", "rejected")


def ended(site, runs) -> int:
    return site.value(
        "SELECT count(*) FROM submissions_run WHERE id = ANY(%s::uuid[]) AND state = ANY(%s)", runs, list(ENDED)
    )


def outcome(site, runs):
    """(accepted Runs, measurements of accuracy, samples) of these Runs."""
    return site.rows(
        "SELECT (SELECT count(*) FROM submissions_run WHERE id = ANY(%s::uuid[]) AND state = 'accepted'), "
        "(SELECT count(*) FROM results_measurement WHERE run_id = ANY(%s::uuid[]) AND metric = 'accuracy'), "
        "(SELECT count(*) FROM results_sample WHERE run_id = ANY(%s::uuid[]))",
        runs, runs, runs,
    )[0]  # fmt: skip


def test_redis_flushed_and_restarted_and_postgresql_restarted_during_twenty_runs(site, figure):
    nodes = [site.node("hinted"), site.node("hinted")]
    for node in nodes:
        node.start_hinted()
    runs = site.submit(lengths=tuple(range(200, 220)), pool="hinted")
    assert len(runs) == 20
    began = time.monotonic()
    wait_until(lambda: ended(site, runs) >= 3, timeout_s=180, what="the first three")
    site.redis().flushall()
    wait_until(lambda: ended(site, runs) >= 6, timeout_s=180, what="six after the flush")
    site.end("redis", signal.SIGKILL)
    time.sleep(3)
    site.start_redis()
    site.redis().flushall()
    wait_until(lambda: ended(site, runs) >= 9, timeout_s=240, what="nine after Redis came back empty")
    site.stop_postgres("immediate")  # as a crash: no checkpoint, every connection cut
    down = time.monotonic()
    time.sleep(2)
    site.start_postgres()
    wait_until(site._web_answers, timeout_s=30, what="the web after PostgreSQL came back")
    back_s = time.monotonic() - down
    wait_until(lambda: ended(site, runs) == 20, timeout_s=400, what="all twenty", every_s=1)
    accepted, measured, samples = outcome(site, runs)
    attempts = site.value("SELECT count(*) FROM submissions_attempt WHERE run_id = ANY(%s::uuid[])", runs)
    assert (accepted, measured, samples) == (20, 20, 100)
    figure(
        f"20 runs, 2 Celery nodes: Redis flushed, killed, back empty; PostgreSQL crashed, web back {back_s:.1f} s later: "
        f"0 lost, 0 doubled, {attempts} attempts, {time.monotonic() - began:.0f} s"
    )


def test_every_celery_message_delivered_twice_has_the_same_outcome(site, figure):
    node = site.node("hinted")
    process = node.start_hinted()
    wait_until(lambda: "ready" in node.log(), timeout_s=60, what="the Celery worker")
    queue, broker, doubled = "pool.hinted", site.redis(), [0]
    process.send_signal(signal.SIGSTOP)  # so that no message is taken before its copy lies beside it
    runs = site.submit(lengths=tuple(range(300, 306)), pool="hinted")
    wait_until(lambda: broker.llen(queue) >= len(runs), timeout_s=15, what="the hints")
    for message in broker.lrange(queue, 0, -1):
        broker.rpush(queue, message)
        doubled[0] += 1
    stop = threading.Event()

    def double_the_rest():
        """The sweep's repeated hints, too: whatever lies there while the node is busy gets a copy, once."""
        seen = set(broker.lrange(queue, 0, -1))
        while not stop.wait(0.05):
            for message in broker.lrange(queue, 0, -1):
                if message not in seen:
                    seen.add(message)
                    broker.rpush(queue, message)
                    doubled[0] += 1

    helper = threading.Thread(target=double_the_rest, daemon=True)
    helper.start()
    process.send_signal(signal.SIGCONT)
    try:
        wait_until(lambda: ended(site, runs) == len(runs), timeout_s=240, what="all runs", every_s=0.5)
    finally:
        stop.set()
        helper.join(5)
    attempts = site.value("SELECT count(*) FROM submissions_attempt WHERE run_id = ANY(%s::uuid[])", runs)
    assert outcome(site, runs) == (6, 6, 30)
    assert attempts == 6
    figure(f"6 runs, {doubled[0]} messages delivered twice: 6 attempts, 6 results")
