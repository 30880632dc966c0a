"""What the site answers, as frozen classes: lines of lists, submissions with their runs, numbers, boards, reports."""

from __future__ import annotations

import uuid
from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What the site answers may grow by fields: those that this version does not know are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ModelLine(Answer):
    slug: str
    title: str
    source: str
    ref: str
    revision: str
    family: str
    parameters: int | None
    max_positions: int | None


class SuiteLine(Answer):
    name: str
    version: int
    title: str
    kind: str
    is_current: bool


class PoolLine(Answer):
    slug: str
    title: str
    hardware: str
    accepts_public_runs: bool


class Run(Answer):
    id: uuid.UUID
    system: str
    suite: str
    context_length: int
    pool: str
    state: str
    failure_class: str
    failure_message: str
    queue_place: int | None
    url: str

    @property
    def is_final(self) -> bool:
        return self.state in ("accepted", "failed", "cancelled", "rejected")


class Submission(Answer):
    id: uuid.UUID
    system: str
    model: str
    state: str
    created_at: datetime
    runs: tuple[Run, ...]
    url: str

    @property
    def is_final(self) -> bool:
        return all(run.is_final for run in self.runs)


class Number(Answer):
    """One published number with its 95 % interval, in `unit`."""

    id: int
    run: uuid.UUID
    system: str
    hardware: str
    suite: str
    task: str
    metric: str
    context_length: int
    depth: float | None
    value: float
    ci_low: float
    ci_high: float
    n: int
    unit: str
    trust: str
    measured_at: datetime | None  # by the clock of the machine that did it


class BoardRow(Answer):
    system: str
    label: str
    gain: float
    gain_low: float
    gain_high: float
    gain_n: int
    cost: float
    cost_low: float
    cost_high: float
    on_front: bool
    front_probability: float
    trust: str


class Board(Answer):
    suite: str
    task: str
    metric: str
    cost_metric: str
    context_length: int
    hardware: str
    rows: tuple[BoardRow, ...]


class ReportedNumber(Answer):
    suite: str
    task: str
    metric: str
    context_length: int
    value: float
    ci_low: float
    ci_high: float
    n: int
    unit: str


class Report(Answer):
    """Self-reported results of one System; `withdrawn_at` None: they stand."""

    id: int
    author: str
    system: str
    trust: str
    hardware: str
    hardware_slug: str
    source: str
    created_at: datetime
    withdrawn_at: datetime | None
    numbers: tuple[ReportedNumber, ...]
    url: str
