"""Who this node is: its site and the site's key, its own Ed25519 key, in one folder that only its owner can read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from longboard_tasks.contract import ResultBundle, SignedBundle, canonical_json


class NotEnrolled(Exception):
    """The folder holds no enrolment; the message says how to make one."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """`server_key`: the site's public key as it was at enrolment. Tickets of any other key are refused."""

    site: str
    node: str
    name: str
    pool: str
    queue: str
    is_first_party: bool
    server_key: str = ""


def default_home() -> Path:
    return Path(os.environ.get("LONGBOARD_NODE_HOME", Path.home() / ".longboard-node"))


def load_key(home: Path) -> Ed25519PrivateKey:
    """The node's key; made here on first use, and it never leaves."""
    path = home / "node.key"
    if path.exists():
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    save_key(path, key)
    return key


def save_key(path: Path, key: Ed25519PrivateKey) -> None:
    write_private(path, key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def public_hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sign(bundle: ResultBundle, key: Ed25519PrivateKey) -> SignedBundle:
    payload = canonical_json(bundle)
    return SignedBundle(payload=payload.decode(), public_key=public_hex(key), signature=key.sign(payload).hex())


def is_signed_by(public_key: str, signature: str, payload: bytes) -> bool:
    """Keys and signatures in hex."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), payload)
    except (InvalidSignature, ValueError):
        return False
    return True


def save_enrolment(home: Path, enrolment: Enrolment) -> None:
    write_private(home / "node.json", json.dumps(asdict(enrolment), indent=1).encode())


def load_enrolment(home: Path) -> Enrolment:
    path = home / "node.json"
    if not path.exists():
        raise NotEnrolled(
            f"{home} holds no enrolment. Run: longboard-worker enrol --site URL --code CODE (the pool's owner makes a code)."
        )
    known = {field.name for field in fields(Enrolment)}
    return Enrolment(**{name: value for name, value in json.loads(path.read_text()).items() if name in known})


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    partial = path.with_name(path.name + ".part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)
