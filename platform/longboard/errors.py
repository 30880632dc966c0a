"""Errors that a person reads: a stable code, an HTTP status, and a sentence that says what was wrong and what to do."""

from __future__ import annotations


class LongboardError(Exception):
    """Base of every refusal. `api` turns it into JSON; pages show the sentence."""

    code = "error"
    status = 400

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class BadRequest(LongboardError):
    code = "bad_request"
    status = 400


class NotFound(LongboardError):
    code = "not_found"
    status = 404


class NotAllowed(LongboardError):
    code = "not_allowed"
    status = 403


class Unauthorised(LongboardError):
    code = "unauthorised"
    status = 401


class Conflict(LongboardError):
    code = "conflict"
    status = 409


class IllegalTransition(Conflict):
    """The row is not in the state that the change starts from: somebody else was first, or it has ended."""

    code = "illegal_transition"


class Draining(Conflict):
    """The node is asked to finish and to take nothing more."""

    code = "node_draining"


class QuotaExceeded(NotAllowed):
    code = "quota_exceeded"


class Gone(LongboardError):
    """The caller's lease is over: it must stop its work at once."""

    code = "fenced_off"
    status = 410
