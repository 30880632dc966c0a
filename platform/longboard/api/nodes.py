"""Routes for worker nodes: enrol, prove who they are, claim, start, beat, fail, hand in."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status

from longboard import server_key
from longboard.api.auth import NODE, NodeRequest
from longboard.api.schemas.base import Error
from longboard.api.schemas.node_protocol import (
    BeatIn,
    BeatOut,
    BundleOut,
    ChallengeIn,
    ChallengeOut,
    ClaimIn,
    CompleteIn,
    EnrolIn,
    EnrolOut,
    ExportIn,
    FailIn,
    FencedIn,
    RotateIn,
    TokenIn,
    TokenOut,
    UploadOut,
)
from longboard.errors import BadRequest, Conflict, Draining, Gone, NotFound
from longboard.fleet.credentials import make_challenge, token_for_signature
from longboard.fleet.models import Node
from longboard.fleet.services import enrol, rotate_key
from longboard.results.models import Bundle
from longboard.results.services import receive_bundle
from longboard.results.uploads import MAX_CHUNK_BYTES, assemble, put_chunk, upload_state
from longboard.submissions import lease
from longboard.submissions.models import Attempt, Run
from longboard.submissions.specs import spec_of
from longboard_tasks.contract import SignedBundle, SignedTicket, Ticket, canonical_json

router = Router(tags=["nodes"])

REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 410, 413, 422), Error)


@router.post("/nodes/enrol", response={201: EnrolOut, **REFUSALS}, auth=None)
def enrol_node(request: HttpRequest, body: EnrolIn) -> Any:
    """Spends a one-use code and registers this machine's public key, its report and its self-test."""
    enrolled = enrol(
        code=body.code,
        name=body.name,
        public_key=body.public_key,
        report=body.report,
        software=body.software,
        self_test=body.self_test,
        now=timezone.now(),
    )
    node, pool = enrolled.node, enrolled.node.pool
    return Status(
        201,
        EnrolOut(
            node=node.pk,
            name=node.name,
            state=node.state,
            state_note=node.state_note,
            token=enrolled.token,
            token_s=settings.NODE_TOKEN_S,
            server_key=server_key.public_key(),
            pool=pool.slug,
            queue=pool.queue,
            is_first_party=pool.is_first_party,
        ),
    )


@router.post("/nodes/challenge", response={200: ChallengeOut, 422: Error}, auth=None)
def challenge(request: HttpRequest, body: ChallengeIn) -> Any:
    """What the node is to sign with its key, as longboard-node-token:CHALLENGE, within a minute."""
    return ChallengeOut(challenge=make_challenge(body.node))


@router.post("/nodes/token", response={200: TokenOut, **REFUSALS}, auth=None)
def token(request: HttpRequest, body: TokenIn) -> Any:
    """A short-lived token for whoever signed the challenge with the node's key."""
    _, secret = token_for_signature(node_id=body.node, challenge=body.challenge, signature=body.signature)
    return TokenOut(token=secret, token_s=settings.NODE_TOKEN_S, server_key=server_key.public_key())


@router.post("/nodes/rotate", response={200: TokenOut, **REFUSALS}, auth=NODE)
def rotate(request: NodeRequest, body: RotateIn) -> Any:
    """Replaces the node's key by one that its present key has signed. Older tokens end; older results stay valid."""
    secret = rotate_key(node=request.auth, new_key=body.public_key, signature=body.signature, now=timezone.now())
    return TokenOut(token=secret, token_s=settings.NODE_TOKEN_S, server_key=server_key.public_key())


@router.post("/runs/claim", response={200: SignedTicket, 204: None, **REFUSALS}, auth=NODE)
def claim(request: NodeRequest, body: ClaimIn) -> Any:
    """Leases one queued Run of the node's pool: the next in its order. 204: nothing to do."""
    if request.auth.state == Node.State.DRAINING:
        raise Draining(f'Node "{request.auth.name}" is asked to stop: it gets nothing more.')
    attempt = lease.claim(node=request.auth, now=timezone.now(), free_memory_bytes=body.free_memory_bytes)
    return Status(204, None) if attempt is None else _ticket(attempt, request.auth)


@router.post("/runs/export", response={200: SignedTicket, **REFUSALS}, auth=NODE)
def export(request: NodeRequest, body: ExportIn) -> Any:
    """Leases one queued Run for days and starts it: for a machine with no way out, which cannot beat."""
    attempt = lease.export(node=request.auth, run_id=body.run, now=timezone.now())
    if attempt is None:
        raise NotFound("There is no such queued run in this node's pool, or the node is not active.", field="run")
    return _ticket(attempt, request.auth)


