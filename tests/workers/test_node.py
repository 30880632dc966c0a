"""The real worker process against a real site: HTTP, a child process, a model on disk."""

import json
import stat
import subprocess
from uuid import uuid4

import psutil
import pytest
from django.utils import timezone
from tests.factories import make_user
from tests.workers.conftest import state_of, wait_until

from longboard.fleet.models import Node
from longboard.results.models import Bundle, Measurement, Sample
from longboard.submissions import services
from longboard.submissions.models import Attempt, Run
from longboard.submissions.requests import SubmissionRequest
from longboard.submissions.sweep import sweep
from longboard_tasks.contract import ResultBundle as Result
from longboard_tasks.contract import RunSpec, SignedBundle

pytestmark = pytest.mark.django_db(transaction=True)


def submit(author=None, **fields):
    ask = {"model": "tiny", "suites": ("niah",), "context_lengths": (256,), "pools": ("local-cpu",), "samples": 5}
    ask["tasks"] = ("niah/single",)
    submission, _ = services.submit(
        author=author or make_user(), request=SubmissionRequest(**(ask | fields)), now=timezone.now()
    )
    return list(submission.runs.order_by("suite__name"))


def test_a_run_goes_from_submission_to_the_board_through_the_real_worker(pool, make_node_process):
    efficiency, niah = submit(suites=("niah", "efficiency"))
    node = make_node_process()
    node.enrol(pool)
    for _ in range(2):
        done = node.once()
        assert done.returncode == 0, done.stderr.decode()
    assert {state_of(niah), state_of(efficiency)} == {Run.State.ACCEPTED}, Run.objects.values_list("failure_message")
    assert Sample.objects.filter(run=niah).count() == 5
    assert set(Measurement.objects.filter(run=efficiency).values_list("metric", flat=True)) >= {"ttft_ms", "tpot_ms"}
    manifest = Bundle.objects.get(attempt__run=niah).manifest
    assert manifest["architecture"] == "LlamaForCausalLM"
    assert manifest["prefix_mode"] == "shared"
    assert list(manifest["weights_sha256"]) == ["model.safetensors"]


def test_the_nodes_key_is_readable_by_its_owner_alone_and_no_token_is_kept_anywhere(pool, make_node_process):
    node = make_node_process()
    node.enrol(pool)
    assert stat.S_IMODE((node.home / "node.key").stat().st_mode) == 0o600
    assert node.once().returncode == 0  # it has spoken to the site
    kept = b"".join(path.read_bytes() for path in node.home.rglob("*") if path.is_file())
    assert b"lbn_" not in kept
    assert "lbn_" not in str(vars(Node.objects.get()))


