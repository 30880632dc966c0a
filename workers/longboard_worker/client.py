"""The REST contract as a node calls it. Every call has a time limit; what can be repeated safely is repeated."""

from __future__ import annotations

import random
import time
from datetime import datetime
from typing import Any

import requests
from pydantic import BaseModel

from longboard_tasks.contract import FailureClass, HardwareReport, Progress, SignedBundle, Ticket

CONNECT_S, READ_S = 5, 60
MAX_LOG_CHARS = 200_000  # a call; the site takes 300,000


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
    """One site, one token. All node routes are safe to repeat, so lost replies are healed by asking again."""

    def __init__(self, site: str, token: str = "") -> None:
        self.base = site.rstrip("/") + "/api/v1"
        self.session = requests.Session()
        self.session.headers["User-Agent"] = "longboard-worker"
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def enrol(
        self, *, code: str, name: str, public_key: str, report: HardwareReport, software: dict[str, str]
    ) -> dict[str, Any]:
        body = {
            "code": code,
            "name": name,
            "public_key": public_key,
            "report": report.model_dump(mode="json"),
            "software": software,
        }
        return self._post("/nodes/enrol", body, patience_s=20)

    def claim(self, hint: str | None = None) -> Ticket | None:
        answer = self._post("/runs/claim", {"hint": hint}, patience_s=15)
        return Ticket.model_validate(answer) if answer else None

    def start(self, ticket: Ticket) -> BeatReply:
        return BeatReply.model_validate(self._attempt(ticket, "start", {}, patience_s=30))

    def beat(self, ticket: Ticket, progress: Progress | None, log: str) -> BeatReply:
        body = {"progress": progress.model_dump(mode="json") if progress else None, "log": log}
        return BeatReply.model_validate(self._attempt(ticket, "beat", body, patience_s=5))

    def fail(self, ticket: Ticket, failure_class: FailureClass, message: str, log: str) -> None:
        body = {"failure_class": failure_class, "message": message[:2_000], "log": log[-MAX_LOG_CHARS:]}
        self._attempt(ticket, "fail", body, patience_s=60)

    def hand_in(self, *, attempt_id: str, fence: int, signed: SignedBundle, patience_s: float = 60) -> dict[str, Any]:
        return self._post(
            f"/attempts/{attempt_id}/bundle?fence={fence}", signed.model_dump(mode="json"), patience_s=patience_s
        )

    def _attempt(self, ticket: Ticket, verb: str, body: dict[str, Any], *, patience_s: float) -> Any:
        try:
            return self._post(
                f"/attempts/{ticket.attempt_id}/{verb}", {"fence": ticket.fence, **body}, patience_s=patience_s
            )
        except Refused as refused:
            if refused.status in (404, 409, 410):
                raise FencedOff(refused.status, refused.code, refused.message) from refused
            raise

    def _post(self, path: str, body: dict[str, Any], *, patience_s: float) -> Any:
        """Repeats on silence, 429 and 5xx with growing, jittered pauses until `patience_s` is spent."""
        deadline = time.monotonic() + patience_s
        pause = 0.2
        while True:
            problem = ""
            try:
                response = self.session.post(self.base + path, json=body, timeout=(CONNECT_S, READ_S))
            except requests.RequestException as error:
                # str(error) can carry the URL, which never holds a secret.
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code < 300:
                    return response.json() if response.content else None
                if response.status_code < 500 and response.status_code != 429:
                    raise _refusal(response)
                problem = f"the site answered {response.status_code}"
            if time.monotonic() + pause > deadline:
                raise Unreachable(f"{path}: {problem}")
            time.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, 10)


def _refusal(response: requests.Response) -> Refused:
    try:
        error = response.json()["error"]
        return Refused(response.status_code, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        return Refused(response.status_code, "http", f"The site answered {response.status_code}: {response.text[:200]}")
