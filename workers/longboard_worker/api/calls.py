"""One call of the site: its time limit, what is worth repeating and how long to wait before, and a refusal as an exception."""

from __future__ import annotations

import random
import time
from typing import Any

import requests

CONNECT_S, READ_S = 5, 60
TRIES = 4
LONGEST_WAIT_S = 60.0


class ApiError(Exception):
    """The site said no. `code` is stable, the message says what to do, `field` which part of the request is at fault."""

    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field


def call(
    session: requests.Session,
    base: str,
    method: str,
    path: str,
    *,
    query: dict[str, Any] | None = None,
    body: Any = None,
    content: bytes = b"",
) -> Any:
    """One call, repeated while that is safe and worth it. Raises ApiError."""
    given = {name: value for name, value in (query or {}).items() if value != ""}
    last: Exception | None = None
    for attempt in range(TRIES):
        try:
            answer = session.request(
                method,
                base + path,
                params=given,
                json=body,
                data=content or None,
                timeout=(CONNECT_S, READ_S),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            last, pause = (
                ApiError(0, "unreachable", f"No answer from {base}: {type(error).__name__}."),
                2.0**attempt,
            )
        else:
            if answer.ok:
                return answer.json()
            last, pause = _refusal(answer), _pause(answer, attempt)
            if answer.status_code != 429 and answer.status_code < 500:
                raise last
        if attempt < TRIES - 1:
            time.sleep(pause * random.uniform(0.8, 1.2))
    raise last or ApiError(0, "unreachable", f"No answer from {base}.")


def _pause(answer: requests.Response, attempt: int) -> float:
    """What the site asks for, within reason; else one, two, four seconds."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else 2.0**attempt


def _refusal(answer: requests.Response) -> ApiError:
    try:
        told = answer.json()["error"]
        return ApiError(answer.status_code, told["code"], told["message"], told.get("field", ""))
    except (ValueError, KeyError, TypeError):
        return ApiError(answer.status_code, "unknown", f"The site answered {answer.status_code} without a reason.")
