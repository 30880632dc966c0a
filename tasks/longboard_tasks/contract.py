"""What crosses a process: the typed boundary between the platform, the nodes and the engine. No torch here.

Everything is frozen, refuses unknown fields and non-finite numbers, and carries a schema version. The REST API's schema
is made from these classes, and a node signs the canonical JSON of one (`canonical_json`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SCHEMA_VERSION: Literal[1] = 1
MAX_CONTEXT_LENGTH = 16 * 2**20
MAX_BUNDLE_BYTES = 32 * 2**20
MAX_SAMPLES = 20_000
MAX_MEASUREMENTS = 2_000

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
ModelId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortText = Annotated[str, StringConstraints(max_length=300)]
Unit = Literal["share", "ms", "bytes", "tokens/s", "J", "tokens", "1"]

FailureClass = Literal["bad_input", "oom", "timeout", "model_error", "node_error", "lost", "cancelled", "disk_full"]
TrustLevel = Literal["self-reported", "measured", "reproduced"]


class Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def _is_empty(value: Any) -> bool:
    return not value


class ModelRef(Spec):
    """Weights plus architecture. `hub` needs a full commit hash: a branch name is not a version.

    `architecture` has no weights: a registered sequence mixer, trained from scratch (lra). `configuration` is its own alone:
    `causal`, and the mixer's options. Left out where it is empty, so that digests from before there was one stay.
    """

    source: Literal["zoo", "hub", "upload", "config", "architecture"]
    id: ModelId
    revision: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40})?$")] = ""
    configuration: dict[Slug, bool | int] = Field(default_factory=dict, max_length=10, exclude_if=_is_empty)

    @model_validator(mode="after")
    def _fits_its_source(self) -> ModelRef:
        if self.configuration and self.source != "architecture":
            raise ValueError(f'Model "{self.id}" comes from {self.source}: only an architecture takes a configuration.')
        if self.source == "hub" and not self.revision:
            raise ValueError(
                f'Model "{self.id}" comes from a hub without a revision. Give the full 40-digit commit hash, '
                "so that the result stays about the same weights."
            )
        return self


class MethodRef(Spec):
    """What is done to the model at inference. `budget`: share of KV bytes kept, in (0, 1]."""

    name: Slug = "none"
    budget: Annotated[float, Field(gt=0, le=1)] = 1.0
    settings: dict[str, float | int | str | bool] = Field(default_factory=dict, max_length=20)


class Runtime(Spec):
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"
    kernels: Literal["stock", "longboard"] = "stock"


class SystemSpec(Spec):
    """Model x Method x runtime: the thing that is ranked."""

    model: ModelRef
    method: MethodRef = MethodRef()
    runtime: Runtime = Runtime()

    @property
    def digest(self) -> str:
        """The identity of a System: equal specs have equal digests."""
        return sha256(canonical_json(self))


class Limits(Spec):
    wall_s: Annotated[int, Field(ge=1, le=7 * 86_400)] = 3_600
    memory_bytes: Annotated[int, Field(ge=0)] = 0  # 0: no limit beyond the machine's
    log_bytes: Annotated[int, Field(ge=1_000, le=50_000_000)] = 2_000_000
    disk_bytes: Annotated[int, Field(ge=0)] = 20_000_000_000  # of the run's own folder; 0: no limit


class RunSpec(Spec):
    """One unit of execution: System x suite tasks x context length x seed."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: ShortText
    system: SystemSpec
    suite: Slug
    suite_version: Annotated[int, Field(ge=1)]
    tasks: Annotated[tuple[Slug, ...], Field(min_length=1, max_length=100)]
    context_length: Annotated[int, Field(ge=1, le=MAX_CONTEXT_LENGTH)]  # tokens of the whole prompt
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]  # per task; repeats for efficiency; trainings for lra
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    limits: Limits = Limits()


