"""An upload from its announcement to a Model: pieces in order, each with its digest, then every file looked into."""

from __future__ import annotations

import logging
import re
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Sum
from django.utils.text import slugify

from longboard.accounts.models import User
from longboard.checkpoints import storage
from longboard.checkpoints.inspection import check_json, check_plain, read_header
from longboard.checkpoints.models import Checkpoint, CheckpointFile
from longboard.checkpoints.requests import CheckpointRequest, is_weights
from longboard.errors import BadRequest, Conflict, NotAllowed, NotFound, QuotaExceeded
from longboard.registry.models import Model
from longboard_tasks.contract import canonical_json, sha256

log = logging.getLogger(__name__)

MAX_CHUNK_BYTES = 8 * 2**20
MAX_OPEN = 3  # uploads of one person at once
QUOTA_BYTES = 16 * 2**30  # of one person, open and complete
KEPT_FREE_BYTES = 2**30  # of the disk
ABANDONED_AFTER = timedelta(hours=24)


def announce(*, owner: User, request: CheckpointRequest, now: datetime) -> tuple[Checkpoint, bool]:
    """A new upload, or the open one of the same files and False: so whoever lost the connection goes on.

    Raises QuotaExceeded, and BadRequest when the disk has no room.
    """
    digest = sha256(canonical_json(request))
    with transaction.atomic():
        User.objects.select_for_update().get(pk=owner.pk)
        if (earlier := _open_one(owner, digest)) is not None:
            return earlier, False
        _check_quota(owner, request)
        checkpoint = Checkpoint.objects.create(
            owner=owner,
            title=request.title,
            licence=request.licence,
            request_digest=digest,
            size=sum(file.size for file in request.files),
            created_at=now,
            touched_at=now,
        )
        CheckpointFile.objects.bulk_create(
            CheckpointFile(checkpoint=checkpoint, name=f.name, size=f.size, sha256=f.sha256 or "")
            for f in request.files
        )
    log.info("checkpoint announced", extra={"checkpoint": checkpoint.pk, "bytes": checkpoint.size})
    return checkpoint, True


def _open_one(owner: User, digest: str) -> Checkpoint | None:
    return Checkpoint.objects.filter(owner=owner, request_digest=digest, state=Checkpoint.State.OPEN).first()


def _check_quota(owner: User, request: CheckpointRequest) -> None:
    mine = Checkpoint.objects.filter(owner=owner)
    if mine.filter(state=Checkpoint.State.OPEN).count() >= MAX_OPEN:
        raise QuotaExceeded(f"You have {MAX_OPEN} uploads under way, which is the most. Finish or drop one first.")
    wanted, used = sum(file.size for file in request.files), mine.aggregate(s=Sum("size"))["s"] or 0
    if used + wanted > QUOTA_BYTES:
        raise QuotaExceeded(f"You hold {used} bytes here; {wanted} more exceed {QUOTA_BYTES}.", field="files")
    promised = Checkpoint.objects.filter(state=Checkpoint.State.OPEN).aggregate(
        s=Sum(F("files__size") - F("files__received"))
    )["s"]
    if wanted + (promised or 0) + KEPT_FREE_BYTES > storage.free_bytes():
        raise BadRequest("The site's disk has no room for it now. Try again later, or use a hub.", field="files")


def own_checkpoint(checkpoint_id: UUID, actor: User) -> Checkpoint:
    """Raises NotFound for another person's, as for none: an upload is nobody else's business before it is a Model."""
    row = Checkpoint.objects.filter(pk=checkpoint_id).first()
    if row is None or (row.owner_id != actor.pk and not actor.is_staff):
        raise NotFound(f"You have no upload {checkpoint_id}.")
    return row


@transaction.atomic
def put_piece(
    *, checkpoint: Checkpoint, name: str, offset: int, content: bytes, digest: str, now: datetime
) -> CheckpointFile:
    """Appends one piece to a file. A piece that is here already changes nothing.

    Raises NotFound for a file that was not announced, Conflict once the upload is complete, and BadRequest for a piece that is
    empty, too large, does not fit its digest, leaves a gap, or runs over the announced size.
    """
    row = _locked(checkpoint)
    if row.state != Checkpoint.State.OPEN:
        raise Conflict("This upload is complete: its files do not change any more.")
    file = row.files.filter(name=name).first() if name.isprintable() else None
    if file is None:
        raise NotFound(f"No file {name[:80]!r} was announced.", field="name")
    if not 0 < len(content) <= MAX_CHUNK_BYTES:
        raise BadRequest(f"A piece has 1 to {MAX_CHUNK_BYTES} bytes, not {len(content)}.", field="body")
    if sha256(content) != digest:
        raise BadRequest("The piece does not fit its digest: send it again.", field="sha256")
    if offset + len(content) <= file.received:
        return file
    if offset != file.received:
        raise BadRequest(f"{file.name} goes on at byte {file.received}, not {offset}.", field="offset")
    if offset + len(content) > file.size:
        raise BadRequest(f"{file.name} was announced with {file.size} bytes, and this piece runs over.", field="body")
    storage.write_at(storage.path_of(row.pk, file.name), offset, content)
    file.received = offset + len(content)
    file.save(update_fields=["received"])
    Checkpoint.objects.filter(pk=row.pk).update(touched_at=now)
    return file


def _locked(checkpoint: Checkpoint) -> Checkpoint:
    row = Checkpoint.objects.select_for_update().filter(pk=checkpoint.pk).first()
    if row is None:
        raise NotFound("This upload was dropped.")
    return row


