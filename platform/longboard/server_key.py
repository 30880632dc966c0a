"""The site's own Ed25519 key: it signs tickets, so that a node obeys nobody else, and receipts, so that history is checkable."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


@cache
def _key() -> Ed25519PrivateKey:
    if not settings.SIGNING_KEY:
        derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"longboard signing key")
        return Ed25519PrivateKey.from_private_bytes(derive.derive(settings.SECRET_KEY.encode()))
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(settings.SIGNING_KEY))
    except ValueError as error:
        raise ImproperlyConfigured("LONGBOARD_SIGNING_KEY: give 64 hex digits, a private Ed25519 key.") from error


def public_key() -> str:
    """Hex. Nodes keep it from their enrolment on."""
    return _key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sign(payload: bytes) -> str:
    """Ed25519 signature, hex."""
    return _key().sign(payload).hex()
