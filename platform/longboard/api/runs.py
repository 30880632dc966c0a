"""Routes for people around Runs and nodes: logs, cancelling many, quota, a node's state, and the public log of receipts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import Query, Router

from longboard.api.auth import PERSON, PersonRequest
from longboard.api.schemas.base import Error
from longboard.api.schemas.fleet import NodeDetail, NodeStateIn
from longboard.api.schemas.results import ReceiptOut, ReceiptPage
from longboard.api.schemas.submissions import CancelIn, LogOut, QuotaOut
from longboard.errors import NotFound
from longboard.fleet.models import Node
from longboard.fleet.services import end_tokens, set_node_state
from longboard.results.evidence import evidence_lines
from longboard.results.models import Receipt
from longboard.submissions.models import Attempt, Run, Submission
from longboard.submissions.quota import quota_of
from longboard.submissions.services import cancel_many

router = Router(tags=["people"])

PAGE = 100
EVIDENCE_PAGE = 2_000
REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 422), Error)
NOT_FOUND: dict[int, Any] = dict.fromkeys((400, 404, 422), Error)


@router.get("/runs/{uuid:run_id}/log", response={200: LogOut, **NOT_FOUND})
def read_log(request: HttpRequest, run_id: UUID, attempt: Annotated[int | None, Query(ge=1, lt=2**15)] = None) -> Any:
    """An Attempt's log as far as it has come, the last one's when none is named: head, tail, and what fell out between."""
    rows = Attempt.objects.select_related("run").filter(run=run_id)
    row = rows.filter(number=attempt).first() if attempt else rows.order_by("-number").first()
    if row is None:
        raise NotFound("There is no such attempt of this run.")
    return LogOut(
        attempt=row.number,
        head=row.log_head,
        tail=row.log_tail,
        skipped_bytes=row.log_skipped_bytes,
        is_final=row.closed_as != Attempt.ClosedAs.OPEN,
    )


@router.post("/runs/cancel", response={200: dict[str, str], **REFUSALS}, auth=PERSON)
def cancel_runs(request: PersonRequest, body: CancelIn) -> Any:
    """Cancels up to 500 Runs; answers the state of each. All of them must be yours, or none is touched."""
    runs = cancel_many(run_ids=body.runs, actor=request.auth, now=timezone.now())
    return {str(run.pk): run.state for run in runs}


@router.post("/submissions/{uuid:submission_id}/cancel", response={200: dict[str, str], **REFUSALS}, auth=PERSON)
def cancel_submission(request: PersonRequest, submission_id: UUID) -> Any:
    """Cancels every Run of a Submission that has not ended."""
    if not Submission.objects.filter(pk=submission_id).exists():
        raise NotFound(f"There is no submission {submission_id}.")
    ids = list(Run.objects.filter(submission=submission_id).values_list("pk", flat=True))
    return {str(run.pk): run.state for run in cancel_many(run_ids=ids, actor=request.auth, now=timezone.now())}


@router.get("/quota", response={200: QuotaOut, 401: Error}, auth=PERSON)
def read_quota(request: PersonRequest) -> Any:
    """Your GPU-seconds of the last 30 days."""
    quota = quota_of(request.auth, timezone.now())
    return QuotaOut(allowed=quota.allowed, used=quota.used, held=quota.held, refunded=quota.refunded, left=quota.left)


@router.get("/nodes/{uuid:node_id}", response={200: NodeDetail, **NOT_FOUND})
def read_node(request: HttpRequest, node_id: UUID) -> Any:
    return _node(_find_node(node_id))


@router.post("/nodes/{uuid:node_id}/state", response={200: NodeDetail, **REFUSALS}, auth=PERSON)
def change_node(request: PersonRequest, node_id: UUID, body: NodeStateIn) -> Any:
    """active (also: approve), paused, draining, or revoked, which is final."""
    set_node_state(node=_find_node(node_id), state=body.state, actor=request.auth)
    return _node(_find_node(node_id))


@router.post("/nodes/{uuid:node_id}/end-tokens", response={200: NodeDetail, **REFUSALS}, auth=PERSON)
def renew_credentials(request: PersonRequest, node_id: UUID) -> Any:
    """Ends every token of the node at once; with its key it gets a new one."""
    end_tokens(node=_find_node(node_id), actor=request.auth)
    return _node(_find_node(node_id))


def _find_node(node_id: UUID) -> Node:
    node = Node.objects.select_related("pool", "owner").filter(pk=node_id).first()
    if node is None:
        raise NotFound(f"There is no node {node_id}.")
    return node


def _node(node: Node) -> NodeDetail:
    return NodeDetail(
        id=node.pk,
        name=node.name,
        state=node.state,
        is_alive=node.is_alive(timezone.now()),
        last_seen_at=node.last_seen_at,
        state_note=node.state_note,
        pool=node.pool.slug,
        owner=node.owner.username if node.owner else "",
        public_key=node.public_key,
        past_keys=node.past_keys,
        report=node.report,
        software=node.software,
        self_test=node.self_test,
        enrolled_at=node.enrolled_at,
        runs=list(node.attempts.filter(closed_as=Attempt.ClosedAs.OPEN).values_list("run", flat=True)[:PAGE]),
    )


@router.get("/receipts", response={200: ReceiptPage, **NOT_FOUND})
def list_receipts(
    request: HttpRequest,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> Any:
    """The public log, oldest first: each receipt signed by the site and holding the digest of the one before it."""
    rows = list(Receipt.objects.select_related("bundle").filter(number__gt=after).order_by("number")[: limit + 1])
    items = [
        ReceiptOut(
            number=row.number,
            kind=row.kind,
            body=row.body,
            digest=row.digest,
            public_key=row.public_key,
            signature=row.signature,
            bundle_sha256=row.bundle.digest if row.bundle else None,
        )
        for row in rows[:limit]
    ]
    return ReceiptPage(items=items, next=str(items[-1].number) if len(rows) > limit else None)


@router.get("/evidence.jsonl", response={200: None, **NOT_FOUND})
def evidence(
    request: HttpRequest,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=EVIDENCE_PAGE)] = EVIDENCE_PAGE,
) -> Any:
    """Receipts with their bundles and rows, for `longboard verify`: it checks the file offline."""
    lines: Iterator[str] = evidence_lines(after=after, limit=limit)
    return StreamingHttpResponse(
        lines,
        content_type="application/jsonl",
        headers={"Content-Disposition": 'attachment; filename="evidence.jsonl"'},
    )
