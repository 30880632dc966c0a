"""Changes to the fleet: enrolment, credentials, node states."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import transaction

from longboard.accounts.models import User, digest_secret
from longboard.errors import BadRequest, Conflict, NotAllowed, Unauthorised
from longboard.fleet.models import EnrolmentCode, Hardware, Node, Pool
from longboard_tasks.contract import HardwareReport

CODE_PREFIX = "lbe_"
NODE_PREFIX = "lbn_"
CODE_LIFE = timedelta(hours=1)
SEEN_EVERY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Enrolled:
    node: Node
    token: str  # shown once; the node keeps it, we keep its digest


def make_enrolment_code(*, pool: Pool, actor: User, now: datetime) -> str:
    """A code that lets one machine join `pool` within the hour. Only the pool's owner and staff may make one."""
    if not (actor.is_staff or pool.owner_id == actor.pk):
        raise NotAllowed(f'Only the owner of pool "{pool.slug}" and the staff can let machines join it.')
    code = CODE_PREFIX + secrets.token_urlsafe(24)
    EnrolmentCode.objects.create(
        pool=pool, digest=digest_secret(code), created_by=actor, created_at=now, expires_at=now + CODE_LIFE
    )
    return code


@transaction.atomic
def enrol(*, code: str, name: str, public_key: str, report: HardwareReport, software: dict, now: datetime) -> Enrolled:
    """Spends a code and registers the machine that holds the private half of `public_key`.

    The code is spent in the same transaction: of two machines with one code, one joins.
    """
    name = name.strip()
    if not name or len(name) > 80:
        raise BadRequest("Give the node a name of 1 to 80 characters.", field="name")
    row = EnrolmentCode.objects.select_for_update().select_related("pool").filter(digest=digest_secret(code)).first()
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
    if Node.objects.filter(public_key=public_key).exists():
        raise Conflict("This public key is registered already. Each node makes a key of its own.")
    token = NODE_PREFIX + secrets.token_urlsafe(32)
    node = Node.objects.create(
        name=name,
        pool=row.pool,
        owner=row.created_by,
        public_key=public_key,
        token_digest=digest_secret(token),
        report=report.model_dump(mode="json"),
        software=software,
        enrolled_at=now,
        last_seen_at=now,
    )
    row.used_at = now
    row.save(update_fields=["used_at"])
    return Enrolled(node=node, token=token)


def node_of_token(*, secret: str, now: datetime) -> Node:
    """The node behind a secret; notes that it was heard from. A revoked node is refused from the next call on."""
    node = Node.objects.select_related("pool__hardware").filter(token_digest=digest_secret(secret)).first()
    if node is None:
        raise Unauthorised("This node token is not known. Enrol the machine again with a new code.")
    if node.state == Node.State.REVOKED:
        raise Unauthorised(f'Node "{node.name}" was revoked. Ask the owner of pool "{node.pool.slug}".')
    if node.last_seen_at is None or now - node.last_seen_at > SEEN_EVERY:
        Node.objects.filter(pk=node.pk).update(last_seen_at=now)
    return node


def set_node_state(*, node: Node, state: str, actor: User) -> None:
    """Pause, drain, resume or revoke. Revoking is final."""
    if not (actor.is_staff or node.owner_id == actor.pk or node.pool.owner_id == actor.pk):
        raise NotAllowed(f'Only the owners of node "{node.name}" and of its pool can change its state.')
    if state not in Node.State.values:
        raise BadRequest(f'"{state}" is not a node state. There are: {", ".join(Node.State.values)}.', field="state")
    if not Node.objects.filter(pk=node.pk).exclude(state=Node.State.REVOKED).update(state=state):
        raise Conflict(f'Node "{node.name}" is revoked, which is final. Enrol the machine again.')
    node.state = state


def is_signed_by(*, public_key: str, signature: str, payload: bytes) -> bool:
    """Whether `signature` (hex) over `payload` was made with the private half of `public_key` (hex)."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), payload)
    except (InvalidSignature, ValueError):
        return False
    return True


def ensure_local_pool(*, report: HardwareReport) -> Pool:
    """The first-party pool for the machine at hand, with a hardware sheet from its own report."""
    slug = "local-gpu" if report.kind == "cuda" else "local-cpu"
    title = report.device if report.kind == "cuda" else f"{report.cpu or 'CPU'}, {report.cores} cores"
    hardware, _ = Hardware.objects.get_or_create(
        slug=slug, defaults={"title": title[:120], "kind": report.kind, "memory_bytes": report.memory_bytes}
    )
    pool, _ = Pool.objects.get_or_create(
        slug=slug, defaults={"title": f"This machine: {title}"[:120], "hardware": hardware, "is_first_party": True}
    )
    return pool
