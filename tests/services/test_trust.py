"""Agreement of nodes of different owners, the roofline, and bundles in pieces."""

import gzip

import pytest
from tests.factories import (
    NOW,
    make_hardware,
    make_model,
    make_node,
    make_pool,
    make_run,
    make_submission,
    make_suite,
    make_system,
    make_user,
)
from tests.services.test_lease import later
from tests.services.test_results import Worker
from tests.signing import make_bundle, make_key, sign_bundle

from longboard.boards.models import Cell
from longboard.errors import BadRequest, Conflict, NotFound
from longboard.results.agreement import agree, tolerance_of
from longboard.results.models import Bundle, Measurement, Sample, UploadChunk
from longboard.results.roofline import ON_CHIP_BYTES, Roof, least, too_fast
from longboard.results.services import receive_bundle
from longboard.results.uploads import assemble, put_chunk, upload_state
from longboard.submissions import services
from longboard.submissions.models import Run
from longboard.submissions.specs import spec_of
from longboard_tasks.contract import Provenance, samples_root, sha256
from longboard_tasks.costmodel import estimate, sheet_for
from longboard_tasks.families import architecture_of
from longboard_tasks.shapes import load_shapes

pytestmark = pytest.mark.django_db


class Owned(Worker):
    """A node of its own owner."""

    def __init__(self, owner, pool=None):
        self.key, public = make_key()
        self.node = make_node(pool, public_key=public, owner=owner)


def finish(worker, now=NOW, **how):
    ticket = worker.take(now)
    return worker.hand_in(ticket, worker.bundle(ticket, **how), now)


def trust_of(run, metric="accuracy"):
    return set(Measurement.objects.filter(run=run, metric=metric).values_list("trust", flat=True))


# --- reproduced ------------------------------------------------------------------------------------------------------


@pytest.fixture
def twins():
    """The same request on two pools with the same hardware."""
    author = make_user()
    submission = make_submission(author, make_system())
    pools = make_pool("first"), make_pool("second")
    return [make_run(submission, pool=pool, samples=10) for pool in pools], pools


def test_two_owners_that_agree_lift_both_rows(twins):
    (first, second), pools = twins
    finish(Owned(make_user(), pools[0]))
    assert trust_of(first) == {"measured"}
    finish(Owned(make_user(), pools[1]))
    assert trust_of(first) == trust_of(second) == {"reproduced"}
    assert trust_of(first, "accuracy_by_depth") == {"reproduced"}
    assert Cell.objects.get(metric="accuracy").trust == "reproduced"


@pytest.mark.parametrize("owners", ["one", "none"])
def test_two_nodes_of_one_owner_or_of_nobody_lift_nothing(twins, owners):
    (first, second), pools = twins
    owner = make_user() if owners == "one" else None
    for pool in pools:
        finish(Owned(owner, pool))
    assert trust_of(first) | trust_of(second) == {"measured"}


def test_two_owners_that_differ_by_more_than_the_tolerance_lift_nothing(twins):
    (first, second), pools = twins
    finish(Owned(make_user(), pools[0]))
    finish(Owned(make_user(), pools[1]), answer=lambda target: target if target[-1] in "02468" else "no")
    assert trust_of(first) | trust_of(second) == {"measured"}


def test_a_repeat_of_the_same_run_by_another_owner_lifts_it_and_adds_no_sample():
    author = make_user()
    run = make_run(make_submission(author), samples=10)
    finish(Owned(make_user()))
    services.rerun(run=Run.objects.get(pk=run.pk), actor=author, now=later(5))
    finish(Owned(make_user()), later(6))
    run.refresh_from_db()
    assert (run.state, trust_of(run)) == (Run.State.ACCEPTED, {"reproduced"})
    assert (Sample.objects.filter(run=run).count(), Cell.objects.get(metric="accuracy").n) == (10, 10)


def test_accuracy_is_compared_across_hardware_and_times_are_not():
    author, system = make_user(), make_system()
    other = make_pool("other", make_hardware("other-cpu"))
    runs = {}
    for suite in ("niah", "efficiency"):
        submission = make_submission(author, system)
        for pool in (make_pool(), other):
            runs[suite, pool.slug] = make_run(submission, suite=make_suite(suite), pool=pool, samples=5)
    workers = Owned(make_user()), Owned(make_user(), other)
    for worker in workers:
        for _ in range(2):
            finish(worker)
    assert trust_of(runs["niah", "local-cpu"]) == trust_of(runs["niah", "other"]) == {"reproduced"}
    assert trust_of(runs["efficiency", "local-cpu"], "ttft_ms") == {"measured"}


