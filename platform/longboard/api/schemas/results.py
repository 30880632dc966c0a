"""What came of a Run: numbers, samples, and the public log's receipts."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from longboard.api.schemas.base import FromRow


class MeasurementOut(BaseModel):
    id: int
    run: UUID
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
    measured_at: datetime | None = Field(
        description="when the machine began, by its signed manifest; null where it does not say"
    )


class MeasurementPage(BaseModel):
    items: list[MeasurementOut]
    next: str | None = Field(description="cursor of the next page; null on the last")


class SampleOut(FromRow):
    task: str
    index: int
    depth: float | None
    prompt_tokens: int
    prompt_sha256: str
    prompt_tail: str
    target: str
    answer: str
    score: float
    truncated: bool


class SamplePage(BaseModel):
    items: list[SampleOut]
    next: str | None


class ReceiptOut(FromRow):
    number: int
    kind: str
    body: str
    digest: str
    public_key: str
    signature: str
    bundle_sha256: str | None


class ReceiptPage(BaseModel):
    items: list[ReceiptOut]
    next: str | None