def _ticket(attempt: Attempt, node: Node) -> SignedTicket:
    run = Run.objects.select_related("system__model", "system__method", "suite").get(pk=attempt.run_id)
    payload = canonical_json(
        Ticket(
            run=spec_of(run),
            attempt_id=str(attempt.pk),
            fence=attempt.fence,
            lease_until=attempt.lease_until,
            beat_s=settings.BEAT_S,
            node=str(node.pk),
            ticket_id=uuid4().hex,  # a reply that was lost is answered by another ticket, not by the same one
        )
    )
    return SignedTicket(
        payload=payload.decode(), public_key=server_key.public_key(), signature=server_key.sign(payload)
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
        log_dropped=body.log_dropped,
    )
    return BeatOut(lease_until=reply.lease_until, cancel=reply.cancel, drain=reply.drain)


@router.get("/attempts/{uuid:attempt_id}/orders", response={200: BeatOut, **REFUSALS}, auth=NODE)
def orders(request: NodeRequest, attempt_id: UUID, fence: int) -> Any:
    """Cancel, drain, or 410, between two beats. Renews nothing and writes nothing."""
    reply = lease.orders(attempt_id=attempt_id, node=request.auth, fence=fence)
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
        log_dropped=body.log_dropped,
        now=timezone.now(),
    )
    return Status(200, None)


@router.get("/attempts/{uuid:attempt_id}/upload", response={200: UploadOut, **REFUSALS}, auth=NODE)
def upload_progress(request: NodeRequest, attempt_id: UUID, fence: int) -> Any:
    """Where an upload that was cut off goes on."""
    state = upload_state(attempt_id=attempt_id, node=request.auth, fence=fence)
    return UploadOut(next_offset=state.next_offset, is_complete=state.is_complete)


@router.put("/attempts/{uuid:attempt_id}/upload", response={200: UploadOut, **REFUSALS}, auth=NODE)
def upload_chunk(request: NodeRequest, attempt_id: UUID, fence: int, offset: int, sha256: str) -> Any:
    """One piece of the gzipped payload as the request's body, with its place and digest. Sent again, nothing changes."""
    if int(request.headers.get("Content-Length") or 0) > MAX_CHUNK_BYTES:
        raise BadRequest(f"A chunk has at most {MAX_CHUNK_BYTES} bytes.", field="body")
    state = put_chunk(
        attempt_id=attempt_id,
        node=request.auth,
        fence=fence,
        offset=offset,
        content=request.body,
        digest=sha256,
        now=timezone.now(),
    )
    return UploadOut(next_offset=state.next_offset, is_complete=state.is_complete)


@router.post("/attempts/{uuid:attempt_id}/complete", response={200: BundleOut, **REFUSALS}, auth=NODE)
def complete(request: NodeRequest, attempt_id: UUID, body: CompleteIn) -> Any:
    """Puts the pieces together and takes the bundle, exactly as /bundle does. Same digest: the same 200; another: 409."""
    payload = assemble(attempt_id=attempt_id, node=request.auth, fence=body.fence, digest=body.sha256)
    if payload is None:
        bundle = Bundle.objects.get(attempt=attempt_id)
        if bundle.digest != body.sha256:
            raise Conflict(f"Attempt {attempt_id} already has bundle {bundle.digest[:12]}: a result is immutable.")
        return _bundle_out(bundle)
    signed = SignedBundle(payload=payload, public_key=body.public_key, signature=body.signature)
    return _bundle_out(
        receive_bundle(attempt_id=attempt_id, node=request.auth, fence=body.fence, signed=signed, now=timezone.now())
    )


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
    return _bundle_out(bundle)


def _bundle_out(bundle: Bundle) -> BundleOut:
    run_state = Run.objects.values_list("state", flat=True).get(attempts=bundle.attempt_id)
    receipt = bundle.receipts.order_by("number").first()
    assert receipt is not None  # noqa: S101 (written with the bundle)
    return BundleOut(
        digest=bundle.digest,
        state=bundle.state,
        reason=bundle.reason,
        run_state=run_state,
        receipt=receipt.number,
        receipt_body=receipt.body,
        receipt_signature=receipt.signature,
        server_key=receipt.public_key,
    )
