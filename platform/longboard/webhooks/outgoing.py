"""One POST to a stranger's address, so that it can reach nothing of ours.

The name is resolved once, every address that it has must be a public one, and the connection goes to the address that was
checked: a name that answers differently a moment later gains nothing. No redirect is followed, no proxy is used, one clock
bounds the whole call, and of the answer only the status is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from longboard.errors import BadRequest

CONNECT_S, TOTAL_S = 5.0, 10.0
PORTS = (443, 8443)


class NotSent(Exception):
    """Nothing was delivered; the message says why, without anything of the answer."""


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int
    path: str


def read_address(url: str) -> Target:
    """The parts of a webhook's address. Raises BadRequest for any but a plain https address with a public-looking name."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as error:
        raise BadRequest("This is not an address. Give https://host/path.", field="url") from error
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme != "https" or not host:
        raise BadRequest("A webhook's address starts with https:// and has a host.", field="url")
    if parts.username is not None or parts.password is not None:
        raise BadRequest("No name or password in a webhook's address: check our signature instead.", field="url")
    if port not in PORTS:
        raise BadRequest(f"A webhook listens on port {' or '.join(map(str, PORTS))}, not {port}.", field="url")
    if not url.isascii() or any(c <= " " or c in '\\"<>^`{|}\x7f' for c in url) or len(url) > 500:
        raise BadRequest("The address holds characters that an address cannot have.", field="url")
    if "." not in host and ":" not in host:
        raise BadRequest("Give a full host name, such as hooks.example.org.", field="url")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if all(c in "0123456789.xX" or c in "abcdefABCDEF" for c in host) and host[-1].isdigit():
            raise BadRequest("Give a host name, not a number.", field="url") from None
    else:
        _check_public(host)
    path = parts.path or "/"
    return Target(host, port, f"{path}?{parts.query}" if parts.query else path)


def public_addresses(host: str, port: int) -> list[str]:
    """Where the name leads. Raises NotSent when it leads nowhere, or anywhere that is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent("The host name is not known.") from error
    addresses = sorted({str(entry[4][0]) for entry in found})
    try:
        for address in addresses:
            _check_public(address)
    except BadRequest as error:
        raise NotSent(error.message) from error
    return addresses


def _check_public(address: str) -> None:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None) or ip
    teredo = getattr(ip, "teredo", None)
    for each in (ip, mapped, *(teredo or ())):
        # Site-local addresses (fec0::/10) pass for global ones in the standard library.
        if not each.is_global or each.is_multicast or each.is_reserved or getattr(each, "is_site_local", False):
            raise BadRequest("The host's address is not a public one.", field="url")
    if ip.version == 6 and ip in ipaddress.ip_network("64:ff9b::/96"):  # a translator may stand in our own network
        raise BadRequest("The host's address is not a public one.", field="url")


class _Pinned(http.client.HTTPSConnection):
    """To one checked address, while the certificate must be the name's."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=CONNECT_S, context=context)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), timeout=CONNECT_S)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def sign(secret: str, body: bytes, at: int) -> str:
    """`t=<seconds>,v1=<hex>`: HMAC-SHA256 of `<seconds>.<body>`. The time is signed, so that an old call cannot be replayed."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def post(url: str, body: bytes, headers: dict[str, str], *, context: ssl.SSLContext | None = None) -> int:
    """The status of the answer. Raises NotSent, also when the answer takes longer than TOTAL_S."""
    try:
        target = read_address(url)
    except BadRequest as error:
        raise NotSent(error.message) from error
    deadline = time.monotonic() + TOTAL_S
    connection = _Pinned(
        target.host, target.port, public_addresses(target.host, target.port)[0], context or ssl.create_default_context()
    )
    try:
        connection.connect()
        connection.sock.settimeout(max(0.1, deadline - time.monotonic()))
        connection.request("POST", target.path, body=body, headers=headers)
        # A slow server could feed one header byte a second: each read is bounded by what is left, and the reads are few.
        connection.sock.settimeout(max(0.1, deadline - time.monotonic()))
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(f"No answer: {type(error).__name__}.") from error
    finally:
        connection.close()
    return status
