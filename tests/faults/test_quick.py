"""The quick half: what goes wrong every day, on the real service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.faults.site import LEASE_S, SWEEP_S, wait_until

from longboard_worker.client import Refused, SiteClient
from longboard_worker.logbuffer import LogText

COUNTED = (
    "SELECT (SELECT count(*) FROM results_bundle), (SELECT count(*) FROM results_measurement), "
    "(SELECT count(*) FROM results_sample)"
)


def test_fifty_replays_of_complete_at_once_make_one_row_set_and_a_changed_one_is_refused(site, figure):
    node = site.node()
    (run,) = site.submit()
    client = node.client()
    ticket = node.take(client)
    signed = node.bundle(ticket)
    before = site.rows(COUNTED)[0]

    def send(_):
        return node.client().hand_in(attempt_id=ticket.attempt_id, fence=ticket.fence, signed=signed)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(send, range(50)))
    after = site.rows(COUNTED)[0]
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["state"], site.run_state(run)) == ("accepted", "accepted")
    assert tuple(b - a for a, b in zip(before, after, strict=True)) == (1, 6, 5)
    with pytest.raises(Refused) as refused:
        client.hand_in(
            attempt_id=ticket.attempt_id, fence=ticket.fence, signed=node.bundle(ticket, answer=lambda t: "no idea")
        )
    assert refused.value.status == 409
    assert site.rows(COUNTED)[0] == after
    figure("50 replays, 50 equal answers, 1 bundle, 6 measurements, 5 samples; the changed one: 409")


def test_a_killed_nodes_run_is_queued_again_and_finished_by_another_node_once(site, figure):
    first, second = site.node(), site.node()
    (run,) = site.submit(lengths=(2_048,), samples=400)
    victim = first.start()
    wait_until(lambda: bool(first.evaluators()), timeout_s=60, what="the evaluator")
    wait_until(lambda: site.run_state(run) == "running", timeout_s=20, what="the start")
    time.sleep(1)
    (child,) = first.evaluators()
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    killed = time.monotonic()
    wait_until(lambda: not first.evaluators(), timeout_s=5, what="the end of the orphaned evaluator")
    orphan_s = time.monotonic() - killed
    site.rows("UPDATE submissions_run SET samples = 5 WHERE id = %s RETURNING id", run)  # so that the second is quick
    wait_until(lambda: site.run_state(run) == "queued", timeout_s=LEASE_S + 10, what="the queueing")
    queued_s = time.monotonic() - killed
    # Lease, sweep, and what a loaded machine takes to start the task; with the service's clock: 195 s.
    assert queued_s <= LEASE_S + SWEEP_S + 5
    second.start()
    wait_until(lambda: site.run_state(run) == "accepted", timeout_s=90, what="the result")
    attempts = site.rows("SELECT closed_as, node_id FROM submissions_attempt WHERE run_id = %s ORDER BY number", run)
    assert [closed for closed, _ in attempts] == ["lost", "done"]
    assert attempts[0][1] != attempts[1][1]
    counted = site.value("SELECT count(*) FROM results_measurement WHERE run_id = %s AND metric = 'accuracy'", run)
    spends = dict(
        site.rows(
            "SELECT refunded_for, count(*) FROM submissions_gpuspend s JOIN submissions_attempt a ON a.id = s.attempt_id "
            "WHERE a.run_id = %s GROUP BY 1",
            run,
        )
    )
    assert (counted, spends) == (1, {"lost": 1, "": 1})
    figure(
        f"queued again {queued_s:.1f} s after kill -9 (lease {LEASE_S:g} s, sweep {SWEEP_S:g} s); "
        f"evaluator {child} gone after {orphan_s:.1f} s; 2 attempts, 1 result, charged once"
    )


def test_a_revoked_node_is_refused_with_its_next_call_and_its_run_is_queued_again(site, figure):
    node = site.node()
    (run,) = site.submit()
    client = node.client()
    ticket = node.take(client)
    assert not client.beat(ticket, None, LogText("", 0)).cancel
    assert site.api("POST", f"/nodes/{node.id}/state", {"state": "revoked"}).status_code == 200
    revoked = time.monotonic()
    with pytest.raises(Refused) as refused:
        client.beat(ticket, None, LogText("", 0))
    refused_s = time.monotonic() - revoked
    assert (refused.value.status, refused_s < 5) == (401, True)
    with pytest.raises(Refused):  # its key is no use either
        SiteClient(site.url, node=node.id, key=node.key()).claim()
    requeued_s = wait_until(lambda: site.run_state(run) == "queued", timeout_s=15, what="the queueing")
    figure(f"refused {refused_s:.2f} s after the revocation, its run queued again after {requeued_s:.1f} s")


def test_a_node_whose_disk_is_full_claims_nothing(site, figure):
    node = site.node()
    (run,) = site.submit()
    done = None
    if os.getuid() == 0 and shutil.which("unshare"):
        # A real full disk: a file system of 1 MB over the node's folder, in a mount namespace of its own.
        script = 'cp -r "$1" "$1.kept" && mount -t tmpfs -o size=1m tmpfs "$1" && cp "$1.kept"/node.* "$1" && shift && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(node.home)]
        command += [sys.executable, "-m", "longboard_worker.cli"]
        done = subprocess.run(
            [*command, "--home", str(node.home), "start", "--once"], env=node.environment(), capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip
        how = "a full file system"
    if done is None or b"mount:" in done.stderr:
        how = "a floor above what is free"
        node.start("--once", LONGBOARD_NODE_LEAST_FREE_BYTES=str(2**60)).wait(60)
        told = node.log()
    else:
        told = done.stderr.decode()
    assert "disk is full, no run is claimed" in told
    assert site.run_state(run) == "queued"
    assert site.value("SELECT count(*) FROM submissions_attempt WHERE run_id = %s", run) == 0
    figure(f"{how}: 0 claims, the run stays queued")


def test_a_hundred_runs_are_cancelled_by_one_call(site, figure):
    runs = [run for seed in range(4) for run in site.submit(lengths=tuple(range(200, 225)), seed=seed)]
    assert len(runs) == 100
    began = time.monotonic()
    answer = site.api("POST", "/runs/cancel", {"runs": runs})
    took = time.monotonic() - began
    assert answer.status_code == 200
    assert set(answer.json().values()) == {"cancelled"}
    figure(f"100 runs cancelled by one call in {took:.2f} s")
