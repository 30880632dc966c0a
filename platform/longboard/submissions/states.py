"""The state of a Submission: computed from its Runs, never stored."""

from __future__ import annotations

from collections.abc import Sequence

from longboard.submissions.models import Run


def submission_state(run_states: Sequence[str]) -> str:
    """running while some node works, queued while all wait, then the worst ending: failed, cancelled, accepted."""
    states = set(run_states)
    if states & set(Run.HELD):
        return "running"
    if Run.State.QUEUED in states:
        return "running" if states & set(Run.FINAL) else "queued"
    if states & {Run.State.FAILED, Run.State.REJECTED}:
        return "failed"
    return "cancelled" if Run.State.CANCELLED in states else "accepted"
