"""Which changes of a Run's state there are, and the one statement that makes them.

A database trigger on PostgreSQL refuses the illegal ones too (migration 0004), whoever writes.
"""

from __future__ import annotations

from typing import Any

from longboard.errors import IllegalTransition
from longboard.submissions.models import Run

State = Run.State

# A Run that is asked for again after it was accepted goes back to `accepted` when the repeat brings nothing.
_UNDONE = frozenset({State.QUEUED, State.FAILED, State.CANCELLED, State.ACCEPTED})
LEGAL: dict[str, frozenset[str]] = {
    State.QUEUED: frozenset({State.LEASED, State.CANCELLED, State.ACCEPTED}),
    State.LEASED: _UNDONE | {State.RUNNING},
    State.RUNNING: _UNDONE | {State.UPLOADED},
    State.UPLOADED: frozenset({State.ACCEPTED, State.REJECTED}),
    **{state: frozenset({State.QUEUED}) for state in Run.FINAL},  # only with a new round
}


def move(run: Run, to: str, **fields: Any) -> None:
    """state -> `to`, by one conditional UPDATE that names the state, the fence and the round that `run` was read with.

    `fields` are written with it. Raises IllegalTransition (409) when the change is not in LEGAL, when it leaves an ended
    state without opening a new round, and when the row has moved on since `run` was read; then nothing is written.
    """
    opens_round = fields.get("round") == run.round + 1
    if to not in LEGAL[run.state] or (run.state in Run.FINAL) != opens_round:
        raise IllegalTransition(f"Run {run.pk} is {run.state}: it cannot become {to}.")
    written = Run.objects.filter(pk=run.pk, state=run.state, fence=run.fence, round=run.round).update(
        state=to, **fields
    )
    if not written:
        now = Run.objects.values_list("state", flat=True).get(pk=run.pk)
        raise IllegalTransition(f"Run {run.pk} was {run.state} a moment ago and is {now} now: look again.")
    run.state = to
    for name, value in fields.items():
        setattr(run, name, value)


def resting_state(run: Run, otherwise: str) -> str:
    """Where a Run ends that brought no new result: `accepted` if an earlier round gave it one, else `otherwise`."""
    return State.ACCEPTED if run.measurements.exists() else otherwise
