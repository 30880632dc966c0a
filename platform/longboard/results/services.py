"""Bundles in: stored as they came, checked, and turned into Measurements, Samples and board summaries, exactly once."""

from __future__ import annotations

import gzip
import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from pydantic import ValidationError

from longboard.boards.summaries import update_summaries
from longboard.errors import BadRequest, Conflict, NotAllowed, NotFound
from longboard.fleet.models import Hardware, Node
from longboard.fleet.signatures import is_signed_by
from longboard.results.agreement import lift_reproduced
from longboard.results.chain import append_receipt
from longboard.results.checks import BundleRefused, check_bundle
from longboard.results.models import Bundle, Measurement, Sample, Trust, UploadChunk
from longboard.results.roofline import Roof
from longboard.submissions.lease import lease_time, lock_attempt
from longboard.submissions.models import Attempt, Run
from longboard.submissions.pricing import architecture_for
from longboard.submissions.quota import record_spend
from longboard.submissions.specs import spec_of
from longboard.submissions.transitions import move, resting_state
from longboard_tasks.contract import HardwareReport, ResultBundle, SignedBundle, canonical_json, sha256

log = logging.getLogger(__name__)

RECHECK_AFTER = timedelta(seconds=30)


def receive_bundle(
    *, attempt_id: UUID, node: Node, fence: int, signed: SignedBundle, now: datetime, rank: bool = True
) -> Bundle:
    """Stores a node's signed bundle for its Attempt, then checks it: running -> uploaded -> accepted or rejected.

    Idempotent by digest: the same bundle again gives the same row; another one for the same Attempt raises Conflict.
    A bundle of a lost Attempt is kept as `late` and never counted. Raises BadRequest for a payload that is not a
    ResultBundle and NotAllowed for a signature that is not the node's; then nothing is stored. Who brings many passes
    `rank=False` and ranks the boards once after the last (`ranking.refresh_due`).
    """
    if not Attempt.objects.filter(pk=attempt_id, node=node).exists():
        raise NotFound(f"This node has no attempt {attempt_id}.")
    payload = signed.payload.encode()
    if signed.public_key != node.public_key:
        raise NotAllowed(f'The bundle is signed with another key than the one that node "{node.name}" enrolled with.')
    if not is_signed_by(public_key=signed.public_key, signature=signed.signature, payload=payload):
        raise NotAllowed("The signature does not fit the payload. Sign its UTF-8 bytes with the node's own key.")
    try:
        parsed = ResultBundle.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise BadRequest(f"The payload is not a result bundle: {where}: {first['msg']}.", field=where) from error
    if (parsed.attempt_id, parsed.fence) != (str(attempt_id), fence):
        raise BadRequest(f"The bundle belongs to attempt {parsed.attempt_id}, fence {parsed.fence}, not to this one.")
    bundle = _store(attempt_id=attempt_id, node=node, fence=fence, signed=signed, parsed=parsed, now=now)
    if bundle.attempt.run.state == Run.State.UPLOADED:
        bundle = settle(bundle=bundle, now=now, rank=rank)
    return bundle


@transaction.atomic
def _store(
    *, attempt_id: UUID, node: Node, fence: int, signed: SignedBundle, parsed: ResultBundle, now: datetime
) -> Bundle:
    run, attempt = lock_attempt(attempt_id=attempt_id, node=node, fence=fence)
    payload = signed.payload.encode()
    digest = sha256(payload)
    earlier = Bundle.objects.select_related("attempt__run").filter(attempt=attempt).first()
    if earlier is not None:
        if earlier.digest != digest:
            raise Conflict(
                f"Attempt {attempt_id} already has bundle {earlier.digest[:12]}, and this is another ({digest[:12]}). "
                "A result is immutable."
            )
        return earlier
    is_live = (
        attempt.closed_as == Attempt.ClosedAs.OPEN and run.fence == attempt.fence and run.state == Run.State.RUNNING
    )
    bundle = Bundle.objects.create(
        attempt=attempt,
        node=node,
        state=Bundle.State.RECEIVED if is_live else Bundle.State.LATE,
        reason="" if is_live else f"The attempt was already {attempt.get_closed_as_display()} when it came.",
        digest=digest,
        payload_gz=gzip.compress(payload, 6),
        public_key=signed.public_key,
        signature=signed.signature,
        manifest=parsed.manifest.model_dump(mode="json"),
        received_at=now,
    )
    if is_live:
        move(run, Run.State.UPLOADED)
        attempt.lease_until = now + lease_time()
        attempt.save(update_fields=["lease_until"])
    UploadChunk.objects.filter(attempt=attempt).delete()
    append_receipt("received", _receipt_facts(run, bundle) | {"late": not is_live}, now=now, bundle=bundle)
    # The rows that were saved, so that the caller sees the state just written.
    attempt.run = run
    bundle.attempt = attempt
    log.info("bundle stored", extra={"run": run.pk, "node": node.name, "digest": digest[:12], "state": bundle.state})
    return bundle


