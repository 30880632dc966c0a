"""The parts of a node alone: which tickets it obeys, what it keeps of a log, what it takes from the evaluator."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workers.conftest import wait_until

from longboard_tasks.contract import RunSpec, SignedTicket, Ticket, canonical_json, merkle_root, sha256
from longboard_worker.identity import Enrolment, load_enrolment, public_hex
from longboard_worker.logbuffer import HEAD_CHARS, TAIL_CHARS, LogBuffer
from longboard_worker.provenance import suite_digest
from longboard_worker.selftest import self_test
from longboard_worker.tickets import TicketBook, TicketRefused

ROOT = Path(__file__).resolve().parents[2]
SITE_KEY = Ed25519PrivateKey.generate()
ENROLMENT = Enrolment(
    site="http://site", node="node-1", name="box", pool="p", queue="pool.p", is_first_party=False,
    server_key=public_hex(SITE_KEY),
)  # fmt: skip


def ticket(**fields):
    spec = RunSpec.model_validate(
        {
            "run_id": "r", "system": {"model": {"source": "zoo", "id": "llama-3m"}}, "suite": "niah", "suite_version": 1,
            "tasks": ["single"], "context_length": 256, "samples": 5, "seed": 7,
        }
    )  # fmt: skip
    known = {"run": spec, "attempt_id": "a", "fence": 1, "lease_until": datetime(2030, 1, 1, tzinfo=UTC), "beat_s": 30}
    return Ticket(**(known | {"node": "node-1", "ticket_id": "t1"} | fields))


def signed(made, key=SITE_KEY):
    payload = canonical_json(made)
    return SignedTicket(payload=payload.decode(), public_key=public_hex(key), signature=key.sign(payload).hex())


def test_a_ticket_of_its_own_site_is_obeyed_once_also_after_a_restart(tmp_path):
    assert TicketBook(tmp_path).accept(signed(ticket()), ENROLMENT) == ticket()
    for book in (TicketBook(tmp_path), TicketBook(tmp_path)):
        with pytest.raises(TicketRefused, match="used before"):
            book.accept(signed(ticket()), ENROLMENT)
    assert TicketBook(tmp_path).accept(signed(ticket(ticket_id="t2")), ENROLMENT)


@pytest.mark.parametrize(
    "made, says",
    [
        (signed(ticket(), Ed25519PrivateKey.generate()), "another key"),
        (signed(ticket()).model_copy(update={"signature": "0" * 128}), "does not fit"),
        (signed(ticket()).model_copy(update={"payload": signed(ticket(fence=2)).payload}), "does not fit"),
        (signed(ticket(node="node-2")), "another node"),
        (signed(ticket(node="")), "another node"),
        (signed(ticket(ticket_id="")), "another node"),
    ],
    ids=["key", "signature", "payload", "node", "no-node", "no-number"],
)
def test_an_unsigned_forged_or_foreign_ticket_is_refused(tmp_path, made, says):
    with pytest.raises(TicketRefused, match=says):
        TicketBook(tmp_path).accept(made, ENROLMENT)


def test_an_enrolment_of_an_earlier_version_is_still_read(tmp_path):
    (tmp_path / "node.json").write_text(
        '{"site": "s", "node": "n", "name": "b", "token": "lbn_old", "pool": "p", "queue": "q", "is_first_party": true}'
    )
    assert load_enrolment(tmp_path).server_key == ""


# --- the log ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40_000), max_size=30), cuts=st.sets(st.integers(0, 30)))
def test_head_tail_and_what_fell_out_account_for_every_character(pieces, cuts):
    log = LogBuffer(most_bytes=10**9)
    text, dropped = "", 0
    for at, piece in enumerate(pieces):
        log.add(piece)
        if at in cuts:
            taken = log.take()
            text, dropped = text + taken.text, dropped + taken.dropped
    taken = log.take(is_last=True)
    text, dropped = text + taken.text, dropped + taken.dropped
    whole = b"".join(pieces).decode(errors="replace")
    assert abs(len(text) + dropped - len(whole)) <= 3  # a character that the end cut in half
    assert text[:HEAD_CHARS] == whole[: min(len(text), HEAD_CHARS)]
    assert log.digest() == sha256(b"".join(pieces))


def test_a_flood_is_held_in_bounded_memory_with_its_end():
    log = LogBuffer(most_bytes=10**9)
    for number in range(3_000):
        log.add(b"%07d " % number * 1_000)
    taken = log.take()
    assert len(taken.text) <= HEAD_CHARS + TAIL_CHARS + 8_000
    assert taken.text.startswith("0000000 ")
    assert taken.text.endswith("0002999 ")
    assert len(taken.text) + taken.dropped == 3_000 * 8_000


def test_text_that_could_not_be_sent_comes_first_next_time():
    log = LogBuffer(most_bytes=10**9)
    log.add(b"first ")
    log.give_back(log.take())
    log.add(b"second")
    assert log.take().text == "first second"


def test_after_the_cap_only_the_end_is_carried():
    log = LogBuffer(most_bytes=1_000)
    log.add(b"x" * 2_000)
    assert len(log.take().text) == 2_000
    log.add(b"much more")
    assert (log.has_news(), log.take().text, log.take(is_last=True).text) == (False, "", "much more")


# --- the evaluator's process -----------------------------------------------------------------------------------------

PROBE = """
import os, resource, socket, sys
from longboard_worker.isolation import cut_network, limit_resources
limit_resources(1_000_000)
network = cut_network()
told = [network]
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=3)
    told.append("connected")
