import gzip
import threading
from datetime import datetime, timedelta
from importlib import import_module

import pytest
from django.db import connection
from tests.factories import NOW, make_node, make_pool, make_run, make_submission, make_suite, make_system
from tests.services.test_lease import later
from tests.signing import make_bundle, make_key, sign_bundle, sign_payload

from longboard.boards.models import Cell, FrontEntry
from longboard.errors import BadRequest, Conflict, NotAllowed
from longboard.results.models import Bundle, Measurement, Sample
from longboard.results.services import check_uploaded, receive_bundle, settle
from longboard.submissions import lease
from longboard.submissions.models import Attempt, Run
from longboard.submissions.specs import spec_of
from longboard.submissions.sweep import sweep
from longboard_tasks.contract import SampleRecord, Ticket, canonical_json
from longboard_tasks.intervals import wilson

pytestmark = pytest.mark.django_db


class Worker:
    """A node that holds its own key, as far as the services see one. `now`: the site's clock, at each call unless it says so."""

    def __init__(self, pool=None, now=NOW):
        self.key, public = make_key()
        self.node = make_node(pool, public_key=public)
        self.now = now

    def take(self, now=None):
        now = now or self.now
        attempt = lease.claim(node=self.node, now=now)
        lease.start(attempt_id=attempt.pk, node=self.node, fence=attempt.fence, now=now)
        run = Run.objects.select_related("system__model", "system__method", "suite").get(pk=attempt.run_id)
        return Ticket(
            run=spec_of(run),
            attempt_id=str(attempt.pk),
            fence=attempt.fence,
            lease_until=attempt.lease_until,
            beat_s=30,
        )

    def bundle(self, ticket, **how):
        return make_bundle(ticket.run, attempt_id=ticket.attempt_id, fence=ticket.fence, **how)

    def hand_in(self, ticket, bundle, now=None):
        return self.send(ticket, sign_bundle(bundle, self.key), now)

    def send(self, ticket, signed, now=None):
        asked = {"attempt_id": ticket.attempt_id, "node": self.node, "fence": ticket.fence, "signed": signed}
        return receive_bundle(**asked, now=now or self.now)


def change(bundle, **fields):
    return bundle.model_copy(update=fields)


def test_an_honest_bundle_is_accepted_and_its_numbers_and_samples_are_stored():
    run = make_run(samples=10)
    worker = Worker()
    ticket = worker.take()
    bundle = worker.hand_in(ticket, worker.bundle(ticket))
    run.refresh_from_db()
    assert (bundle.state, run.state) == (Bundle.State.ACCEPTED, Run.State.ACCEPTED)
    assert run.attempts.get().closed_as == Attempt.ClosedAs.DONE
    accuracy = Measurement.objects.get(metric="accuracy")
    assert (accuracy.value, accuracy.n, accuracy.trust) == (1.0, 10, "measured")
    assert Measurement.objects.filter(metric="accuracy_by_depth").count() == 5
    assert Sample.objects.filter(run=run, score=1).count() == 10
    assert gzip.decompress(bytes(bundle.payload_gz)) == canonical_json(worker.bundle(ticket))


def test_fifty_equal_bundles_make_one_row_set_and_a_changed_one_is_refused():
    make_run(samples=5)
    worker = Worker()
    ticket = worker.take()
    rows = {worker.hand_in(ticket, worker.bundle(ticket)).pk for _ in range(50)}
    assert len(rows) == 1
    counts = Measurement.objects.count(), Sample.objects.count(), Bundle.objects.count()
    with pytest.raises(Conflict, match="immutable"):
        worker.hand_in(ticket, worker.bundle(ticket, answer=lambda target: "no idea"))
    assert counts == (Measurement.objects.count(), Sample.objects.count(), Bundle.objects.count()) == (6, 5, 1)