def test_times_within_a_tenth_agree_on_one_hardware(twins):
    author, pools = make_user(), twins[1]
    for run in twins[0]:
        services.cancel_run(run=run, actor=run.submission.author, now=NOW)
    submission, suite = make_submission(author), make_suite("efficiency")
    first, second = (make_run(submission, suite=suite, pool=pool, samples=5) for pool in pools)
    finish(Owned(make_user(), pools[0]), ttft_ms=100.0)
    finish(Owned(make_user(), pools[1]), ttft_ms=109.0)
    assert trust_of(first, "ttft_ms") == trust_of(second, "ttft_ms") == {"reproduced"}
    third = make_run(submission, suite=suite, pool=pools[0], samples=5)
    finish(Owned(make_user(), pools[0]), ttft_ms=150.0)
    assert trust_of(third, "ttft_ms") == {"measured"}


def test_the_suites_own_tolerance_decides():
    definition = {"tasks": [{"name": "single", "tolerance": 0.2}, {"name": "vt"}]}
    assert tolerance_of(definition, "single", "accuracy") == 0.2
    assert tolerance_of(definition, "vt", "accuracy") == 0.02
    assert tolerance_of(definition, "single", "ttft_ms") == 0.10

    def share(value, n=100, seed=0):
        run = Run(seed=seed)
        return Measurement(run=run, task="single", metric="accuracy", value=value, ci_low=value - 0.05,
                           ci_high=value + 0.05, n=n)  # fmt: skip

    assert agree(share(0.7), share(0.9), definition)
    assert not agree(share(0.69), share(0.9), definition)
    assert agree(share(0.6), share(0.9, seed=1), definition)  # other samples: each may miss by its own error
    assert not agree(share(0.5), share(0.9, seed=1), definition)


# --- roofline --------------------------------------------------------------------------------------------------------


def efficiency_bundle(length=8_192, ttft_ms=100.0, dtype="bfloat16"):
    run = make_run(
        make_submission(system=make_system(dtype=dtype)),
        suite=make_suite("efficiency"),
        context_length=length,
        samples=5,
    )
    spec = spec_of(run)
    return make_bundle(spec, attempt_id="a", fence=1, ttft_ms=ttft_ms), spec


def test_the_bound_is_the_cost_models_for_a_layout_that_we_know():
    layout = architecture_of(load_shapes()["llama-8b"])
    bundle, spec = efficiency_bundle()
    roof = Roof(989e12, 3.35e12, layout.stored, layout)
    bounds = least(bundle, spec, roof)
    sheet = sheet_for(name="h", kind="cuda", memory_bytes=80 * 10**9, flops=989e12, bandwidth=3.35e12)
    paper = estimate(layout, sheet, context_length=8_192, dtype="bfloat16")
    assert bounds.ttft_ms * 1.05 == pytest.approx(1_000 * paper.prefill_s, rel=0.01)
    assert bounds.tpot_ms * 1.05 == pytest.approx(1_000 * (paper.decode_s - ON_CHIP_BYTES / 3.35e12), rel=0.01)


@pytest.mark.parametrize("ttft_ms, fits", [(1.0, False), (100.0, False), (200.0, True), (5_000.0, True)])
def test_a_prefill_faster_than_the_device_is_refused(ttft_ms, fits):
    # Llama 8B, 8,192 tokens: 2 x 7.5e9 x 8,192 FLOP and attention need 134 ms at the peak of an H100.
    layout = architecture_of(load_shapes()["llama-8b"])
    bundle, spec = efficiency_bundle(ttft_ms=ttft_ms)
    memory = [m.model_copy(update={"value": 3e10, "ci_low": 3e10, "ci_high": 3e10}) if m.metric == "peak_memory_bytes"
              else m for m in bundle.measurements]  # fmt: skip
    bundle = bundle.model_copy(update={"measurements": tuple(memory)})
    assert (too_fast(bundle, spec, Roof(989e12, 3.35e12, layout.stored, layout)) == "") == fits


def test_an_impossible_speed_is_rejected_with_the_reason_and_never_shown():
    sheet = make_hardware("gpu", kind="cuda", peak_flops=989e12, bandwidth_bytes_per_s=3.35e12, memory_bytes=80 * 10**9)
    system = make_system(make_model(parameters=8_000_000_000), dtype="bfloat16")
    run = make_run(
        make_submission(system=system), suite=make_suite("efficiency"), pool=make_pool("gpu", sheet), samples=5
    )
    bundle = finish(Worker(make_pool("gpu")), ttft_ms=0.5)
    run.refresh_from_db()
    assert (bundle.state, run.state) == (Bundle.State.REJECTED, Run.State.REJECTED)
    assert "roofline" in run.failure_message
    assert not Cell.objects.exists()


