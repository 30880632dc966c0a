"""Architectures trained by the real node: from request to board, through a kill, a cancel, and files that are not there."""

import psutil
import pytest
from django.utils import timezone
from tests.factories import make_pool, make_suite, make_user
from tests.workers.conftest import state_of, wait_until

from longboard.boards.models import Cell
from longboard.results.models import Bundle, Measurement
from longboard.submissions import services
from longboard.submissions.models import Attempt, Run
from longboard.submissions.requests import SubmissionRequest
from longboard.submissions.sweep import sweep

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def arena(transactional_db):
    make_suite("lra")
    return make_pool()


def train(task="listops_smoke", **fields) -> Run:
    ask = {"model": "lra-linear", "suites": ("lra",), "tasks": (f"lra/{task}",), "pools": ("local-cpu",), "samples": 1}
    author = make_user(is_staff=True)
    submission, _ = services.submit(author=author, request=SubmissionRequest(**(ask | fields)), now=timezone.now())
    return submission.runs.get()


def test_an_architecture_goes_from_submission_to_its_numbers_through_the_real_worker(arena, make_node_process):
    run = train(samples=2, configuration={"causal": True})
    node = make_node_process()
    node.enrol(arena)
    done = node.once()
    run.refresh_from_db()
    assert run.state == Run.State.ACCEPTED, (run.failure_message, done.stderr.decode())
    assert Measurement.objects.get(run=run, metric="accuracy").n == 16
    assert Cell.objects.get(metric="train_tokens_per_s").system.model.slug == "lra-linear-causal"
    manifest = Bundle.objects.get(attempt__run=run).manifest
    assert manifest["architecture"] == "Linear attention, causal"
    assert set(manifest["weights_sha256"]) == {"seed 0", "seed 1"}
    assert manifest["provenance"]["suite_sha256"]
    assert not list((node.home / "work").iterdir())


def test_a_training_whose_node_was_killed_goes_on_from_its_checkpoints_in_the_next_attempt(
    arena, make_node_process, settings
):
    settings.LEASE_S, settings.BEAT_S = 3, 0.5
    run = train(samples=10)
    node = make_node_process()
    node.enrol(arena)
    victim = node.start()
    wait_until(lambda: Run.objects.get(pk=run.pk).done >= 8, timeout_s=120, what="two of ten trainings")
    (child,) = psutil.Process(victim.pid).children()
    victim.kill()
    victim.wait()
    wait_until(lambda: not child.is_running(), timeout_s=10, what="the end of the evaluator")
    wait_until(lambda: sweep(now=timezone.now()).expired == 1, timeout_s=10, what="the sweep")
    settings.LEASE_S = 60
    done = node.once(timeout=240)
    assert state_of(run) == Run.State.ACCEPTED, done.stderr.decode()
    lost, last = run.attempts.order_by("number")
    assert (lost.closed_as, last.closed_as) == (Attempt.ClosedAs.LOST, Attempt.ClosedAs.DONE)
    assert "seed0 step 4/4" in lost.log_head
    assert "seed0 step" not in last.log_head  # its steps were not taken again
    assert "seed9 step 4/4" in last.log_head
    assert not list((node.home / "work").iterdir())


def test_a_cancel_stops_a_training_and_clears_it_away(arena, make_node_process, settings):
    settings.LEASE_S, settings.BEAT_S = 10, 0.5
    run = train(samples=10)
    node = make_node_process()
    node.enrol(arena)
    node.start()
    wait_until(lambda: Run.objects.get(pk=run.pk).done > 0, timeout_s=120, what="the first training")
    services.cancel_run(run=run, actor=run.submission.author, now=timezone.now())
    wait_until(lambda: state_of(run) == Run.State.CANCELLED, timeout_s=15, what="the cancel")
    wait_until(lambda: not list((node.home / "work").iterdir()), timeout_s=5, what="the clean-up")


def test_files_that_the_node_may_not_fetch_fail_the_run_with_where_to_put_them(arena, make_node_process, settings):
    settings.MAX_ATTEMPTS = 1
    run = train("image")
    node = make_node_process()
    node.enrol(arena)
    node.once()
    run.refresh_from_db()
    assert (run.state, run.failure_class) == (Run.State.FAILED, "node_error")
    assert "lra/cifar-10-binary.tar.gz below the node's models folder" in run.failure_message
    assert "image_stand_in needs none" in run.failure_message


def test_a_training_past_its_own_time_limit_is_ended(arena, make_node_process, settings):
    settings.TRAINING_WALL_S = 2
    run = train(samples=10)
    node = make_node_process()
    node.enrol(arena)
    node.once()
    run.refresh_from_db()
    assert (run.state, run.failure_class) == (Run.State.FAILED, "timeout")