@pytest.mark.django_db(transaction=True)
def test_equal_bundles_at_the_same_moment_make_one_row_set():
    make_run(samples=5)
    worker = Worker()
    ticket = worker.take()
    signed = sign_bundle(worker.bundle(ticket), worker.key)
    barrier, states = threading.Barrier(6), []

    def send():
        try:
            barrier.wait()
            states.append(worker.send(ticket, signed).state)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(states) == 6
    assert (Measurement.objects.count(), Sample.objects.count(), Bundle.objects.count()) == (6, 5, 1)


def test_a_bundle_of_a_lost_attempt_is_kept_as_late_and_never_counted():
    run = make_run(samples=5)
    slow, quick = Worker(), Worker()
    old = slow.take()
    sweep(now=later(200))
    new = quick.take(later(201))
    assert slow.hand_in(old, slow.bundle(old, answer=lambda t: ""), later(202)).state == Bundle.State.LATE
    assert quick.hand_in(new, quick.bundle(new), later(203)).state == Bundle.State.ACCEPTED
    assert Cell.objects.get(metric="accuracy").value == 1.0
    assert Sample.objects.filter(run=run).count() == 5


def test_a_signature_of_another_key_is_refused_and_nothing_is_stored():
    make_run(samples=5)
    worker = Worker()
    ticket = worker.take()
    stranger, _ = make_key()
    with pytest.raises(NotAllowed, match="another key"):
        worker.send(ticket, sign_bundle(worker.bundle(ticket), stranger))
    honest = sign_bundle(worker.bundle(ticket), worker.key)
    with pytest.raises(NotAllowed, match="does not fit"):
        worker.send(
            ticket, honest.model_copy(update={"payload": honest.payload.replace('"score":1.0', '"score":0.0', 1)})
        )
    assert not Bundle.objects.exists()
    assert Run.objects.get().state == Run.State.RUNNING


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"not json", b'{"schema_version":1,"run":{}}', b"\xef\xbb\xbf{}"])
def test_a_payload_that_is_no_bundle_is_refused_with_its_place(payload):
    make_run()
    worker = Worker()
    ticket = worker.take()
    with pytest.raises(BadRequest, match="not a result bundle"):
        worker.send(ticket, sign_payload(payload, worker.key))
    assert Run.objects.get().state == Run.State.RUNNING


def test_a_bundle_for_another_attempt_is_refused():
    make_run(samples=5)
    worker = Worker()
    ticket = worker.take()
    bundle = make_bundle(ticket.run, attempt_id="other", fence=1)
    with pytest.raises(BadRequest, match="belongs to attempt other"):
        worker.hand_in(ticket, bundle)


def lies():
    """Changes that a node could make to an honest bundle, and what the refusal names."""

    def first_sample(bundle, **fields):
        return change(bundle, samples=(change(bundle.samples[0], **fields), *bundle.samples[1:]))

    def first_number(bundle, **fields):
        return change(bundle, measurements=(change(bundle.measurements[0], **fields), *bundle.measurements[1:]))

    return {
        "a score that its answer does not earn": (
            lambda b: first_sample(b, answer="no idea"),
            "samples/single/0: score",
        ),
        "another target": (
            lambda b: first_sample(b, target="7654321", answer="7654321"),
            "samples/single/0: the target",
        ),
        "another depth": (lambda b: first_sample(b, depth=0.5), "samples/single/0: the target or depth"),
        "a prompt past the length": (lambda b: first_sample(b, prompt_tokens=9_999), "samples/single/0: 9999"),
        "a sample left out": (lambda b: change(b, samples=b.samples[1:]), "indices 0 to 4"),
        "a sample twice": (lambda b: change(b, samples=(*b.samples, b.samples[0])), "indices 0 to 4"),
        "a better accuracy": (lambda b: first_number(b, value=0.99, ci_low=0.9), "measurements: single/accuracy"),
        "a narrower interval": (lambda b: first_number(b, ci_low=0.99), "measurements: single/accuracy"),
        "more samples than there were": (lambda b: first_number(b, n=500), "measurements: single/accuracy"),
        "another length": (lambda b: first_number(b, context_length=99), "measurements/0: context length 99"),
        "another suite's number": (lambda b: first_number(b, metric="ttft_ms"), "measurements/0: single/ttft_ms"),
        "a number twice": (
            lambda b: change(b, measurements=(*b.measurements, b.measurements[0])),
            "stands there twice",
        ),
        "no numbers": (lambda b: change(b, measurements=()), "there are none"),
        "a number left out": (lambda b: change(b, measurements=b.measurements[1:]), "single/accuracy missing"),
        "another run": (lambda b: change(b, run=change(b.run, seed=9)), "differs in seed"),
        "a day that has not come": (
            lambda b: change(b, manifest=change(b.manifest, started_at=NOW + timedelta(days=1, minutes=1))),
            "manifest/started_at: 2026-11-25 12:01 has not come yet",
        ),
        "such a day without a time zone": (
            lambda b: change(b, manifest=change(b.manifest, started_at=datetime(2027, 1, 1))),
            "manifest/started_at: 2027-01-01 00:00 has not come yet",
        ),
    }