def complete(*, checkpoint: Checkpoint, now: datetime) -> Model:
    """Looks into every file and makes the Model. Called again it gives the same Model.

    Raises BadRequest with the file that is at fault; then the upload stays open, and may be dropped.
    """
    with transaction.atomic():
        row = _locked(checkpoint)
        if row.model is not None:
            return row.model
        files = list(row.files.all())
        for file in files:
            if file.received < file.size:
                raise BadRequest(
                    f"{file.name} has {file.received} of {file.size} bytes: send the rest.", field=f"files/{file.name}"
                )
        facts = _look_into(row, files)
        CheckpointFile.objects.bulk_update(files, ["sha256"])
        row.model = _make_model(row, files, facts)
        row.state, row.touched_at = Checkpoint.State.COMPLETE, now
        row.save(update_fields=["model", "state", "touched_at"])
    log.info("checkpoint complete", extra={"checkpoint": row.pk, "model": row.model.slug})
    return row.model


def _look_into(row: Checkpoint, files: list[CheckpointFile]) -> dict[str, Any]:
    """Digests into the rows; what the files say of the model comes back."""
    config: dict[str, Any] = {}
    tensors: set[str] = set()
    elements, weights = 0, {file.name for file in files if is_weights(file.name)}
    for file in files:
        path = storage.path_of(row.pk, file.name)
        if not path.is_file() or path.stat().st_size != file.size:
            raise BadRequest(f"{file.name} is not whole on disk: drop this upload and start again.", field="files")
        if file.name in weights:
            header = read_header(path, file.name)
            if twice := tensors & header.tensors:
                raise BadRequest(f"{file.name}: tensor {min(twice)[:80]!r} is in another file too.", field="files")
            tensors |= header.tensors
            elements += header.elements
        elif file.name.endswith(".json"):
            found = check_json(path, file.name)
            config = found if file.name == "config.json" else config
            if file.name.endswith("index.json") and not set(_shards(found)) <= weights:
                raise BadRequest(f"{file.name} names weights that were not uploaded.", field=f"files/{file.name}")
        else:
            check_plain(path, file.name)
        digest = storage.digest_of(path)
        if file.sha256 and file.sha256 != digest:
            raise BadRequest(
                f"{file.name} has the SHA-256 {digest}, and {file.sha256} was announced.", field=f"files/{file.name}"
            )
        file.sha256 = digest
    if not elements:
        raise BadRequest("The weights hold no number.", field="files")
    return config | {"_elements": elements}


def _shards(index: dict[str, Any]) -> list[str]:
    named = index.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise BadRequest("model.safetensors.index.json needs a weight_map from tensors to files.", field="files")
    return list(named.values())


def _make_model(row: Checkpoint, files: list[CheckpointFile], config: dict[str, Any]) -> Model:
    """The revision is of the files themselves: 40 digits of the digest over their names and digests."""
    kind, classes = config.get("model_type"), config.get("architectures")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", kind):
        raise BadRequest('config.json needs a "model_type" that transformers knows.', field="files/config.json")
    named = classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else ""
    positions = config.get("max_position_embeddings")
    return Model.objects.create(
        source=Model.Source.UPLOAD,
        ref=row.pk.hex,
        revision=sha256(canonical_json({file.name: file.sha256 for file in files}))[:40],
        slug=f"{slugify(row.title)[:100] or 'upload'}-{row.pk.hex[:8]}",
        title=row.title,
        family=kind,
        architecture=named[:80] if re.fullmatch(r"\w{1,80}", named) else "",
        parameters=config["_elements"],
        max_positions=positions if type(positions) is int and 0 < positions < 2**31 else None,
        licence=row.licence,
        owner=row.owner,
    )


def drop(*, checkpoint: Checkpoint, actor: User) -> None:
    """Ends an upload and frees its place; a complete one only while no System is made of its Model."""
    with transaction.atomic():
        row = _locked(checkpoint)
        if row.owner_id != actor.pk and not actor.is_staff:
            raise NotAllowed("Only its owner and staff can drop an upload.")
        model = row.model
        if model is not None and model.systems.exists():
            raise Conflict("Systems are made of this model, so it stays.")
        row.delete()
        if model is not None:
            model.delete()
        transaction.on_commit(partial(storage.drop, checkpoint.pk))


def reap(*, now: datetime) -> int:
    """Drops uploads that nobody has gone on with for ABANDONED_AFTER, and folders that belong to none."""
    count = 0
    for row in Checkpoint.objects.filter(state=Checkpoint.State.OPEN, touched_at__lt=now - ABANDONED_AFTER)[:100]:
        with transaction.atomic():
            gone = Checkpoint.objects.filter(pk=row.pk, state=Checkpoint.State.OPEN, touched_at=row.touched_at).delete()
            if gone[0]:
                transaction.on_commit(partial(storage.drop, row.pk))
                count += 1
    if storage.root().is_dir():
        for folder in storage.root().iterdir():
            is_old = time.time() - folder.stat().st_mtime > ABANDONED_AFTER.total_seconds()
            if is_old and not Checkpoint.objects.filter(pk=_uuid(folder.name)).exists():
                storage.drop(_uuid(folder.name))
    if count:
        log.info("abandoned uploads dropped", extra={"count": count})
    return count


def _uuid(name: str) -> UUID:
    return UUID(name) if re.fullmatch(r"[0-9a-f]{32}", name) else UUID(int=0)