def test_times_and_rates_that_contradict_each_other_are_refused():
    bundle, spec = efficiency_bundle()
    twice = [m.model_copy(update={"value": 2 * m.value, "ci_high": 3 * m.value}) if m.metric == "decode_tokens_per_s"
             else m for m in bundle.measurements]  # fmt: skip
    bundle = bundle.model_copy(update={"measurements": tuple(twice)})
    assert "contradict each other" in too_fast(bundle, spec, Roof(None, None))


@pytest.mark.parametrize("is_honest, state", [(True, "accepted"), (False, "rejected")])
def test_the_samples_have_to_be_those_of_the_manifests_root(is_honest, state):
    make_run(samples=5)
    worker = Worker()
    ticket = worker.take()
    bundle = worker.bundle(ticket)
    provenance = Provenance(samples_root=samples_root(bundle.samples) if is_honest else "0" * 64)
    manifest = bundle.manifest.model_copy(update={"provenance": provenance})
    assert worker.hand_in(ticket, bundle.model_copy(update={"manifest": manifest})).state == state


# --- uploads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def upload():
    """(worker, ticket, signed bundle, its gzip stream, put(offset, size))."""
    make_run(samples=20)
    worker = Worker()
    ticket = worker.take()
    signed = sign_bundle(worker.bundle(ticket), worker.key)
    packed = gzip.compress(signed.payload.encode(), 6, mtime=0)
    at = {"attempt_id": ticket.attempt_id, "node": worker.node, "fence": ticket.fence}

    def put(offset, size=1_000, content=None, digest=None):
        content = packed[offset : offset + size] if content is None else content
        return put_chunk(offset=offset, content=content, digest=digest or sha256(content), now=NOW, **at)

    return at, signed, packed, put


def test_pieces_in_order_make_the_payload_and_an_upload_goes_on_where_it_was_cut(upload):
    at, signed, packed, put = upload
    put(0), put(1_000)
    assert upload_state(**at).next_offset == 2_000
    for offset in range(2_000, len(packed), 1_000):
        put(offset)
    assert assemble(digest=sha256(signed.payload.encode()), **at) == signed.payload


def test_a_piece_sent_again_changes_nothing_and_another_in_its_place_is_refused(upload):
    _, _, packed, put = upload
    assert [put(0).next_offset for _ in range(5)] == [1_000] * 5
    assert UploadChunk.objects.count() == 1
    with pytest.raises(Conflict):
        put(0, content=b"other")
    with pytest.raises(Conflict):
        put(500, content=packed[500:1_500])


@pytest.mark.parametrize(
    "how, says",
    [
        ({"offset": 5_000, "content": b"x"}, "gap"),
        ({"offset": 0, "content": b""}, "1 to"),
        ({"offset": 0, "content": b"x", "digest": "0" * 64}, "does not fit its digest"),
        ({"offset": 0, "content": b"x" * (4 * 2**20 + 1)}, "1 to"),
    ],
)
def test_a_bad_piece_is_refused_with_the_reason(upload, how, says):
    with pytest.raises(BadRequest, match=says):
        upload[3](**how)


def test_an_upload_that_is_not_whole_or_unpacks_to_too_much_is_refused(upload):
    at, signed, _, put = upload
    put(0)
    with pytest.raises(BadRequest, match="not whole"):
        assemble(digest=sha256(signed.payload.encode()), **at)
    UploadChunk.objects.all().delete()
    bomb = gzip.compress(b"0" * 60_000_000)
    put(0, content=bomb)
    with pytest.raises(BadRequest, match="unpacks to more than"):
        assemble(digest="0" * 64, **at)


def test_another_nodes_upload_looks_like_none(upload):
    at = upload[0] | {"node": make_node()}
    with pytest.raises(NotFound):
        upload_state(**at)


def test_after_its_bundle_an_attempt_keeps_no_pieces_and_answers_the_same(upload):
    at, signed, packed, put = upload
    for offset in range(0, len(packed), 1_000):
        put(offset)
    first = receive_bundle(signed=signed, now=NOW, **at)
    assert not UploadChunk.objects.exists()
    assert upload_state(**at).is_complete
    assert put(0).is_complete
    assert assemble(digest=first.digest, **at) is None