class Ticket(Spec):
    """A lease on a Run. `fence` rises with every lease of the Run; a call with an older one is refused."""

    run: RunSpec
    attempt_id: ShortText
    fence: Annotated[int, Field(ge=1)]
    lease_until: datetime
    beat_s: Annotated[float, Field(gt=0)]
    # Which node may use it, and a number of its own: a node takes no ticket twice, nor another node's.
    node: ShortText = ""
    ticket_id: ShortText = ""


class SignedTicket(Spec):
    """`payload` is the canonical JSON of a Ticket; the signature (Ed25519, hex) is the site's, over its UTF-8 bytes."""

    payload: Annotated[str, StringConstraints(max_length=1_000_000)]
    public_key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


class Progress(Spec):
    done: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]
    tokens: Annotated[int, Field(ge=0)] = 0
    eta_s: Annotated[float, Field(ge=0)] | None = None
    note: ShortText = ""


class Measurement(Spec):
    """One number with its 95 % interval. `value`, `ci_low`, `ci_high` in `unit`; shares run from 0 to 1."""

    task: Slug
    metric: Slug
    context_length: Annotated[int, Field(ge=1)]
    value: float
    ci_low: float
    ci_high: float
    n: Annotated[int, Field(ge=1)]
    unit: Unit
    depth: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _interval_holds_value(self) -> Measurement:
        if not self.ci_low <= self.value <= self.ci_high:
            raise ValueError(
                f"{self.metric}: value {self.value} lies outside its interval {self.ci_low} to {self.ci_high}"
            )
        if self.unit == "share" and (self.ci_low < 0 or self.ci_high > 1):
            raise ValueError(
                f"{self.metric}: a share and its interval run from 0 to 1, not {self.ci_low} to {self.ci_high}"
            )
        return self


class SampleRecord(Spec):
    """One prompt with its answer and score. The prompt itself follows from (suite version, task, length, seed, index)."""

    task: Slug
    index: Annotated[int, Field(ge=0)]
    prompt_tokens: Annotated[int, Field(ge=1)]
    prompt_sha256: Sha256
    prompt_tail: Annotated[str, StringConstraints(max_length=600)] = ""
    depth: Annotated[float, Field(ge=0, le=1)] | None = None
    target: Annotated[str, StringConstraints(max_length=4_000)]
    answer: Annotated[str, StringConstraints(max_length=20_000)]
    score: Annotated[float, Field(ge=0, le=1)]
    truncated: bool = False


class HardwareReport(Spec):
    """What a node found on its own machine. `uuid_sha256` hashes the device's serial; the serial itself never leaves."""

    device: ShortText
    kind: Literal["cpu", "cuda"]
    memory_bytes: Annotated[int, Field(ge=0)]
    cores: Annotated[int, Field(ge=1)]
    cpu: ShortText = ""
    driver: ShortText = ""
    operating_system: ShortText = ""
    uuid_sha256: Sha256 | None = None
    # Of the accelerator, where its driver tells.
    clock_mhz: Annotated[int, Field(ge=0)] | None = None  # highest of the compute units
    memory_clock_mhz: Annotated[int, Field(ge=0)] | None = None
    power_limit_w: Annotated[float, Field(ge=0)] | None = None
    vbios: ShortText = ""
    ecc: bool | None = None
    pcie_width: Annotated[int, Field(ge=0)] | None = None
    ram_bytes: Annotated[int, Field(ge=0)] | None = None


class SelfTestReport(Spec):
    """What a node showed at its enrolment: a shipped model, run through the whole engine.

    `cache_key` names (weights, software versions, device): while it stays the same, the test is not run again.
    """

    passed: bool
    reason: ShortText
    model: ShortText
    weights_sha256: Sha256 | None = None
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    prefix_mode: ShortText = ""
    wall_s: Annotated[float, Field(ge=0)] = 0.0
    matmul_flops: Annotated[float, Field(ge=0)] | None = None  # FLOP/s of one large product in the device's best dtype
    copy_bytes_per_s: Annotated[float, Field(ge=0)] | None = None  # read and written bytes of one large copy
    cache_key: Sha256


