"""Routes for uploaded checkpoints: announce, send in pieces, go on, complete; and for the node that runs one."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Query, Router, Status

from longboard.api.auth import NODE, PERSON, NodeRequest, PersonRequest
from longboard.api.schemas.base import Error
from longboard.api.schemas.checkpoints import CheckpointFileOut, CheckpointOut, NodeCheckpointOut
from longboard.api.schemas.registry import ModelOut
from longboard.checkpoints import services, storage
from longboard.checkpoints.models import Checkpoint
from longboard.checkpoints.requests import CheckpointRequest
from longboard.errors import BadRequest, Conflict, NotFound
from longboard.submissions.models import Attempt

router = Router(tags=["people"])

REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 413, 422), Error)
Offset = Annotated[int, Query(ge=0, lt=2**53)]


@router.post("/checkpoints", response={200: CheckpointOut, 201: CheckpointOut, **REFUSALS}, auth=PERSON)
def announce_checkpoint(request: PersonRequest, body: CheckpointRequest) -> Any:
    """Announces the files of a model: names, sizes, and digests if you have them. The same files again while the upload is open
    answer 200 with it, so that you can go on."""
    checkpoint, created = services.announce(owner=request.auth, request=body, now=timezone.now())
    return Status(201 if created else 200, _out(checkpoint))


@router.get("/checkpoints/{uuid:checkpoint_id}", response={200: CheckpointOut, **REFUSALS}, auth=PERSON)
def read_checkpoint(request: PersonRequest, checkpoint_id: UUID) -> Any:
    """How far each file has come."""
    return _out(services.own_checkpoint(checkpoint_id, request.auth))


@router.put(
    "/checkpoints/{uuid:checkpoint_id}/files/{name}", response={200: CheckpointFileOut, **REFUSALS}, auth=PERSON
)
def put_piece(request: PersonRequest, checkpoint_id: UUID, name: str, offset: Offset, sha256: str) -> Any:
    """One piece as the request's body, with its place and digest. A piece that is here already changes nothing."""
    checkpoint = services.own_checkpoint(checkpoint_id, request.auth)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise BadRequest("Send the file's own bytes: a compressed body is not taken.", field="body")
    if int(request.headers.get("Content-Length") or 0) > services.MAX_CHUNK_BYTES:
        raise BadRequest(f"A piece has at most {services.MAX_CHUNK_BYTES} bytes.", field="body")
    if len(request.body) != int(request.headers.get("Content-Length") or 0):
        raise BadRequest("The body is shorter than its Content-Length says: send it again.", field="body")
    file = services.put_piece(
        checkpoint=checkpoint, name=name, offset=offset, content=request.body, digest=sha256, now=timezone.now()
    )
    return CheckpointFileOut(name=file.name, size=file.size, next_offset=file.received, sha256=file.sha256)


@router.post("/checkpoints/{uuid:checkpoint_id}/complete", response={200: ModelOut, **REFUSALS}, auth=PERSON)
def complete_checkpoint(request: PersonRequest, checkpoint_id: UUID) -> Any:
    """Looks into every file and registers the Model. Again, the same Model."""
    return services.complete(checkpoint=services.own_checkpoint(checkpoint_id, request.auth), now=timezone.now())


@router.delete("/checkpoints/{uuid:checkpoint_id}", response={204: None, **REFUSALS}, auth=PERSON)
def drop_checkpoint(request: PersonRequest, checkpoint_id: UUID) -> Any:
    """Ends an upload and frees its place. A complete one goes only while no System is made of it."""
    services.drop(checkpoint=services.own_checkpoint(checkpoint_id, request.auth), actor=request.auth)
    return Status(204, None)


@router.get("/attempts/{uuid:attempt_id}/checkpoint", response={200: NodeCheckpointOut, **REFUSALS}, auth=NODE)
def files_of_attempt(request: NodeRequest, attempt_id: UUID, fence: int) -> Any:
    """The files of the uploaded model that this node has to run, with sizes and digests."""
    row = _of_attempt(request, attempt_id, fence)
    return NodeCheckpointOut(id=row.pk.hex, files=[_file(file) for file in row.files.all()])


@router.get("/attempts/{uuid:attempt_id}/checkpoint/{name}", response={200: None, **REFUSALS}, auth=NODE)
def file_of_attempt(
    request: NodeRequest,
    attempt_id: UUID,
    name: str,
    fence: int,
    offset: Offset = 0,
    length: Annotated[int, Query(ge=1, le=services.MAX_CHUNK_BYTES)] = services.MAX_CHUNK_BYTES,
) -> Any:
    """At most `length` bytes of one file from `offset` on."""
    row = _of_attempt(request, attempt_id, fence)
    file = row.files.filter(name=name).first() if name.isprintable() else None
    if file is None:
        raise NotFound("The model has no such file.", field="name")
    pieces = storage.read_from(storage.path_of(row.pk, file.name), offset, length)
    return StreamingHttpResponse(pieces, content_type="application/octet-stream")


def _of_attempt(request: HttpRequest, attempt_id: UUID, fence: int) -> Checkpoint:
    """The checkpoint of a run that this node holds now. Raises NotFound for another node's attempt, as for none."""
    node = request.auth  # type: ignore[attr-defined]  # NODE let it in
    attempt = Attempt.objects.select_related("run__system").filter(pk=attempt_id, node=node).first()
    if attempt is None:
        raise NotFound(f"This node has no attempt {attempt_id}.")
    if attempt.fence != fence or attempt.closed_as != Attempt.ClosedAs.OPEN:
        raise Conflict(f"Attempt {attempt_id} is not open under fence {fence}.")
    row = Checkpoint.objects.filter(model=attempt.run.system.model_id, state=Checkpoint.State.COMPLETE).first()
    if row is None:
        raise NotFound("The model of this run is no upload.")
    return row


def _out(row: Checkpoint) -> CheckpointOut:
    return CheckpointOut(
        id=row.pk,
        title=row.title,
        state=row.state,
        piece_bytes=services.MAX_CHUNK_BYTES,
        model=row.model.slug if row.model else None,
        files=[_file(file) for file in row.files.all()],
    )


def _file(file: Any) -> CheckpointFileOut:
    return CheckpointFileOut(name=file.name, size=file.size, next_offset=file.received, sha256=file.sha256)
