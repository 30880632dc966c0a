"""Who this node is: its site, its own Ed25519 key and its token, in one folder that only its owner can read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from longboard_tasks.contract import ResultBundle, SignedBundle, canonical_json


class NotEnrolled(Exception):
    """The folder holds no enrolment; the message says how to make one."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    site: str
    node: str
    name: str
    token: str
    pool: str
    queue: str
    is_first_party: bool


def default_home() -> Path:
    return Path(os.environ.get("LONGBOARD_NODE_HOME", Path.home() / ".longboard-node"))


def load_key(home: Path) -> Ed25519PrivateKey:
    """The node's key; made here on first use, and it never leaves."""
    path = home / "node.key"
    if path.exists():
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    _write_private(path, key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sign(bundle: ResultBundle, key: Ed25519PrivateKey) -> SignedBundle:
    payload = canonical_json(bundle)
    return SignedBundle(payload=payload.decode(), public_key=public_hex(key), signature=key.sign(payload).hex())


def save_enrolment(home: Path, enrolment: Enrolment) -> None:
    _write_private(home / "node.json", json.dumps(asdict(enrolment), indent=1).encode())


def load_enrolment(home: Path) -> Enrolment:
    path = home / "node.json"
    if not path.exists():
        raise NotEnrolled(
            f"{home} holds no enrolment. Run: longboard-worker enrol --site URL --code CODE (the pool's owner makes a code)."
        )
    return Enrolment(**json.loads(path.read_text()))


def _write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    partial = path.with_name(path.name + ".part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)