def _receipt_facts(run: Run, bundle: Bundle) -> dict:
    return {
        "run": str(run.pk),
        "attempt": str(bundle.attempt_id),
        "node": str(bundle.node_id),
        "node_key": bundle.public_key,
        "bundle_sha256": bundle.digest,
    }


@transaction.atomic
def settle(*, bundle: Bundle, now: datetime, rank: bool = True) -> Bundle:
    """Checks a stored bundle and writes all that follows in one transaction: uploaded -> accepted or rejected.

    Called twice, the second call finds the Run settled and changes nothing.
    """
    run = (
        Run.objects.select_for_update(of=("self",))
        .select_related("system__model", "system__method", "suite", "pool__hardware")
        .get(attempts__bundle=bundle)
    )
    bundle = Bundle.objects.select_for_update(of=("self",)).select_related("attempt", "node").get(pk=bundle.pk)
    if run.state != Run.State.UPLOADED or bundle.state != Bundle.State.RECEIVED:
        return bundle
    attempt = bundle.attempt
    parsed = ResultBundle.model_validate_json(gzip.decompress(bytes(bundle.payload_gz)))
    attempt.closed_at = now
    try:
        check_bundle(
            bundle=parsed,
            run=spec_of(run),
            definition=run.suite.definition,
            hardware=HardwareReport.model_validate(bundle.node.report),
            now=now,
            roof=Roof.of(
                run.pool.hardware,
                parameters=run.system.model.parameters,
                architecture=architecture_for(run.system.model),
            ),
        )
    except BundleRefused as refusal:
        bundle.state, bundle.reason = Bundle.State.REJECTED, str(refusal)
        attempt.closed_as, attempt.failure_message = Attempt.ClosedAs.REJECTED, str(refusal)
        rest = resting_state(run, Run.State.REJECTED)
        told = ("", "") if rest == Run.State.ACCEPTED else ("node_error", str(refusal))
        move(run, rest, finished_at=now, held_gpu_s=0, failure_class=told[0], failure_message=told[1])
        rows: list[dict] = []
        log.warning("bundle rejected", extra={"run": run.pk, "node": bundle.node.name, "reason": str(refusal)})
    else:
        bundle.state = Bundle.State.ACCEPTED
        attempt.closed_as = Attempt.ClosedAs.DONE
        move(run, Run.State.ACCEPTED, finished_at=now, held_gpu_s=0, failure_class="", failure_message="")
        _write_rows(run=run, bundle=bundle, parsed=parsed, now=now)
        rows = [measurement.model_dump(mode="json") for measurement in parsed.measurements]
        also = lift_reproduced(bundle=bundle)
        # All at once and in one order, or two Runs that lift each other would wait for each other.
        sheets = {run.pool.hardware_id, *(other.pool.hardware_id for other in also)}
        list(Hardware.objects.select_for_update().filter(pk__in=sheets).order_by("pk"))
        update_summaries(run=run, now=now, rank=rank)
        for other in also:  # its row was lifted, too
            update_summaries(run=other, now=now, rank=rank)
        log.info("run accepted", extra={"run": run.pk, "node": bundle.node.name})
    bundle.save(update_fields=["state", "reason"])
    attempt.save(update_fields=["closed_as", "closed_at", "failure_message"])
    failure = "rejected" if bundle.state == Bundle.State.REJECTED else ""
    record_spend(run=run, attempt=attempt, failure_class=failure, now=now)
    append_receipt(
        str(bundle.state),
        _receipt_facts(run, bundle)
        | {"reason": bundle.reason, "rows": len(rows), "rows_sha256": sha256(canonical_json({"rows": rows}))},
        now=now,
        bundle=bundle,
    )
    return bundle


def _write_rows(*, run: Run, bundle: Bundle, parsed: ResultBundle, now: datetime) -> None:
    Measurement.objects.bulk_create(
        Measurement(
            run=run,
            bundle=bundle,
            system=run.system,
            hardware=run.pool.hardware,
            suite=run.suite,
            trust=Trust.MEASURED,
            created_at=now,
            **measurement.model_dump(),
        )
        for measurement in parsed.measurements
    )
    if run.sample_rows.exists():
        return  # of an earlier round of the same Run: the repeat's own samples are in its bundle
    Sample.objects.bulk_create((Sample(run=run, **sample.model_dump()) for sample in parsed.samples), batch_size=1_000)


def check_uploaded(*, now: datetime) -> int:
    """Settles bundles whose check was cut short, say by a restart of the web process."""
    waiting = Bundle.objects.filter(state=Bundle.State.RECEIVED, received_at__lt=now - RECHECK_AFTER).order_by("pk")[
        :50
    ]
    for bundle in waiting:
        settle(bundle=bundle, now=now)
    return len(waiting)
