"""A bundle in pieces: each with its digest and place, sent again at will, and put together at the end.

The pieces are the gzip stream of the bundle's payload. They are rows, so any web process can take the next one.
"""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from longboard.errors import BadRequest, Conflict, Gone, NotFound
from longboard.fleet.models import Node
from longboard.results.models import Bundle, UploadChunk
from longboard.submissions.models import Attempt
from longboard_tasks.contract import MAX_BUNDLE_BYTES, sha256

MAX_CHUNK_BYTES = 4 * 2**20
MAX_UPLOAD_BYTES = MAX_BUNDLE_BYTES


@dataclass(frozen=True, slots=True)
class Upload:
    """`next_offset`: bytes that are here without a gap, so where the node goes on."""

    next_offset: int
    is_complete: bool


def _attempt(attempt_id: UUID, node: Node, fence: int) -> Attempt:
    attempt = Attempt.objects.filter(pk=attempt_id, node=node).first()
    if attempt is None:
        raise NotFound(f"This node has no attempt {attempt_id}.")
    if attempt.fence != fence:
        raise Conflict(f"Attempt {attempt_id} has fence {attempt.fence}, the call says {fence}.")
    return attempt


def upload_state(*, attempt_id: UUID, node: Node, fence: int) -> Upload:
    attempt = _attempt(attempt_id, node, fence)
    if Bundle.objects.filter(attempt=attempt).exists():
        return Upload(next_offset=0, is_complete=True)
    return Upload(next_offset=_contiguous(attempt), is_complete=False)


def _contiguous(attempt: Attempt) -> int:
    end = 0
    for offset, content in attempt.chunks.order_by("offset").values_list("offset", "content"):
        if offset != end:
            break
        end += len(content)
    return end


@transaction.atomic
def put_chunk(
    *, attempt_id: UUID, node: Node, fence: int, offset: int, content: bytes, digest: str, now: datetime
) -> Upload:
    """Stores one piece. The same piece again changes nothing; another one in its place raises Conflict.

    Raises BadRequest for a piece that is empty, too large, does not fit its digest or leaves a gap.
    """
    attempt = _attempt(attempt_id, node, fence)
    attempt = Attempt.objects.select_for_update(of=("self",)).get(pk=attempt.pk)
    if Bundle.objects.filter(attempt=attempt).exists():
        return Upload(next_offset=0, is_complete=True)
    if attempt.closed_as in (Attempt.ClosedAs.CANCELLED, Attempt.ClosedAs.FAILED):
        raise Gone(f"Attempt {attempt_id} is {attempt.get_closed_as_display()}: it takes no result.")
    if not 0 < len(content) <= MAX_CHUNK_BYTES:
        raise BadRequest(f"A chunk has 1 to {MAX_CHUNK_BYTES} bytes, not {len(content)}.", field="body")
    if sha256(content) != digest:
        raise BadRequest("The chunk does not fit its digest: send it again.", field="sha256")
    end = _contiguous(attempt)
    if offset > end:
        raise BadRequest(f"There is a gap: go on at byte {end}, not {offset}.", field="offset")
    known = attempt.chunks.filter(offset=offset).first()
    if known is not None and known.sha256 == digest:
        return Upload(next_offset=end, is_complete=False)
    if known is not None or offset < end:
        raise Conflict(f"Another chunk is already at byte {offset} of this upload.")
    if offset + len(content) > MAX_UPLOAD_BYTES:
        raise BadRequest(f"An upload has at most {MAX_UPLOAD_BYTES} bytes.", field="offset")
    UploadChunk.objects.create(attempt=attempt, offset=offset, content=content, sha256=digest, created_at=now)
    return Upload(next_offset=offset + len(content), is_complete=False)


def assemble(*, attempt_id: UUID, node: Node, fence: int, digest: str) -> str | None:
    """The payload that the pieces hold; None when the Attempt has its bundle already, so that a repeat is answered by it.

    Raises BadRequest when it is not whole, unpacks to more than a bundle may have, or is not the payload of `digest`.
    """
    attempt = _attempt(attempt_id, node, fence)
    packed = b"".join(bytes(c) for c in attempt.chunks.order_by("offset").values_list("content", flat=True))
    if not packed and Bundle.objects.filter(attempt=attempt).exists():
        return None
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            payload = stream.read(MAX_BUNDLE_BYTES + 1)
    except (OSError, EOFError) as error:
        raise BadRequest("The upload is not whole: ask where to go on, and send the rest.", field="body") from error
    if len(payload) > MAX_BUNDLE_BYTES:
        raise BadRequest(f"The bundle unpacks to more than {MAX_BUNDLE_BYTES} bytes.", field="body")
    if sha256(payload) != digest:
        raise BadRequest("The pieces do not make the payload that this digest names.", field="sha256")
    return payload.decode(errors="strict")
