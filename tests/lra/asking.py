"""A request for an architecture, and the six tasks that it asks for when it names none."""

from __future__ import annotations

from longboard.submissions.requests import SubmissionRequest

SIX = ["image", "listops", "pathfinder", "pathx", "retrieval", "text"]


def ask(**fields) -> SubmissionRequest:
    return SubmissionRequest(**({"model": "lra-softmax", "suites": ("lra",), "pools": ("local-cpu",)} | fields))
