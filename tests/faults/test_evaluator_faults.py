"""What an evaluator or a frozen node can do to the service: nothing that is not seen, bounded and undone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.faults.site import LEASE_S, wait_until

pytestmark = pytest.mark.long

FLOOD = """
import os, sys
if "longboard_worker.child" in " ".join(sys.orig_argv):
    os.write(1, b"the very first line\\n")
    line = b"flood " * 12 + b"\\n"
    block = line * 1000
    written = 0
    while written < 10**9:
        written += os.write(1, block)
    for number in range(200):
        os.write(1, b"last words %d\\n" % number)
    os.kill(os.getpid(), 11)
"""


def test_a_node_frozen_past_its_lease_is_fenced_off_when_it_thaws(site, figure):
    frozen, other = site.node(), site.node()
    (run,) = site.submit(lengths=(2_048,), samples=400)
    process = frozen.start()
    wait_until(lambda: bool(frozen.evaluators()), timeout_s=60, what="the evaluator")
    wait_until(lambda: site.run_state(run) == "running", timeout_s=20, what="the start")
    (child,) = frozen.evaluators()
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(child, signal.SIGSTOP)
    site.rows("UPDATE submissions_run SET samples = 5 WHERE id = %s RETURNING id", run)
    wait_until(lambda: site.run_state(run) == "queued", timeout_s=LEASE_S + 10, what="the queueing")
    other.start()
    wait_until(lambda: site.run_state(run) == "accepted", timeout_s=90, what="the result of the other node")
    other.kill()
    board = site.api("GET", "/measurements?limit=100").content
    os.kill(child, signal.SIGCONT)
    os.kill(process.pid, signal.SIGCONT)
    thawed = time.monotonic()
    wait_until(lambda: not frozen.evaluators(), timeout_s=10, what="the end of the thawed evaluator", every_s=0.05)
    fenced_s = time.monotonic() - thawed
    wait_until(lambda: "fenced off" in frozen.log(), timeout_s=10, what="the node's word")
    assert fenced_s <= 5
    assert site.api("GET", "/measurements?limit=100").content == board
    attempts = site.rows("SELECT closed_as FROM submissions_attempt WHERE run_id = %s ORDER BY number", run)
    assert [row[0] for row in attempts] == ["lost", "done"]
    figure(f"evaluator gone {fenced_s:.2f} s after the thaw; measurements byte for byte the same; 1 result")


def test_a_late_bundle_of_a_frozen_node_is_kept_and_not_counted(site, figure):
    slow, quick = site.node(), site.node()
    (run,) = site.submit()
    client = slow.client()
    ticket = slow.take(client)
    wait_until(lambda: site.run_state(run) == "queued", timeout_s=LEASE_S + 10, what="the queueing")
    other = quick.client()
    again = quick.take(other)
    other.hand_in(attempt_id=again.attempt_id, fence=again.fence, signed=quick.bundle(again))
    late = client.hand_in(
        attempt_id=ticket.attempt_id, fence=ticket.fence, signed=slow.bundle(ticket, answer=lambda t: "wrong")
    )
    assert late["state"] == "late"
    assert site.value("SELECT count(*) FROM results_bundle b JOIN submissions_attempt a ON a.id = b.attempt_id "
                      "WHERE a.run_id = %s", run) == 2  # fmt: skip
    assert site.rows("SELECT value FROM results_measurement WHERE run_id = %s AND metric = 'accuracy'", run) == [(1.0,)]
    figure("2 bundles kept, 1 counted")


def test_a_job_that_prints_a_gigabyte_and_crashes(site, figure, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(FLOOD)
    node = site.node()
    (run,) = site.submit()
    path = node.environment()["PYTHONPATH"]
    web = [psutil.Process(site.processes["web"].pid), *psutil.Process(site.processes["web"].pid).children()]
    for _ in range(40):  # both processes have loaded what they load once
        site.api("GET", f"/runs/{run}")
    before = sum(process.memory_info().rss for process in web)
    process = node.start("--once", PYTHONPATH=f"{tmp_path}{os.pathsep}{path}")
    most = 0
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 240:
        with contextlib.suppress(psutil.Error):
            most = max(most, psutil.Process(process.pid).memory_info().rss)
        time.sleep(0.2)
    ended = time.monotonic()
    # A crash is a fault of the machine until shown otherwise, so it is tried again; the attempt tells all.
    row = site.rows(
        "SELECT failure_class, failure_message, length(log_head), length(log_tail), log_skipped_bytes "
        "FROM submissions_attempt WHERE run_id = %s AND number = 1", run,
    )[0]  # fmt: skip
    log = site.api("GET", f"/runs/{run}/log?attempt=1").json()
    seen_s = time.monotonic() - ended
    page = site.api("GET", f"/runs/{run}").json()
    assert (row[0], "SIGSEGV" in row[1]) == ("node_error", True)
    assert log["head"].startswith("the very first line\n")
    assert log["tail"].splitlines()[-200:] == [f"last words {n}" for n in range(200)]
    assert row[2] <= 16_000
    assert row[3] <= 120_000
    assert log["skipped_bytes"] == row[4] >= 10**9 - 200_000
    assert "last words 199" in page["log_tail"]
    assert page["attempts"][0]["failure_class"] == "node_error"
    grown = sum(process.memory_info().rss for process in web) - before
    assert grown < 50e6
    figure(
        f"1 GB printed in {ended - began:.0f} s: {row[2] + row[3]} characters kept, class {row[0]}, last 200 lines there "
        f"{seen_s:.2f} s after the end; web grew {grown / 1e6:.1f} MB, node's peak {most / 1e6:.0f} MB"
    )


def test_cancel_with_the_services_own_beat_of_30_s_ends_the_evaluator_within_30_s(site, figure):
    """The other tests beat every second; here the ticket says 30 s, as in service."""
    site.end("web")
    environment = site.environment() | {"LONGBOARD_BEAT_S": "30", "LONGBOARD_LEASE_S": "180"}
    original = site.environment
    site.environment = lambda: environment  # type: ignore[method-assign]
    try:
        site.start_web()
        node = site.node()
        (run,) = site.submit(lengths=(4_000,), samples=2_000)
        node.start()
        wait_until(lambda: bool(node.evaluators()), timeout_s=60, what="the evaluator")
        wait_until(
            lambda: site.value("SELECT total FROM submissions_run WHERE id = %s", run) > 0,
            timeout_s=60,
            what="progress",
        )
        began = time.monotonic()
        assert site.api("POST", f"/runs/{run}/cancel").status_code == 200
        wait_until(lambda: not node.evaluators(), timeout_s=40, what="the end of the evaluator")
        gone_s = time.monotonic() - began
        wait_until(lambda: site.run_state(run) == "cancelled", timeout_s=20, what="the state")
        assert gone_s <= 30
        figure(f"evaluator gone {gone_s:.1f} s after the cancel, with a beat of 30 s")
    finally:
        site.environment = original  # type: ignore[method-assign]
        site.end("web")
        site.start_web()


def test_a_killed_evaluator_is_reported_with_its_class_at_once(site, figure):
    node = site.node()
    (run,) = site.submit(lengths=(2_048,), samples=400)
    node.start()
    wait_until(lambda: bool(node.evaluators()), timeout_s=60, what="the evaluator")
    wait_until(
        lambda: site.value("SELECT done FROM submissions_run WHERE id = %s", run) > 0, timeout_s=60, what="progress"
    )
    (child,) = node.evaluators()
    os.kill(child, signal.SIGKILL)
    began = time.monotonic()
    wait_until(lambda: site.run_state(run) == "failed", timeout_s=15, what="the failure")
    failure = site.value("SELECT failure_class FROM submissions_run WHERE id = %s", run)
    assert failure == "oom"
    assert not list(Path(node.home / "work").glob("*"))
    figure(f"class {failure} {time.monotonic() - began:.1f} s after kill -9 of the evaluator; its folder is gone")