@pytest.mark.parametrize("lie", lies())
def test_a_bundle_that_does_not_check_out_is_rejected_with_its_place(lie):
    tell, place = lies()[lie]
    run = make_run(samples=5)
    worker = Worker()
    ticket = worker.take()
    bundle = worker.hand_in(ticket, tell(worker.bundle(ticket)))
    run.refresh_from_db()
    assert (bundle.state, run.state) == (Bundle.State.REJECTED, Run.State.REJECTED)
    assert place in bundle.reason == run.failure_message
    assert not Measurement.objects.exists()
    assert not Cell.objects.exists()


@pytest.mark.parametrize(
    "metric, value, says",
    [
        ("ttft_ms", 0.0, "cannot be"),
        ("tpot_ms", -1.0, "cannot be"),
        ("peak_memory_bytes", 1e12, "exceeds the machine's"),
    ],
)
def test_speeds_and_sizes_that_no_machine_has_are_rejected(metric, value, says):
    make_run(suite=make_suite("efficiency"), samples=3)
    worker = Worker()
    ticket = worker.take()
    honest = worker.bundle(ticket)
    numbers = tuple(
        change(m, value=value, ci_low=value, ci_high=value) if m.metric == metric else m for m in honest.measurements
    )
    bundle = worker.hand_in(ticket, change(honest, measurements=numbers))
    assert bundle.state == Bundle.State.REJECTED
    assert says in bundle.reason


def measure(system, *, right, samples=10, ttft_ms=100.0, length=1_024, seed=0, pool=None):
    """Both suites of one System, run by an honest node that answers `right` of its samples."""
    submission = make_submission(system=system)
    worker = Worker(pool)
    for suite in ("niah", "efficiency"):
        fields = {"suite": make_suite(suite), "samples": samples, "context_length": length, "seed": seed}
        make_run(submission, pool=pool or make_pool(), **fields)
        ticket = worker.take()
        left = [right]

        def answer(target, left=left):
            left[0] -= 1
            return target if left[0] >= 0 else "no idea"

        bundle = worker.hand_in(ticket, worker.bundle(ticket, answer=answer, ttft_ms=ttft_ms))
        assert bundle.state == Bundle.State.ACCEPTED, bundle.reason


def on_front(length=1_024, cost="ttft_ms"):
    entries = FrontEntry.objects.filter(context_length=length, cost_metric=cost)
    return {e.system_id for e in entries if e.on_front}, {e.system_id: e.probability for e in entries}


def test_an_accepted_result_moves_the_front():
    slow_good, fast_bad, slow_bad = make_system(), make_system(), make_system()
    measure(slow_good, right=10, ttft_ms=900)
    measure(fast_bad, right=2, ttft_ms=50)
    measure(slow_bad, right=1, ttft_ms=950)
    front, probability = on_front()
    assert front == {slow_good.pk, fast_bad.pk}
    assert probability[slow_good.pk] > 0.95 > 0.1 > probability[slow_bad.pk]
    fast_good = make_system()
    measure(fast_good, right=10, ttft_ms=40)
    assert on_front()[0] == {fast_good.pk}


