"""The chain of receipts, its export, and `longboard verify`: a clean export passes, one changed byte is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from tests.factories import NOW, make_pool, make_run, make_user
from tests.services.test_lease import later
from tests.services.test_results import Worker
from tests.signing import REPORT, make_key

from longboard.fleet import services as fleet
from longboard.results.chain import append_receipt
from longboard.results.evidence import evidence_lines
from longboard.results.models import Measurement, Receipt
from longboard.submissions.models import Run
from longboard.submissions.sweep import sweep
from longboard_worker.verify import verify

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


class EnrolledWorker(Worker):
    """A Worker whose key the chain has announced."""

    def __init__(self, name="box"):
        super().__init__()
        self.node.delete()
        self.key, public = make_key()
        code = fleet.make_enrolment_code(pool=make_pool(), actor=make_user(is_staff=True), now=timezone.now())
        self.node = fleet.enrol(
            code=code, name=name, public_key=public, report=REPORT, software={}, now=timezone.now()
        ).node


@pytest.fixture
def export():
    """Two accepted runs, a rejected one and a late one."""
    for _ in range(3):
        make_run(samples=5)
    worker, other = EnrolledWorker(), EnrolledWorker("other")
    for _ in range(2):
        ticket = worker.take()
        worker.hand_in(ticket, worker.bundle(ticket))
    ticket = worker.take()
    bundle = worker.bundle(ticket)
    worse = bundle.samples[0].model_copy(update={"score": 0.0})
    worker.hand_in(ticket, bundle.model_copy(update={"samples": (worse, *bundle.samples[1:])}))
    make_run(samples=5)
    ticket = other.take()
    sweep(now=later(200))
    other.hand_in(ticket, other.bundle(ticket), later(300))
    return list(evidence_lines())


def problems(lines, **how):
    return verify(iter(lines), **how).problems


def test_a_clean_export_fits(export):
    verdict = verify(iter(export))
    assert verdict.problems == []
    assert (verdict.bundles, verdict.rows) == (4, 12)
    assert [json.loads(json.loads(line)["body"])["kind"] for line in export[1:]] == [
        "node-key", "node-key", "received", "accepted", "received", "accepted", "received", "rejected", "received",
    ]  # fmt: skip


def test_each_receipt_holds_the_digest_of_the_one_before(export):
    rows = list(Receipt.objects.order_by("number"))
    assert [row.number for row in rows] == list(range(1, 10))
    assert [row.previous for row in rows[1:]] == [row.digest for row in rows[:-1]]
    assert rows[0].previous == "0" * 64


def changed(export, at, change):
    lines = list(export)
    entry = json.loads(lines[at])
    change(entry)
    lines[at] = json.dumps(entry)
    return lines


def swap_score(entry):
    entry["bundle"]["payload"] = entry["bundle"]["payload"].replace('"score":1.0', '"score":0.5', 1)


def swap_row(entry):
    entry["rows"][0]["value"] = 0.5


def swap_body(entry):
    entry["body"] = entry["body"].replace('"rows":6', '"rows":7')


def drop_row(entry):
    entry["rows"].pop()


@pytest.mark.parametrize(
    "change, says",
    [
        (swap_score, "the bundle is not the one that was received"),
        (swap_row, "differs from the signed bundle in value"),
        (swap_body, "the site's signature does not fit"),
        (drop_row, "5 rows, but the signed bundle has 6"),
    ],
)
def test_one_change_is_found_and_named(export, change, says):
    at = next(n for n, line in enumerate(export) if '\\"kind\\":\\"accepted\\"' in line)
    found = problems(changed(export, at, change))
    assert any(says in line for line in found), found
    assert any("receipt 4" in line for line in found)


def test_every_single_changed_byte_of_a_receipt_is_found(export):
    line = json.loads(export[4])
    for at in range(0, len(line["body"]), 29):
        body = line["body"][:at] + chr(ord(line["body"][at]) ^ 1) + line["body"][at + 1 :]
        assert problems([*export[:4], json.dumps(line | {"body": body}), *export[5:]]), at


def test_a_receipt_that_is_left_out_moved_or_repeated_is_found(export):
    assert any("was due" in p for p in problems(export[:3] + export[4:]))
    assert any("was due" in p for p in problems([*export[:3], export[4], export[3], *export[5:]]))
    assert problems([*export[:3], export[3], *export[3:]])
    assert any("ends at receipt 8" in p for p in problems(export[:-1]))


def test_a_chain_signed_by_somebody_else_is_refused_where_the_sites_key_is_known(export):
    key = json.loads(export[0])["server_keys"][0]
    assert problems(export, server_key=key) == []
    assert len(problems(export, server_key=make_key()[1])) == 9


def test_a_bundle_of_a_key_that_nobody_announced_is_refused():
    make_run(samples=5)
    stranger = Worker()  # its row was made past the enrolment
    ticket = stranger.take()
    stranger.hand_in(ticket, stranger.bundle(ticket))
    assert any("no receipt announced this key" in p for p in problems(evidence_lines()))


def test_a_number_changed_in_the_database_shows(export):
    Measurement.objects.filter(metric="accuracy").update(value=0.99, ci_low=0.5)
    assert any("accuracy) differs from the signed bundle in ci_low, value" in p for p in problems(evidence_lines()))


def test_an_export_can_begin_anywhere(export):
    part = list(evidence_lines(after=3, limit=3))
    verdict = verify(iter(part))
    assert (verdict.problems, verdict.first, verdict.receipts) == ([], 4, 3)


def test_results_of_a_key_from_before_a_rotation_still_fit():
    for _ in range(2):
        make_run(samples=5)
    worker = EnrolledWorker()
    ticket = worker.take()
    worker.hand_in(ticket, worker.bundle(ticket))
    new_key, public = make_key()
    signature = worker.key.sign(fleet.rotation_payload(worker.node, public)).hex()
    fleet.rotate_key(node=worker.node, new_key=public, signature=signature, now=NOW)
    worker.node.refresh_from_db()
    worker.key = new_key
    ticket = worker.take()
    assert worker.hand_in(ticket, worker.bundle(ticket)).state == "accepted"
    verdict = verify(evidence_lines())
    assert (verdict.problems, verdict.bundles, len(verdict.keys)) == ([], 2, 2)


def test_a_refused_transaction_leaves_no_receipt():
    with transaction.atomic():
        append_receipt("received", {}, now=NOW)
        transaction.set_rollback(True)
    assert not Receipt.objects.exists()


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_the_command_checks_a_file_offline_and_says_what_is_wrong(export, tmp_path, suffix):
    import gzip

    path = tmp_path / f"evidence.{suffix}"
    write = gzip.open if suffix.endswith("gz") else open

    def run(lines):
        with write(path, "wt") as file:
            file.writelines(lines)
        words = [sys.executable, "-m", "longboard_worker.verify", "verify", str(path)]
        import os

        paths = os.pathsep.join(str(ROOT / root) for root in ("workers", "tasks"))
        return subprocess.run(
            words, env={"PYTHONPATH": paths, "PATH": ""}, capture_output=True, text=True, timeout=60, check=False
        )

    done = run(export)
    assert (done.returncode, "everything fits: 9 receipts" in done.stdout) == (0, True), done.stdout + done.stderr
    bad = run(line if '"rows"' not in line else line.replace('"value":1.0', '"value":0.9', 1) for line in export)
    assert bad.returncode == 1
    assert "WRONG  receipt 4, run " in bad.stdout


def test_the_management_command_writes_the_whole_export(export, tmp_path):
    out = tmp_path / "all.jsonl.gz"
    call_command("export_evidence", str(out))
    from longboard_worker.verify import open_export

    with open_export(out) as file:
        assert verify(iter(file)).problems == []


def test_the_export_and_the_receipts_are_served(export, client):
    answer = client.get("/api/v1/evidence.jsonl")
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert verify(iter(lines)).problems == []
    page = client.get("/api/v1/receipts?limit=5").json()
    assert ([item["number"] for item in page["items"]], page["next"]) == ([1, 2, 3, 4, 5], "5")
    assert Run.objects.count() == 4
