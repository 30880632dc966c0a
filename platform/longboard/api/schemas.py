"""What the API answers with. Requests and bundles are the contract's own classes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from longboard_tasks.contract import FailureClass, HardwareReport, Progress, SelfTestReport, Sha256, ShortText


class FromRow(BaseModel):
    """Read straight off a table's row."""

    model_config = ConfigDict(from_attributes=True)


class ErrorBody(BaseModel):
    code: str
    message: str
    field: str = ""


class Error(BaseModel):
    error: ErrorBody


class ModelOut(FromRow):
    slug: str
    title: str
    source: str
    ref: str
    revision: str
    configuration: dict[str, bool | int]
    family: str
    architecture: str
    parameters: int | None
    trained_length: int | None
    max_positions: int | None
    licence: str


class HubModelIn(BaseModel):
    repository: Annotated[str, StringConstraints(max_length=200)]
    revision: Annotated[str, StringConstraints(max_length=40)]
    title: Annotated[str, StringConstraints(max_length=160)] = ""


class SuiteOut(FromRow):
    name: str
    version: int
    title: str
    kind: str
    summary: str
    definition: dict
    is_current: bool


class NodeOut(BaseModel):
    id: UUID
    name: str
    state: str
    is_alive: bool
    last_seen_at: datetime | None


class PoolOut(BaseModel):
    slug: str
    title: str
    hardware: str
    is_first_party: bool
    accepts_public_runs: bool
    nodes: list[NodeOut]


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


class BoardRow(BaseModel):
    system: str
    label: str
    model: str
    gain: float
    gain_low: float
    gain_high: float
    gain_n: int
    cost: float
    cost_low: float
    cost_high: float
    cost_n: int
    rank_best: int
    rank_worst: int
    on_front: bool
    front_probability: float
    trust: str
    cost_trust: str


class BoardOut(BaseModel):
    suite: str
    task: str
    metric: str
    cost_metric: str
    context_length: int
    hardware: str
    rows: list[BoardRow]


PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


class EnrolIn(BaseModel):
    code: Annotated[str, StringConstraints(max_length=100)]
    name: Annotated[str, StringConstraints(max_length=80)]
    public_key: PublicKey
    report: HardwareReport
    software: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=60)
    self_test: SelfTestReport | None = None


class EnrolOut(BaseModel):
    node: UUID
    name: str
    state: str
    state_note: str
    token: str
    token_s: float = Field(description="seconds that the token lives; then ask for another with the node's key")
    server_key: str = Field(description="Ed25519, hex: tickets and receipts are signed with it")
    pool: str
    queue: str
    is_first_party: bool


class ChallengeIn(BaseModel):
    node: UUID


class ChallengeOut(BaseModel):
    challenge: str


class TokenIn(BaseModel):
    node: UUID
    challenge: Annotated[str, StringConstraints(max_length=300)]
    signature: Signature


class TokenOut(BaseModel):
    token: str
    token_s: float
    server_key: str


class RotateIn(BaseModel):
    public_key: PublicKey
    signature: Signature = Field(description="by the present key, over longboard-node-rotate:NODE:NEW_KEY")


class ClaimIn(BaseModel):
    free_memory_bytes: Annotated[int, Field(ge=0)] | None = None


class ExportIn(BaseModel):
    run: UUID | None = None


class FencedIn(BaseModel):
    fence: Annotated[int, Field(ge=1)]


class BeatIn(FencedIn):
    progress: Progress | None = None
    log: Annotated[str, StringConstraints(max_length=300_000)] = ""
    log_dropped: Annotated[int, Field(ge=0, lt=2**53)] = 0


class BeatOut(BaseModel):
    lease_until: datetime
    cancel: bool
    drain: bool


class FailIn(FencedIn):
    failure_class: FailureClass
    message: Annotated[str, StringConstraints(max_length=2_000)]
    log: Annotated[str, StringConstraints(max_length=300_000)] = ""
    log_dropped: Annotated[int, Field(ge=0, lt=2**53)] = 0


class UploadOut(BaseModel):
    next_offset: int = Field(description="bytes that are here without a gap")
    is_complete: bool = Field(description="the bundle is whole and stored")


class CompleteIn(FencedIn):
    sha256: Sha256 = Field(description="of the payload's UTF-8 bytes")
    public_key: PublicKey
    signature: Signature


class BundleOut(BaseModel):
    digest: str
    state: str
    reason: str
    run_state: str
    receipt: int = Field(description="number of the site's receipt in its public log")
    receipt_body: str
    receipt_signature: str
    server_key: str


class NodeStateIn(BaseModel):
    state: Annotated[str, StringConstraints(max_length=10)]


class NodeDetail(NodeOut):
    state_note: str
    pool: str
    owner: str
    public_key: str
    past_keys: list[str]
    report: dict
    software: dict
    self_test: dict
    enrolled_at: datetime
    runs: list[UUID] = Field(description="what it works on now")


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


class CheckpointFileOut(BaseModel):
    name: str
    size: int
    next_offset: int = Field(description="bytes that are here: where to go on")
    sha256: str = Field(description="as announced, then as found; empty until either")


class CheckpointOut(BaseModel):
    id: UUID
    title: str
    state: str
    piece_bytes: int = Field(description="the largest piece that is taken")
    model: str | None = Field(description="the Model's slug once it is complete")
    files: list[CheckpointFileOut]


class NodeCheckpointOut(BaseModel):
    id: str
    files: list[CheckpointFileOut]
