"""Changes to the fleet: enrolment, keys, node states."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.text import slugify

from longboard.accounts.models import User, digest_secret
from longboard.errors import BadRequest, Conflict, NotAllowed, Unauthorised
from longboard.fleet.credentials import NODE_PREFIX, make_token, node_of_token
from longboard.fleet.models import EnrolmentCode, Hardware, Node, Pool
from longboard.fleet.signatures import is_signed_by
from longboard.results.chain import append_receipt
from longboard_tasks.contract import HardwareReport, SelfTestReport
from longboard_tasks.costmodel import SHEETS

__all__ = ["NODE_PREFIX", "is_signed_by", "node_of_token"]

CODE_PREFIX = "lbe_"
CODE_LIFE = timedelta(hours=1)
MAX_PAST_KEYS = 50


@dataclass(frozen=True, slots=True)
class Enrolled:
    node: Node
    token: str


def make_enrolment_code(*, pool: Pool, actor: User, now: datetime, needs_approval: bool = False) -> str:
    """A code that lets one machine join `pool` within the hour. Only the pool's owner and staff may make one.

    Giving the code to a machine is the approval, unless `needs_approval` asks for a look at its report first.
    """
    check_may_steer_pool(pool, actor)
    code = CODE_PREFIX + secrets.token_urlsafe(24)
    EnrolmentCode.objects.create(
        pool=pool,
        digest=digest_secret(code),
        created_by=actor,
        created_at=now,
        expires_at=now + CODE_LIFE,
        needs_approval=needs_approval,
    )
    return code


def check_may_steer_pool(pool: Pool, actor: User) -> None:
    if not (actor.is_staff or pool.owner_id == actor.pk):
        raise NotAllowed(f'Only the owner of pool "{pool.slug}" and the staff can let machines join it.')


@transaction.atomic
def enrol(
    *,
    code: str,
    name: str,
    public_key: str,
    report: HardwareReport,
    software: dict,
    now: datetime,
    self_test: SelfTestReport | None = None,
) -> Enrolled:
    """Spends a code and registers the machine that holds the private half of `public_key`.

    The code is spent in the same transaction: of two machines with one code, one joins. The node is active at once, unless
    its code asks for a person's approval, its self-test failed, or it reports less than the pool's hardware has.
    """
    name = name.strip()
    if not name or len(name) > 80:
        raise BadRequest("Give the node a name of 1 to 80 characters.", field="name")
    row = (
        EnrolmentCode.objects.select_for_update(of=("self",))
        .select_related("pool__hardware", "created_by")
        .filter(digest=digest_secret(code))
        .first()
    )
    if row is None or row.used_at is not None or row.expires_at <= now:
        raise Unauthorised(
            "This enrolment code is unknown, spent or older than an hour. Ask the pool's owner for a new one."
        )
    if row.pool.hardware.kind != report.kind:
        raise BadRequest(
            f'Pool "{row.pool.slug}" is for {row.pool.hardware.title} ({row.pool.hardware.kind}); '
            f'this machine reports "{report.device}" ({report.kind}). Join a pool of its own hardware.',
            field="report",
        )
    if Node.objects.filter(pool=row.pool, name=name).exists():
        raise Conflict(f'Pool "{row.pool.slug}" already has a node named "{name}". Choose another name.')
    _check_key_is_new(public_key)
    note = _why_pending(row, report, self_test)
    node = Node.objects.create(
        name=name,
        pool=row.pool,
        owner=row.created_by,
        state=Node.State.PENDING if note else Node.State.ACTIVE,
        state_note=note,
        public_key=public_key,
        report=report.model_dump(mode="json"),
        software=software,
        self_test=self_test.model_dump(mode="json") if self_test else {},
        enrolled_at=now,
        last_seen_at=now,
    )
    row.used_at = now
    row.save(update_fields=["used_at"])
    _announce_key(node, now)
    return Enrolled(node=node, token=make_token(node))


def _why_pending(code: EnrolmentCode, report: HardwareReport, self_test: SelfTestReport | None) -> str:
    """Why a person has to look first; empty: nothing speaks against it."""
    if self_test is not None and not self_test.passed:
        return f"Its self-test failed: {self_test.reason}"[:300]
    sheet = code.pool.hardware
    if report.kind == "cuda" and report.memory_bytes < 0.9 * sheet.memory_bytes:
        return f"It reports {report.memory_bytes} B of device memory; the pool's hardware has {sheet.memory_bytes} B."
    return "Its code asks for approval." if code.needs_approval else ""


def _check_key_is_new(public_key: str) -> None:
    if Node.objects.filter(public_key=public_key).exists():
        raise Conflict("This public key is registered already. Each node makes a key of its own.")


def _announce_key(node: Node, now: datetime) -> None:
    """A receipt that says whose key this is: `verify` believes no key that the chain has not announced before."""
    owner = node.owner.username if node.owner else ""
    append_receipt(
        "node-key",
        {"node": str(node.pk), "name": node.name, "pool": node.pool.slug, "owner": owner, "node_key": node.public_key},
        now=now,
    )


@transaction.atomic
def rotate_key(*, node: Node, new_key: str, signature: str, now: datetime) -> str:
    """Replaces the node's key and ends every token made with the old one; returns a token for the new one.

    `signature` is by the old key over `rotation_payload`, so a stolen token cannot take a node over. Rows that the old key
    signed stay valid. The same rotation again, after a lost reply, gives a new token.
    """
    node = Node.objects.select_for_update(of=("self",)).select_related("pool", "owner").get(pk=node.pk)
    if node.public_key == new_key:
        return make_token(node)
    if not is_signed_by(public_key=node.public_key, signature=signature, payload=rotation_payload(node, new_key)):
        raise NotAllowed("The new key is not signed with the node's present one.")
    _check_key_is_new(new_key)
    node.past_keys = [*node.past_keys, node.public_key][-MAX_PAST_KEYS:]
    node.public_key = new_key
    node.credential_serial += 1
    node.save(update_fields=["past_keys", "public_key", "credential_serial"])
    _announce_key(node, now)
    return make_token(node)


def rotation_payload(node: Node, new_key: str) -> bytes:
    return f"longboard-node-rotate:{node.pk}:{new_key}".encode()


def set_node_state(*, node: Node, state: str, actor: User) -> None:
    """Approve, pause, drain, resume or revoke. Revoking is final; approving needs the pool's owner or the staff."""
    if not may_steer_node(node, actor):
        raise NotAllowed(f'Only the owners of node "{node.name}" and of its pool can change its state.')
    if state not in Node.State.values or state == Node.State.PENDING:
        choice = ", ".join(s for s in Node.State.values if s != Node.State.PENDING)
        raise BadRequest(f'"{state}" is not a state to put a node in. There are: {choice}.', field="state")
    row = Node.objects.select_related("pool").get(pk=node.pk)
    if row.state == Node.State.PENDING and state != Node.State.REVOKED:
        check_may_steer_pool(row.pool, actor)
    if not Node.objects.filter(pk=node.pk).exclude(state=Node.State.REVOKED).update(state=state, state_note=""):
        raise Conflict(f'Node "{node.name}" is revoked, which is final. Enrol the machine again.')
    node.state = state