class Provenance(Spec):
    """What the node adds to the engine's manifest: whose work, from what sources, under which conditions."""

    node: ShortText = ""
    ticket_id: ShortText = ""  # the number of the site's ticket: a bundle answers one ticket
    worker_version: ShortText = ""
    git_commit: ShortText = ""
    suite_sha256: Sha256 | None = None  # the suite's generator and scorer, file by file
    container: ShortText = ""  # image and digest as the operator named it
    network: Literal["cut", "refused", "open"] = "open"  # for the evaluator: a namespace, a hook in Python, nothing
    remote_code: bool = False
    decoding: ShortText = "greedy"
    samples_root: Sha256 | None = None  # Merkle root over the samples in their order
    log_sha256: Sha256 | None = None
    environment: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=60)
    device: dict[ShortText, float | int | str | bool] = Field(default_factory=dict, max_length=60)


class Manifest(Spec):
    """Provenance: enough to repeat the run and to compare two of them field by field."""

    architecture: ShortText
    parameters: Annotated[int, Field(ge=1)]
    weights_sha256: dict[ShortText, Sha256] = Field(default_factory=dict, max_length=500)
    tokenizer_sha256: Sha256 | None = None
    max_positions: Annotated[int, Field(ge=1)] | None = None
    prose_sha256: Sha256 | None = None
    prefix_mode: Literal["shared", "step", "off"] = "off"
    prefix_reason: ShortText = ""
    chunk_size: Annotated[int, Field(ge=1)] | None = None
    settings: dict[ShortText, float | int | str | bool] = Field(default_factory=dict, max_length=100)
    hardware: HardwareReport
    software: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=60)
    started_at: datetime
    wall_s: Annotated[float, Field(ge=0)]
    peak_memory_bytes: Annotated[int, Field(ge=0)] | None = None
    provenance: Provenance | None = None


class CurvePoint(Spec):
    """`loss`: mean over the training steps since the point before."""

    step: Annotated[int, Field(ge=1)]
    loss: float
    validation_accuracy: Annotated[float, Field(ge=0, le=1)]


class TrainingCurve(Spec):
    """How one training went, and what its weights got right of the whole test split in the end."""

    task: Slug
    seed: Annotated[int, Field(ge=0)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    points: Annotated[tuple[CurvePoint, ...], Field(max_length=200)]


class ResultBundle(Spec):
    schema_version: Literal[1] = SCHEMA_VERSION
    run: RunSpec
    attempt_id: ShortText = ""  # empty when the run came from no platform
    fence: Annotated[int, Field(ge=0)] = 0
    measurements: Annotated[tuple[Measurement, ...], Field(max_length=MAX_MEASUREMENTS)]
    samples: Annotated[tuple[SampleRecord, ...], Field(max_length=MAX_SAMPLES * 10)] = ()
    # Of runs that train; left out where there are none, so that a bundle from before them has the same canonical JSON.
    curves: Annotated[tuple[TrainingCurve, ...], Field(max_length=20, exclude_if=_is_empty)] = ()
    manifest: Manifest


class SignedBundle(Spec):
    """`payload` is the canonical JSON of a ResultBundle; the signature (Ed25519, hex) is over its UTF-8 bytes."""

    payload: Annotated[str, StringConstraints(max_length=MAX_BUNDLE_BYTES)]
    public_key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


def canonical_json(value: BaseModel | dict[str, Any]) -> bytes:
    """Sorted keys, no blanks, UTF-8: the same value gives the same bytes on every machine."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def merkle_root(leaves: Iterable[bytes]) -> str:
    """SHA-256 tree hash of RFC 6962: leaves behind 0x00, nodes behind 0x01; the empty tree is the hash of nothing.

    With it, one sample can be shown to belong to a bundle without the others.
    """
    row = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    if not row:
        return sha256(b"")
    while len(row) > 1:
        pairs = [hashlib.sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]
        row = pairs + ([row[-1]] if len(row) % 2 else [])
    return row[0].hex()


def samples_root(samples: Iterable[SampleRecord]) -> str:
    return merkle_root(canonical_json(sample) for sample in samples)