def test_an_unknown_code_is_refused_with_a_sentence(pool, make_node_process):
    node = make_node_process()
    done = subprocess.run(
        node.command("enrol", "--site", node.site, "--code", "lbe_wrong"),
        env=node.environment(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "unknown, spent or older than an hour" in done.stderr.decode()


def test_starting_before_enrolling_says_how_to_enrol(tmp_path, make_node_process):
    done = make_node_process(site="http://127.0.0.1:9").once()
    assert done.returncode == 2
    assert "longboard-worker enrol" in done.stderr.decode()


def test_a_model_that_is_not_there_fails_the_run_with_what_to_do(pool, make_node_process):
    from tests.factories import make_model

    make_model("gone", source="upload", ref="gone", max_positions=4_096)
    (run,) = submit(model="gone")
    node = make_node_process()
    node.enrol(pool)
    node.once()
    run.refresh_from_db()
    assert (run.state, run.failure_class) == (Run.State.FAILED, "model_error")
    assert 'No uploaded model "gone"' in run.failure_message
    attempt = run.attempts.get()
    assert "model_error" in attempt.log_head


def test_a_node_killed_mid_run_is_swept_and_another_node_finishes_the_run_once(pool, make_node_process, settings):
    settings.LEASE_S, settings.BEAT_S = 3, 0.5
    (run,) = submit(context_lengths=(2_048,), samples=200)
    first, second = make_node_process(), make_node_process()
    first.enrol(pool, "first")
    second.enrol(pool, "second")
    victim = first.start()
    wait_until(lambda: state_of(run) == Run.State.RUNNING, what="the start")
    wait_until(lambda: bool(psutil.Process(victim.pid).children()), what="the evaluator")
    (child,) = psutil.Process(victim.pid).children()
    victim.kill()
    victim.wait()
    # The evaluator notices that its parent is gone, and does not work on in the dark.
    wait_until(lambda: not child.is_running(), timeout_s=10, what="the end of the evaluator")
    took = wait_until(lambda: sweep(now=timezone.now()).expired == 1, timeout_s=10, what="the sweep")
    assert state_of(run) == Run.State.QUEUED
    Run.objects.filter(pk=run.pk).update(samples=5)
    done = second.once()
    assert state_of(run) == Run.State.ACCEPTED, done.stderr.decode()
    assert list(run.attempts.values_list("closed_as", flat=True)) == [Attempt.ClosedAs.LOST, Attempt.ClosedAs.DONE]
    assert Measurement.objects.filter(run=run, metric="accuracy").count() == 1
    print(f"queued again {took:.1f} s after the kill with a lease of {settings.LEASE_S} s")


def test_cancel_stops_the_evaluator_within_a_beat(pool, make_node_process, settings):
    settings.LEASE_S, settings.BEAT_S = 10, 0.5
    author = make_user()
    (run,) = submit(author, context_lengths=(4_000,), samples=500)
    node = make_node_process()
    node.enrol(pool)
    node.start()
    wait_until(lambda: state_of(run) == Run.State.RUNNING, what="the start")
    wait_until(lambda: Run.objects.get(pk=run.pk).total > 0, what="progress")
    services.cancel_run(run=run, actor=author, now=timezone.now())
    took = wait_until(lambda: state_of(run) == Run.State.CANCELLED, timeout_s=10, what="the cancel")
    assert run.attempts.get().closed_as == Attempt.ClosedAs.CANCELLED
    wait_until(lambda: not list((node.home / "work").iterdir()), timeout_s=5, what="the clean-up")
    print(f"cancelled after {took:.1f} s with a beat of 0.5 s")


def test_a_run_past_its_time_limit_is_ended_and_says_so(pool, make_node_process, settings):
    settings.RUN_WALL_S = 1
    (run,) = submit(context_lengths=(4_000,), samples=500)
    node = make_node_process()
    node.enrol(pool)
    node.once()
    run.refresh_from_db()
    assert (run.state, run.failure_class) == (Run.State.FAILED, "timeout")
    assert "its limit of 1 s" in run.failure_message


def test_a_result_that_could_not_be_delivered_waits_in_the_outbox(pool, make_node_process):
    """The site refuses nothing here; the node is simply started again after its bundle was left behind."""
    (run,) = submit()
    node = make_node_process()
    node.enrol(pool)
    # A node that does everything but send: its outbox is the state that a site going down mid-upload leaves.
    script = (
        "from pathlib import Path; import sys; from longboard_worker.node import Node\n"
        "class Mute(Node):\n"
        "    def _send(self, path, *, patience_s): pass\n"
        f"Mute(Path({str(node.home)!r}), Path({str(node.models_dir)!r})).work_once()"
    )
    subprocess.run(node.command()[:1] + ["-c", script], env=node.environment(), check=True, timeout=90)
    assert len(list((node.home / "outbox").glob("*.json"))) == 1
    assert state_of(run) == Run.State.RUNNING
    node.once()
    assert state_of(run) == Run.State.ACCEPTED
    assert not list((node.home / "outbox").iterdir())


def test_the_air_gapped_path_makes_a_signed_bundle_without_any_site(tmp_path, models_dir, make_node_process):
    spec = RunSpec.model_validate(
        {
            "run_id": str(uuid4()), "system": {"model": {"source": "upload", "id": "tiny"}}, "suite": "niah",
            "suite_version": 1, "tasks": ["single"], "context_length": 256, "samples": 5, "seed": 7,
        }
    )  # fmt: skip
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    node = make_node_process(site="http://127.0.0.1:9")
    out = tmp_path / "bundle.json"
    words = ("run", str(tmp_path / "spec.json"), "--out", str(out), "--models", str(models_dir))
    subprocess.run(node.command(*words), env=node.environment(), check=True, timeout=90)
    signed = SignedBundle.model_validate_json(out.read_text())
    from longboard.fleet.services import is_signed_by

    payload = signed.payload.encode()
    assert is_signed_by(public_key=signed.public_key, signature=signed.signature, payload=payload)
    assert Result.model_validate_json(payload).run == spec


def test_an_exported_run_is_evaluated_without_a_site_and_handed_in_later(pool, make_node_process, models_dir, tmp_path):
    """export-run, run, upload: the same checks, the same receipt; a second upload changes nothing."""
    (run,) = submit()
    node = make_node_process()
    node.enrol(pool)

    def command(*words):
        return subprocess.run(
            node.command(*words), env=node.environment(), capture_output=True, timeout=90, check=False, text=True
        )

    order, out = tmp_path / "order.json", tmp_path / "bundle.json"
    done = command("export-run", str(run.pk), "--out", str(order))
    assert done.returncode == 0, done.stderr
    assert state_of(run) == Run.State.RUNNING
    assert command("export-run", str(run.pk), "--out", str(order)).returncode == 1  # it is given out once
    done = command("run", str(order), "--out", str(out), "--models", str(models_dir))
    assert done.returncode == 0, done.stderr
    done = command("upload", str(out))
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout
    assert state_of(run) == Run.State.ACCEPTED
    assert command("upload", str(out)).stdout == done.stdout
    provenance = Bundle.objects.get().manifest["provenance"]
    assert (provenance["node"], provenance["samples_root"] is not None) == (str(Node.objects.get().pk), True)


def test_a_node_with_a_new_key_goes_on_and_the_old_key_is_no_use(pool, make_node_process):
    (run,) = submit()
    node = make_node_process()
    node.enrol(pool)
    # As an enrolment of an earlier version: without the site's key, which is then pinned with the first ticket.
    kept = json.loads((node.home / "node.json").read_text())
    (node.home / "node.json").write_text(json.dumps(kept | {"server_key": "", "token": "lbn_of_old"}))
    old = (node.home / "node.key").read_bytes()
    done = subprocess.run(
        node.command("rotate"), env=node.environment(), capture_output=True, timeout=60, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (node.home / "node.key").read_bytes() != old
    row = Node.objects.get()
    assert (len(row.past_keys), row.credential_serial) == (1, 2)
    assert node.once().returncode == 0
    assert state_of(run) == Run.State.ACCEPTED
    assert json.loads((node.home / "node.json").read_text()) == kept
    (node.home / "node.key").write_bytes(old)
    done = node.once()
    assert "not signed with this node's key" in done.stderr.decode()


def test_a_node_asked_to_drain_ends_by_itself(pool, make_node_process):
    node = make_node_process()
    node.enrol(pool)
    process = node.start()
    wait_until(lambda: "pulls from" in node.log(), what="the start")
    Node.objects.update(state=Node.State.DRAINING)
    process.wait(20)
    assert process.returncode == 0


def test_evaluator_and_provenance_are_told_in_the_manifest(pool, make_node_process):
    (run,) = submit()
    node = make_node_process()
    node.enrol(pool)
    node.once()
    provenance = Bundle.objects.get(attempt__run=run).manifest["provenance"]
    assert provenance["network"] in ("cut", "refused")
    assert provenance["remote_code"] is False
    assert len(provenance["suite_sha256"]) == len(provenance["log_sha256"]) == 64
    assert provenance["ticket_id"]
    assert "evaluator: network" in run.attempts.get().log_head
    assert Node.objects.get().self_test["passed"] is True


def test_evaluate_prints_the_numbers_of_a_model_on_disk(models_dir, make_node_process):
    node = make_node_process(site="http://127.0.0.1:9")
    words = (
        "evaluate",
        "--model",
        str(models_dir / "tiny"),
        "--suite",
        "niah",
        "--lengths",
        "256,512",
        "--samples",
        "5",
        "--tasks",
        "single",
    )
    done = subprocess.run(node.command(*words), env=node.environment(), capture_output=True, timeout=120, check=False)
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "niah@1 at 256 tokens" in text
    assert "niah@1 at 512 tokens" in text
    assert text.count("single/accuracy ") == 2


@pytest.mark.parametrize(
    "words, says",
    [
        (("--model", "nobody", "--suite", "niah", "--lengths", "256"), "is no zoo model"),
        (
            ("--model", "llama-3m", "--suite", "nope", "--lengths", "256"),
            "There are: niah, babilong, recall, kv, lra, efficiency",
        ),
        (("--model", "llama-3m", "--suite", "niah", "--lengths", "many"), "many"),
    ],
)
def test_evaluate_refuses_nonsense_before_it_loads_anything(make_node_process, words, says):
    node = make_node_process(site="http://127.0.0.1:9")
    done = subprocess.run(
        node.command("evaluate", *words), env=node.environment(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr.decode()
