"""Submissions, their Runs with Attempts and log, and the quota that they count against."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from longboard_tasks.contract import Progress


class AttemptOut(BaseModel):
    id: UUID
    number: int
    node: str
    leased_at: datetime
    started_at: datetime | None
    closed_at: datetime | None
    closed_as: str
    failure_class: str
    failure_message: str
    bundle_digest: str | None


class RunOut(BaseModel):
    id: UUID
    submission: UUID
    system: str
    suite: str
    tasks: list[str]
    context_length: int
    pool: str
    samples: int
    seed: int
    state: str
    failure_class: str
    failure_message: str
    progress: Progress
    queue_place: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    url: str


class RunDetail(RunOut):
    measured_at: datetime | None = Field(
        description="when the machine began, by its signed manifest; null while nothing was accepted"
    )
    attempts: list[AttemptOut]
    log_tail: str


class SubmissionOut(BaseModel):
    id: UUID
    system: str
    model: str
    state: str
    note: str
    created_at: datetime
    runs: list[RunOut]
    url: str


class CancelIn(BaseModel):
    runs: Annotated[list[UUID], Field(min_length=1, max_length=500)]


class QuotaOut(BaseModel):
    """GPU-seconds of the last 30 days; null: without limit."""

    allowed: float | None
    used: float
    held: float
    refunded: float
    left: float | None


class LogOut(BaseModel):
    """The log as far as it has come. `skipped_bytes` fell out between head and tail."""

    attempt: int
    head: str
    tail: str
    skipped_bytes: int
    is_final: bool
