"""What a node and the site say to each other: enrol, prove, claim, beat, fail, hand in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from longboard_tasks.contract import FailureClass, HardwareReport, Progress, SelfTestReport, Sha256, ShortText

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