except OSError as error:
    told.append(type(error).__name__)
try:
    with open(sys.argv[2], "wb") as file:
        file.write(b"0" * 2_000_000)
    told.append("written")
except OSError as error:
    told.append(str(error.errno))
told.append(str(resource.getrlimit(resource.RLIMIT_CORE)[0]))
told.append(os.environ["HF_HUB_OFFLINE"])
if network == "cut":
    interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
    told.append(",".join(interfaces))
print(" ".join(told))
"""


def probe(*words):
    path = os.pathsep.join(str(ROOT / root) for root in ("workers", "tasks"))
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_evaluator_reaches_no_network_and_writes_no_file_above_its_limit(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        network, reached, wrote, core, offline, *interfaces = probe(str(server.getsockname()[1]), str(tmp_path / "big"))
    assert network in ("cut", "refused")
    assert reached == "PermissionError"
    assert (wrote, core, offline) == ("27", "0", "1")  # EFBIG
    assert (tmp_path / "big").stat().st_size <= 1_000_000
    if network == "cut":
        assert interfaces in ([], ["lo"])


def test_a_child_ends_with_its_parent_even_while_it_does_nothing():
    script = (
        "import os, sys, time\nfrom longboard_worker.isolation import die_with_parent\n"
        "child = os.fork()\n"
        "if child == 0:\n    die_with_parent(); print(os.getpid(), flush=True); time.sleep(60)\n"
        "time.sleep(0.5); os._exit(0)"
    )
    path = os.pathsep.join(str(ROOT / root) for root in ("workers", "tasks"))
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=20,
        check=True,
    )  # fmt: skip
    pid = int(done.stdout)

    def is_gone():
        try:
            return "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
        except OSError:
            return True

    wait_until(is_gone, timeout_s=10, what="the child's end")


# --- provenance and the self-test ------------------------------------------------------------------------------------


def test_the_merkle_root_is_that_of_rfc_6962():
    assert merkle_root([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle_root([b""]) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    # The test tree of eight leaves from Google's certificate-transparency sources.
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    for count, root in roots.items():
        assert merkle_root(bytes.fromhex(leaf) for leaf in leaves[:count]) == root


def test_a_suites_digest_follows_its_files():
    assert suite_digest("niah") != suite_digest("recall")
    assert suite_digest("niah") == suite_digest("niah")
    assert suite_digest("no-such-suite") is None


def test_the_self_test_passes_here_and_is_kept_by_weights_versions_and_device(tmp_path, monkeypatch):
    first = self_test(cache=tmp_path)
    assert first.passed, first.reason
    assert (first.accuracy, first.matmul_flops > 0, first.copy_bytes_per_s > 0) == (1.0, True, True)
    assert self_test(cache=tmp_path) == first  # its wall_s too: it was not run again
    monkeypatch.setattr("longboard_worker.selftest.software_versions", lambda: {"torch": "0.0"})
    assert self_test(cache=tmp_path).cache_key != first.cache_key


def test_a_machine_that_cannot_run_the_model_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("longboard_worker.selftest.MODEL", "no-such-model")
    report = self_test(cache=tmp_path)
    assert not report.passed
    assert "no-such-model" in report.reason
    assert not list(tmp_path.iterdir())  # looked at again next time