def test_a_cost_of_which_more_is_better_counts_the_other_way():
    a, b = make_system(), make_system()
    measure(a, right=5, ttft_ms=100)
    measure(b, right=5, ttft_ms=200)
    assert on_front(cost="prefill_tokens_per_s")[0] == {a.pk}


def test_lengths_and_hardware_have_fronts_of_their_own():
    a, b = make_system(), make_system()
    measure(a, right=9, ttft_ms=100, length=512)
    measure(b, right=1, ttft_ms=900, length=1_024)
    assert on_front(512)[0] == {a.pk}
    assert on_front(1_024)[0] == {b.pk}


def test_runs_of_two_seeds_pool_their_samples_and_none_is_dropped_for_being_worse():
    system = make_system()
    measure(system, right=10, seed=0)
    measure(system, right=4, seed=1)
    cell = Cell.objects.get(metric="accuracy")
    assert (cell.value, cell.n, cell.runs) == (0.7, 20, 2)
    assert (cell.ci_low, cell.ci_high) == wilson(0.7, 20)


def test_a_seed_run_twice_adds_no_samples():
    system = make_system()
    measure(system, right=10, seed=0)
    measure(system, right=6, seed=0)
    cell = Cell.objects.get(metric="accuracy")
    assert (cell.value, cell.n, cell.runs) == (0.8, 10, 2)


def test_a_bundle_whose_check_was_cut_short_is_settled_by_the_sweep(monkeypatch):
    run = make_run(samples=5)
    worker = Worker()
    ticket = worker.take()
    with monkeypatch.context() as broken:
        broken.setattr("longboard.results.services.settle", lambda **_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            worker.hand_in(ticket, worker.bundle(ticket))
    run.refresh_from_db()
    assert run.state == Run.State.UPLOADED
    assert sweep(now=later(500)).expired == 0
    assert check_uploaded(now=later(500)) == 1
    run.refresh_from_db()
    assert run.state == Run.State.ACCEPTED
    settle(bundle=Bundle.objects.get(), now=later(501))
    assert Measurement.objects.filter(metric="accuracy").count() == 1


@pytest.mark.parametrize("suite", ["niah", "babilong", "recall", "kv"])
def test_what_the_engine_sums_up_is_what_the_platform_works_out_for_every_task(suite):
    """Two implementations of the same numbers: the engine's `summarise` and the platform's check."""
    from longboard_tasks.evaluate import SUITES, summarise

    module = import_module(SUITES[suite])
    row = make_suite(suite)
    tasks = [task["name"] for task in row.definition["tasks"]]
    run = make_run(suite=row, tasks=tasks, samples=4, context_length=2_048)
    worker = Worker()
    ticket = worker.take()
    plan = import_module(f"longboard_tasks.suites.{suite}.plan")
    samples = []
    for task in tasks:
        for index in range(4):
            asked = plan.expected(task, context_length=2_048, seed=0, index=index)
            answer = asked.target if index % 2 else "nothing"
            samples.append(
                SampleRecord(
                    task=task, index=index, prompt_tokens=2_048, prompt_sha256="0" * 64, depth=asked.depth,
                    target=asked.target, answer=answer, score=module.score(task, answer, asked.target),
                )
            )  # fmt: skip
    honest = make_bundle(ticket.run.model_copy(update={"tasks": ("single",)}), attempt_id=ticket.attempt_id, fence=1)
    measurements = summarise(samples, 2_048, getattr(module, "secondary", None))
    bundle = change(honest, run=ticket.run, samples=tuple(samples), measurements=tuple(measurements))
    assert worker.hand_in(ticket, bundle).state == Bundle.State.ACCEPTED, Bundle.objects.get().reason
    run.refresh_from_db()
    assert run.state == Run.State.ACCEPTED
    assert Cell.objects.filter(metric="accuracy").count() == len(tasks)
