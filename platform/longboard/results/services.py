"""Bundles in: stored as they came, checked, and turned into Measurements, Samples and board summaries, exactly once."""

from __future__ import annotations

import gzip
import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from pydantic import ValidationError

from longboard.boards.summaries import update_summaries
from longboard.errors import BadRequest, Conflict, NotAllowed
from longboard.fleet.models import Node
from longboard.fleet.services import is_signed_by
from longboard.results.checks import BundleRefused, check_bundle
from longboard.results.models import Bundle, Measurement, Sample, Trust
from longboard.submissions.lease import lease_time, lock_attempt
from longboard.submissions.models import Attempt, Run
from longboard.submissions.specs import spec_of
from longboard_tasks.contract import HardwareReport, ResultBundle, SignedBundle, sha256

log = logging.getLogger(__name__)

RECHECK_AFTER = timedelta(seconds=30)


def receive_bundle(*, attempt_id: UUID, node: Node, fence: int, signed: SignedBundle, now: datetime) -> Bundle:
    """Stores a node's signed bundle for its Attempt, then checks it: running -> uploaded -> accepted or rejected.

    Idempotent by digest: the same bundle again gives the same row; another one for the same Attempt raises Conflict.
    A bundle of a lost Attempt is kept as `late` and never counted. Raises BadRequest for a payload that is not a
    ResultBundle and NotAllowed for a signature that is not the node's; then nothing is stored.
    """
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
        bundle = settle(bundle=bundle, now=now)
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
        run.state = Run.State.UPLOADED
        run.save(update_fields=["state"])
        attempt.lease_until = now + lease_time()
        attempt.save(update_fields=["lease_until"])
    # The rows that were saved, so that the caller sees the state just written.
    attempt.run = run
    bundle.attempt = attempt
    log.info("bundle stored", extra={"run": run.pk, "node": node.name, "digest": digest[:12], "state": bundle.state})
    return bundle


@transaction.atomic
def settle(*, bundle: Bundle, now: datetime) -> Bundle:
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
    try:
        check_bundle(
            bundle=parsed,
            run=spec_of(run),
            definition=run.suite.definition,
            hardware=HardwareReport.model_validate(bundle.node.report),
        )
    except BundleRefused as refusal:
        bundle.state, bundle.reason = Bundle.State.REJECTED, str(refusal)
        run.state, run.failure_class, run.failure_message = Run.State.REJECTED, "node_error", str(refusal)
        attempt.closed_as, attempt.failure_message = Attempt.ClosedAs.REJECTED, str(refusal)
        log.warning("bundle rejected", extra={"run": run.pk, "node": bundle.node.name, "reason": str(refusal)})
    else:
        bundle.state = Bundle.State.ACCEPTED
        run.state, run.failure_class, run.failure_message = Run.State.ACCEPTED, "", ""
        attempt.closed_as = Attempt.ClosedAs.DONE
        _write_rows(run=run, bundle=bundle, parsed=parsed, now=now)
        update_summaries(run=run, now=now)
        log.info("run accepted", extra={"run": run.pk, "node": bundle.node.name})
    attempt.closed_at = run.finished_at = now
    bundle.save(update_fields=["state", "reason"])
    attempt.save(update_fields=["closed_as", "closed_at", "failure_message"])
    run.save(update_fields=["state", "failure_class", "failure_message", "finished_at"])
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
    Sample.objects.bulk_create((Sample(run=run, **sample.model_dump()) for sample in parsed.samples), batch_size=1_000)


def check_uploaded(*, now: datetime) -> int:
    """Settles bundles whose check was cut short, say by a restart of the web process."""
    waiting = Bundle.objects.filter(state=Bundle.State.RECEIVED, received_at__lt=now - RECHECK_AFTER).order_by("pk")[
        :50
    ]
    for bundle in waiting:
        settle(bundle=bundle, now=now)
    return len(waiting)
