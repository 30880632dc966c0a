"""Self-reported results, and their withdrawal."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints


class ReportedNumberOut(BaseModel):
    suite: str
    task: str
    metric: str
    context_length: int
    value: float
    ci_low: float
    ci_high: float
    n: int
    unit: str


class ReportOut(BaseModel):
    """What a System's own people state of it. `hardware_slug` is empty where the text names no hardware of this site."""

    id: int
    author: str
    system: str
    trust: str
    hardware: str
    hardware_slug: str
    source: str
    note: str
    created_at: datetime
    withdrawn_at: datetime | None
    withdrawn_because: str
    numbers: list[ReportedNumberOut]
    url: str


class ReportPageOut(BaseModel):
    items: list[ReportOut]
    next: str | None = Field(description="cursor of the next page; null on the last")


class WithdrawIn(BaseModel):
    because: Annotated[str, StringConstraints(max_length=300)] = ""
