"""The REST contract as a node calls it. Every call has a time limit; what can be repeated safely is repeated."""

from __future__ import annotations

import gzip
import random
import threading
import time
from datetime import datetime
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from longboard_tasks.contract import (
    FailureClass,
    HardwareReport,
    Progress,
    SelfTestReport,
    SignedBundle,
    SignedTicket,
    Ticket,
    sha256,
)
from longboard_worker.identity import public_hex
from longboard_worker.logbuffer import LogText

CONNECT_S, READ_S = 5, 60
MAX_LOG_CHARS = 200_000  # a call; the site takes 300,000
CHUNK_BYTES = 1_000_000
ONE_CALL_BYTES = 1_000_000  # a larger bundle goes up in pieces, so that a lost connection costs one piece


class Refused(Exception):
    """The site said no (4xx): the same call will not do better."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class FencedOff(Refused):
    """The lease is over (404, 409, 410 on an attempt's route): stop the work at once."""


class Unreachable(Exception):
    """No answer, or a 5xx, for as long as was worth waiting."""


class BeatReply(BaseModel):
    lease_until: datetime
    cancel: bool
    drain: bool


class SiteClient:
    """One site, one node. All node routes are safe to repeat, so lost replies are healed by asking again.

    The token lives in memory alone: it is asked for with the node's key when there is none, and again when it has ended.
    """

    def __init__(self, site: str, *, node: str = "", key: Ed25519PrivateKey | None = None) -> None:
        self.base = site.rstrip("/") + "/api/v1"
        self.node, self.key = node, key
        self.session = requests.Session()
        self.session.headers["User-Agent"] = "longboard-worker"
        self.server_key = ""  # as the site told it last; what counts is the one pinned at enrolment
        self._token = ""
        self._lock = threading.Lock()

    def enrol(
        self,
        *,
        code: str,
        name: str,
        public_key: str,
        report: HardwareReport,
        software: dict[str, str],
        self_test: SelfTestReport | None,
    ) -> dict[str, Any]:
        body = {
            "code": code,
            "name": name,
            "public_key": public_key,
            "report": report.model_dump(mode="json"),
            "software": software,
            "self_test": self_test.model_dump(mode="json") if self_test else None,
        }
        return self._send("POST", "/nodes/enrol", body, patience_s=20, with_token=False)

    def rotate(self, new_key: Ed25519PrivateKey) -> None:
        """Puts `new_key` in the place of the present one, which signs it. Afterwards this client speaks with the new one."""
        assert self.key is not None  # noqa: S101 (an enrolled node has one)
        payload = f"longboard-node-rotate:{self.node}:{public_hex(new_key)}".encode()
        body = {"public_key": public_hex(new_key), "signature": self.key.sign(payload).hex()}
        answer = self._send("POST", "/nodes/rotate", body, patience_s=30)
        self.key, self._token = new_key, answer["token"]

    def claim(self, free_memory_bytes: int | None = None) -> SignedTicket | None:
        answer = self._send("POST", "/runs/claim", {"free_memory_bytes": free_memory_bytes}, patience_s=15)
        return SignedTicket.model_validate(answer) if answer else None

    def export(self, run: str | None) -> SignedTicket:
        return SignedTicket.model_validate(self._send("POST", "/runs/export", {"run": run}, patience_s=15))

    def start(self, ticket: Ticket) -> BeatReply:
        return BeatReply.model_validate(self._attempt(ticket, "start", {}, patience_s=30))

    def beat(self, ticket: Ticket, progress: Progress | None, log: LogText) -> BeatReply:
        body = {
            "progress": progress.model_dump(mode="json") if progress else None,
            "log": log.text,
            "log_dropped": log.dropped,
        }
        return BeatReply.model_validate(self._attempt(ticket, "beat", body, patience_s=5))

    def orders(self, ticket: Ticket) -> BeatReply:
        """Cancel, drain or FencedOff, between two beats; one try."""
        path = f"/attempts/{ticket.attempt_id}/orders?fence={ticket.fence}"
        return BeatReply.model_validate(self._fenced("GET", path, None, patience_s=0))

    def fail(self, ticket: Ticket, failure_class: FailureClass, message: str, log: LogText) -> None:
        body = {
            "failure_class": failure_class,
            "message": message[:2_000],
            "log": log.text[-MAX_LOG_CHARS:],
            "log_dropped": log.dropped,
        }
        self._attempt(ticket, "fail", body, patience_s=60)

    def hand_in(self, *, attempt_id: str, fence: int, signed: SignedBundle, patience_s: float = 60) -> dict[str, Any]:
        """The site's answer with its receipt. A large bundle goes up in pieces and goes on where it was cut off."""
        payload = signed.payload.encode()
        if len(payload) <= ONE_CALL_BYTES:
            path = f"/attempts/{attempt_id}/bundle?fence={fence}"
            return self._send("POST", path, signed.model_dump(mode="json"), patience_s=patience_s)
        # mtime: the same payload has to give the same pieces after a restart.
        packed = gzip.compress(payload, 6, mtime=0)
        path = f"/attempts/{attempt_id}/upload?fence={fence}"
        state = self._send("GET", path, None, patience_s=patience_s)
        offset = state["next_offset"]
        while offset < len(packed) and not state["is_complete"]:
            piece = packed[offset : offset + CHUNK_BYTES]
            state = self._send(
                "PUT", f"{path}&offset={offset}&sha256={sha256(piece)}", None, content=piece, patience_s=patience_s
            )
            offset = state["next_offset"]
        body = {
            "fence": fence,
            "sha256": sha256(payload),
            "public_key": signed.public_key,
            "signature": signed.signature,
        }
        return self._send("POST", f"/attempts/{attempt_id}/complete", body, patience_s=patience_s)

    def upload_files(self, ticket: Ticket) -> list[dict[str, Any]]:
        """The files of the run's uploaded model, with sizes and digests. Raises Refused (404) when it is none."""
        path = f"/attempts/{ticket.attempt_id}/checkpoint?fence={ticket.fence}"
        return self._send("GET", path, None, patience_s=30)["files"]

    def upload_piece(self, ticket: Ticket, name: str, *, offset: int, length: int) -> bytes:
        """At most `length` bytes of one of them from `offset` on."""
        path = f"/attempts/{ticket.attempt_id}/checkpoint/{name}?fence={ticket.fence}&offset={offset}&length={length}"
        return self._send("GET", path, None, patience_s=60, raw=True)

    def _attempt(self, ticket: Ticket, verb: str, body: dict[str, Any], *, patience_s: float) -> Any:
        path = f"/attempts/{ticket.attempt_id}/{verb}"
        return self._fenced("POST", path, {"fence": ticket.fence, **body}, patience_s=patience_s)

    def _fenced(self, verb: str, path: str, body: dict[str, Any] | None, *, patience_s: float) -> Any:
        try:
            return self._send(verb, path, body, patience_s=patience_s)
        except Refused as refused:
            if refused.status in (404, 409, 410):
                raise FencedOff(refused.status, refused.code, refused.message) from refused
            raise

    def _send(
        self,
        verb: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        patience_s: float,
        with_token: bool = True,
        content: bytes | None = None,
        raw: bool = False,
    ) -> Any:
        """Repeats on silence, 429 and 5xx with growing, jittered pauses until `patience_s` is spent.

        `raw`: the answer's bytes as they are, in place of its JSON.
        """
        deadline = time.monotonic() + patience_s
        pause, has_renewed = 0.2, False
        while True:
            used = self._token
            if with_token and not used:
                used = self._renew("", patience_s=max(0.0, deadline - time.monotonic()))
                has_renewed = True
            problem = ""
            try:
                response = self.session.request(
                    verb,
                    self.base + path,
                    json=body if content is None else None,
                    data=content,
                    headers={"Authorization": f"Bearer {used}"} if with_token else {},
                    timeout=(CONNECT_S, READ_S),
                )
            except requests.RequestException as error:
                # str(error) can carry the URL, which never holds a secret.
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code < 300 and raw:
                    return response.content
                if response.status_code < 300:
                    return response.json() if response.content else None
                if response.status_code == 401 and with_token and not has_renewed:
                    self._renew(used, patience_s=max(0.0, deadline - time.monotonic()))  # it has ended, most likely
                    has_renewed = True
                    continue
                if response.status_code < 500 and response.status_code != 429:
                    raise _refusal(response)
                problem = f"the site answered {response.status_code}"
            if time.monotonic() + pause > deadline:
                raise Unreachable(f"{path.partition('?')[0]}: {problem}")
            time.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, 10)

    def _renew(self, used: str, *, patience_s: float) -> str:
        """A token for the node's signature. Of threads that find the same one ended, one asks. Raises Refused."""
        with self._lock:
            if self._token != used:
                return self._token
            if self.key is None:
                raise Refused(401, "unauthorised", "This folder holds no key of an enrolled node.")
            ask = {"node": self.node}
            challenge = self._send("POST", "/nodes/challenge", ask, patience_s=patience_s, with_token=False)[
                "challenge"
            ]
            signature = self.key.sign(b"longboard-node-token:" + challenge.encode()).hex()
            body = {"node": self.node, "challenge": challenge, "signature": signature}
            answer = self._send("POST", "/nodes/token", body, patience_s=patience_s, with_token=False)
            self._token, self.server_key = answer["token"], answer["server_key"]
            return self._token


def _refusal(response: requests.Response) -> Refused:
    try:
        error = response.json()["error"]
        return Refused(response.status_code, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        return Refused(response.status_code, "http", f"The site answered {response.status_code}: {response.text[:200]}")
