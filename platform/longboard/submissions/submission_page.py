"""One submission with its Runs, and the submissions of a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import reverse

from longboard.accounts.models import User
from longboard.quantities import ago_text
from longboard.submissions.models import Run, Submission
from longboard.submissions.run_lists import RunLine, run_lines

LISTED_RUNS = 200


@dataclass(frozen=True, slots=True)
class SubmissionLine:
    url: str
    system: str
    state: str
    when: str
    note: str


@dataclass(frozen=True, slots=True)
class SubmissionPage:
    id: UUID
    url: str
    system: str
    model_url: str
    author: str
    note: str
    created: str
    state: str
    is_final: bool
    runs: tuple[RunLine, ...]
    counts: tuple[tuple[str, int], ...]
    may_steer: bool
    can_cancel: bool


def submission_page(submission_id: UUID, viewer: Any, now: datetime) -> SubmissionPage | None:
    row = (
        Submission.objects.select_related("author", "system__model", "system__method").filter(pk=submission_id).first()
    )
    if row is None:
        return None
    lines = run_lines(row.runs.order_by("created_at", "context_length", "pk")[:LISTED_RUNS], now)
    counts = Counter(line.state for line in lines)
    may_steer = viewer.is_authenticated and (viewer.is_staff or viewer.pk == row.author_id)
    return SubmissionPage(
        id=row.pk,
        url=reverse("submission", args=[row.pk]),
        system=row.system.label,
        model_url=reverse("model", args=[row.system.model.slug]),
        author=row.author.username,
        note=row.note,
        created=f"{row.created_at:%Y-%m-%d %H:%M} UTC",
        state=state_of(counts),
        is_final=all(line.is_final for line in lines),
        runs=tuple(lines),
        counts=tuple((state, counts[state]) for state in Run.State.values if counts[state]),
        may_steer=may_steer,
        can_cancel=may_steer and any(not line.is_final for line in lines),
    )


def state_of(counts: Mapping[str, int]) -> str:
    """A submission in a word: the state of its Runs together."""
    total, accepted = sum(counts.values()), counts.get(Run.State.ACCEPTED, 0)
    open_runs = sum(count for state, count in counts.items() if state not in Run.FINAL)
    if open_runs == total == counts.get(Run.State.QUEUED, 0):
        return "queued"
    if open_runs:
        return f"running, {total - open_runs} of {total} finished"
    if accepted == total:
        return "finished"
    return f"finished, {accepted} of {total} with a result"


def submissions_of(user: User, now: datetime, *, most: int = 50) -> list[SubmissionLine]:
    rows = user.submissions.select_related("system__model", "system__method").prefetch_related("runs")[:most]
    return [
        SubmissionLine(
            url=reverse("submission", args=[row.pk]),
            system=row.system.label,
            state=state_of(Counter(run.state for run in row.runs.all())),
            when=ago_text(row.created_at, now),
            note=row.note,
        )
        for row in rows
    ]