def may_steer_node(node: Node, actor: User) -> bool:
    return actor.is_staff or actor.pk in (node.owner_id, node.pool.owner_id)


def end_tokens(*, node: Node, actor: User) -> None:
    """Ends every token of the node at once, say after one leaked. The node gets a new one with its key."""
    if not may_steer_node(node, actor):
        raise NotAllowed(f'Only the owners of node "{node.name}" and of its pool can end its tokens.')
    row = Node.objects.get(pk=node.pk)
    row.credential_serial += 1
    row.save(update_fields=["credential_serial"])


def peaks_of(kind: str, title: str, memory_bytes: int) -> dict[str, float]:
    """The vendor's peak FLOP/s and bandwidth for a Hardware row, where the title names a device that we have a sheet of."""
    words = title.lower().replace("-", " ")
    for sheet in SHEETS.values():
        device = sheet.name.split("-80gb")[0].replace("-", " ")
        is_same_size = abs(sheet.memory_bytes - memory_bytes) <= 0.15 * sheet.memory_bytes
        if sheet.kind == kind == "cuda" and device in words and is_same_size:
            return {"peak_flops": sheet.flops, "bandwidth_bytes_per_s": sheet.bandwidth}
    return {}


SAME_MEMORY = 0.05  # drivers keep some of it back, and not always as much


def ensure_hardware(*, slug: str, title: str, kind: str, memory_bytes: int) -> Hardware:
    """The spec sheet of a machine, made if it is new. GPUs of one name and memory are one Hardware, whoever's nodes hold them: a
    board compares what ran on any of them. Processors say too little of themselves, so each has the Hardware of its `slug`; a
    title that another one bears gets the slug behind it, so that a board, its sentence and its menu say which they mean."""
    if kind == "cuda":
        for like in Hardware.objects.filter(kind=kind, title=title[:120]):
            if abs(like.memory_bytes - memory_bytes) <= SAME_MEMORY * like.memory_bytes:
                return like
        named = slugify(title)[:80]
        slug = named if named and not Hardware.objects.filter(slug=named).exists() else slug
    hardware = Hardware.objects.filter(slug=slug).first()
    if hardware is None:
        is_taken = Hardware.objects.filter(title=title[:120]).exists()
        told_apart = f"{title[: 117 - len(slug)]} ({slug})" if is_taken else title[:120]
        hardware, _ = Hardware.objects.get_or_create(
            slug=slug,
            defaults={"title": told_apart, "kind": kind, "memory_bytes": memory_bytes}
            | peaks_of(kind, title, memory_bytes),
        )
    return hardware


def describe(report: HardwareReport) -> str:
    """How a machine is called on pages."""
    return report.device if report.kind == "cuda" else f"{report.cpu or report.device}, {report.cores} cores"


def ensure_local_pool(*, report: HardwareReport) -> Pool:
    """The first-party pool for the machine at hand, with a hardware sheet from its own report."""
    slug, title = "local-gpu" if report.kind == "cuda" else "local-cpu", describe(report)
    hardware = ensure_hardware(slug=slug, title=title, kind=report.kind, memory_bytes=report.memory_bytes)
    pool, _ = Pool.objects.get_or_create(
        slug=slug, defaults={"title": f"This machine: {title}"[:120], "hardware": hardware, "is_first_party": True}
    )
    return pool
