"""Routes for worker nodes: enrol, claim, start, beat, fail, hand in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from longboard.api.auth import NODE, NodeRequest
from longboard.api.schemas import (
    BeatIn,
    BeatOut,
    BundleOut,
    ClaimIn,
    EnrolIn,
    EnrolOut,
    Error,
    FailIn,
    FencedIn,
)
from longboard.errors import Gone
from longboard.fleet.services import enrol
from longboard.results.services import receive_bundle
from longboard.submissions import lease
from longboard.submissions.models import Attempt, Run
from longboard.submissions.specs import spec_of
from longboard_tasks.contract import SignedBundle, Ticket

router = Router(tags=["nodes"])

REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 410, 413, 422), Error)


@router.post("/nodes/enrol", response={201: EnrolOut, **REFUSALS}, auth=None)
def enrol_node(request: HttpRequest, body: EnrolIn) -> Any:
    """Spends a one-use code and registers this machine's public key. The token in the answer is shown this once."""
    enrolled = enrol(
        code=body.code,
        name=body.name,
        public_key=body.public_key,
        report=body.report,
        software=body.software,
        now=timezone.now(),
    )
    pool = enrolled.node.pool
    return Status(
        201,
        EnrolOut(
            node=enrolled.node.pk,
            name=enrolled.node.name,
            token=enrolled.token,
            pool=pool.slug,
            queue=pool.queue,
            is_first_party=pool.is_first_party,
        ),
    )


@router.post("/runs/claim", response={200: Ticket, 204: None, **REFUSALS}, auth=NODE)
def claim(request: NodeRequest, body: ClaimIn) -> Any:
    """Leases one queued Run of the node's pool: the hinted one if it is free, else the next. 204: nothing to do."""
    attempt = lease.claim(node=request.auth, now=timezone.now(), hint=body.hint)
    if attempt is None:
        return Status(204, None)
    run = Run.objects.select_related("system__model", "system__method", "suite").get(pk=attempt.run_id)
    return Ticket(
        run=spec_of(run),
        attempt_id=str(attempt.pk),
        fence=attempt.fence,
        lease_until=attempt.lease_until,
        beat_s=settings.BEAT_S,
    )


@router.post("/attempts/{uuid:attempt_id}/start", response={200: BeatOut, **REFUSALS}, auth=NODE)
def start(request: NodeRequest, attempt_id: UUID, body: FencedIn) -> Any:
    """leased -> running. Must answer 200 before the evaluator starts."""
    attempt = lease.start(attempt_id=attempt_id, node=request.auth, fence=body.fence, now=timezone.now())
    if attempt.closed_as != Attempt.ClosedAs.OPEN:
        raise Gone("The run was cancelled before it started.")
    return BeatOut(lease_until=attempt.lease_until, cancel=False, drain=False)


@router.post("/attempts/{uuid:attempt_id}/beat", response={200: BeatOut, **REFUSALS}, auth=NODE)
def beat(request: NodeRequest, attempt_id: UUID, body: BeatIn) -> Any:
    """Renews the lease; carries progress and log lines; brings back cancel and drain. 410: stop at once."""
    reply = lease.beat(
        attempt_id=attempt_id,
        node=request.auth,
        fence=body.fence,
        now=timezone.now(),
        progress=body.progress,
        log_text=body.log,
    )
    return BeatOut(lease_until=reply.lease_until, cancel=reply.cancel, drain=reply.drain)


@router.post("/attempts/{uuid:attempt_id}/fail", response={200: None, **REFUSALS}, auth=NODE)
def fail(request: NodeRequest, attempt_id: UUID, body: FailIn) -> Any:
    """The node gives up, with a class, one sentence and its last log lines."""
    lease.fail(
        attempt_id=attempt_id,
        node=request.auth,
        fence=body.fence,
        failure_class=body.failure_class,
        message=body.message,
        log_text=body.log,
        now=timezone.now(),
    )
    return Status(200, None)


@router.post("/attempts/{uuid:attempt_id}/bundle", response={200: BundleOut, **REFUSALS}, auth=NODE)
def hand_in(request: NodeRequest, attempt_id: UUID, fence: int, body: SignedBundle) -> Any:
    """Takes the signed result bundle. The same bundle again answers the same 200; another one for the attempt 409."""
    bundle = receive_bundle(
        attempt_id=attempt_id,
        node=request.auth,
        fence=fence,
        signed=body,
        now=timezone.now(),
    )
    run_state = Run.objects.values_list("state", flat=True).get(attempts=attempt_id)
    return BundleOut(digest=bundle.digest, state=bundle.state, reason=bundle.reason, run_state=run_state)
