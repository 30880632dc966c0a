"""How a node proves who it is: it signs a challenge with its own key and gets a token that lives for minutes.

Tokens and challenges are signed by the site and stored nowhere, so a copy of the database holds no credential. A token names
its node and that node's serial; the node's row is read at each call, so pause, revoke and rotate take effect with the next.
No clock of the node's is involved.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core import signing

from longboard.errors import Unauthorised
from longboard.fleet.models import Node
from longboard.fleet.signatures import is_signed_by

NODE_PREFIX = "lbn_"  # so that secret scanners find a leaked one
CHALLENGE_S = 60
SEEN_EVERY = timedelta(seconds=1)
_TOKEN, _CHALLENGE = "longboard.node-token", "longboard.node-challenge"


def make_token(node: Node) -> str:
    return NODE_PREFIX + signing.dumps([node.pk.hex, node.credential_serial], salt=_TOKEN)


def node_of_token(*, secret: str, now: datetime) -> Node:
    """The node behind a token; notes that it was heard from. A revoked node is refused from the next call on."""
    try:
        node_id, serial = signing.loads(
            secret.removeprefix(NODE_PREFIX), salt=_TOKEN, max_age=timedelta(seconds=settings.NODE_TOKEN_S)
        )
    except signing.SignatureExpired as error:
        raise Unauthorised("This node token has expired. Ask for a new one with the node's key.") from error
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise Unauthorised("This node token is not known. Ask for a new one with the node's key.") from error
    node = Node.objects.select_related("pool__hardware").filter(pk=UUID(node_id)).first()
    _check_may_call(node)
    assert node is not None  # noqa: S101 (checked in the line above)
    if node.credential_serial != serial:
        raise Unauthorised("The credentials of this node were renewed. Ask for a new token with the node's key.")
    if node.last_seen_at is None or now - node.last_seen_at > SEEN_EVERY:
        Node.objects.filter(pk=node.pk).update(last_seen_at=now)
    return node


def make_challenge(node_id: UUID) -> str:
    """What the node has to sign. The same for an unknown node, so it tells nobody which nodes there are."""
    return signing.dumps([node_id.hex, secrets.token_hex(8)], salt=_CHALLENGE)


def challenge_payload(challenge: str) -> bytes:
    """The bytes that the node signs. The first word keeps this signature from passing for another."""
    return b"longboard-node-token:" + challenge.encode()


def token_for_signature(*, node_id: UUID, challenge: str, signature: str) -> tuple[Node, str]:
    """A token for whoever holds the node's key. Raises Unauthorised for a stale challenge and for another key."""
    try:
        asked, _ = signing.loads(challenge, salt=_CHALLENGE, max_age=CHALLENGE_S)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise Unauthorised("This challenge is not ours or is older than a minute. Ask for a new one.") from error
    node = Node.objects.select_related("pool").filter(pk=node_id).first()
    _check_may_call(node)
    assert node is not None  # noqa: S101 (checked in the line above)
    payload = challenge_payload(challenge)
    if asked != node_id.hex or not is_signed_by(public_key=node.public_key, signature=signature, payload=payload):
        raise Unauthorised("The challenge is not signed with this node's key.")
    return node, make_token(node)


def _check_may_call(node: Node | None) -> None:
    if node is None:
        raise Unauthorised("This node is not known. Enrol the machine with a new code.")
    if node.state == Node.State.REVOKED:
        raise Unauthorised(f'Node "{node.name}" was revoked. Ask the owner of pool "{node.pool.slug}".')
