"""What `longboard-worker measure` writes: cells, limits, slopes and breakdowns of some Systems on one machine. No torch here.

A cell is (System, context length, batch, phase, reading, logits). Everything is frozen and validated; a failure is a row
with its kind, never a hole. Times are in ms, sizes in bytes, energies in J.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints

from longboard_tasks.contract import HardwareReport, ShortText, Slug, Spec, SystemSpec

Phase = Literal["prefill", "decode"]
Reading = Literal[
    "chunked", "one_shot"
]  # the prompt in passes of `chunk` tokens with the cache carried over, or in one pass
Logits = Literal["last", "full"]  # of the last token, or of every token of the prompt, all held until the end
FailureKind = Literal["out_of_memory", "no_time", "unsupported", "position_limit", "non_finite", "error"]
Text = Annotated[str, StringConstraints(max_length=600)]

T = TypeVar("T")
MAX_VALUES = 512  # single values kept with a statistic
LEAST = 512  # tokens: a search for the longest context tries nothing shorter


class Stat(Spec):
    """A median with its 95 % interval. `values` are the single ones, at most MAX_VALUES of them."""

    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]
    values: Annotated[tuple[float, ...], Field(max_length=MAX_VALUES)] = ()


class Failure(Spec):
    """Why there is no number. `needed_bytes`: what the allocator was asked for, where it says so."""

    kind: FailureKind
    says: Text
    needed_bytes: int | None = None


class Memory(Spec):
    """At the peak of the allocator. `activations` = peak - weights - cache - logits; on a CPU, of the process."""

    weights: int
    cache: int  # keys and values held, and states
    logits: int
    activations: int
    peak: int  # allocated
    reserved: int  # by the allocator from the device
    process: int  # of the whole process on the device, from NVML; on a CPU its resident set


class Energy(Spec):
    """Of a window of equal work. `joules` from the counter; `integrated` from sampled power. Not valid: see `reasons`."""

    joules: float | None
    integrated: float | None
    idle_w: float | None
    window_s: float
    tokens: Annotated[int, Field(ge=0)]
    is_valid: bool
    reasons: tuple[ShortText, ...] = ()

    @property
    def per_token(self) -> float | None:
        return self.joules / self.tokens if self.is_valid and self.joules is not None and self.tokens else None


class Cell(Spec):
    system: Slug
    phase: Phase
    context_length: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] = 1
    reading: Reading = "chunked"
    logits: Logits = "last"
    filled: bool = False  # the cache was filled by copies of what a first pass left, not by reading the whole prompt
    cap_bytes: int | None = None  # the allocator was held to this
    launch: int = 1
    times: dict[Slug, Stat] = Field(default_factory=dict)
    memory: Memory | None = None
    energy: Energy | None = None
    noise: tuple[ShortText, ...] = ()
    failure: Failure | None = None

    @property
    def key(self) -> tuple[str, str, int, int, str, str, int | None]:
        return (
            self.system, self.phase, self.context_length, self.batch, self.reading, self.logits, self.cap_bytes,
        )  # fmt: skip


class Limit(Spec):
    """The longest context that was measured to work, and what the next longer one ended in."""

    system: Slug
    reading: Reading
    logits: Logits
    cap_bytes: int | None  # None: all of the device
    tokens: Annotated[int, Field(ge=0)]  # 0: none of those that were tried
    predicted: Annotated[int, Field(ge=0)]
    ended: FailureKind
    ended_at: int | None  # the shortest length that failed
    needed_bytes: int | None = None
    fragmentation_bytes: int | None = None  # reserved and not allocated when it failed
    confirmed: Annotated[int, Field(ge=0)] = 0  # times that `tokens` worked again
    published_positions: int | None = None
    says: Text = ""

    @property
    def is_open(self) -> bool:
        """Whether the time was over before any length worked: shorter ones were not tried, so that 0 is no limit."""
        return not self.tokens and (self.ended == "no_time" or (self.ended_at or 0) >= 2 * LEAST)

    @property
    def is_edge(self) -> bool:
        """Whether the search came to an end of its own: no longer one will be found with more time."""
        return self.ended != "no_time" and not self.is_open


class Slope(Spec):
    """Bytes held for a row against the length: least squares over at least four lengths, beside the formula."""

    system: Slug
    lengths: tuple[int, ...]
    held: tuple[int, ...]
    per_token: float
    constant: float
    formula_per_token: float
    formula_held: tuple[int, ...]

    @property
    def off(self) -> float:
        """The largest relative difference between bytes held and the formula."""
        return max(abs(h - f) / f if f else float(h > 0) for h, f in zip(self.held, self.formula_held, strict=True))


class Breakdown(Spec):
    """Where the time of one pass goes, in ms by group of kernels, and by module of the model."""

    system: Slug
    phase: Phase
    context_length: int
    reading: Reading
    batch: int = 1
    wall_ms: float
    busy_ms: float
    launches: int
    groups: dict[Slug, float]  # of kernels; `idle` is wall - busy
    modules: dict[Slug, float] = Field(default_factory=dict)  # device time between entering and leaving, with gaps

    def module_share(self, name: str) -> float:
        """Of the time between the first module and the last; hooks make that pass a little longer than `wall_ms`."""
        whole = max(self.wall_ms, sum(self.modules.values()))
        return self.modules.get(name, 0.0) / whole if whole else 0.0


class Ceilings(Spec):
    """What this machine reached in this run: the denominators of every ratio."""

    copy_bytes_per_s: float  # read and written
    matmul_flops: float
    launch_s: float  # host time of one small kernel in a tight loop
    link_bytes_per_s: float | None = None  # pinned host memory to the device
    idle_w: float | None = None


class SystemFacts(Spec):
    spec: SystemSpec
    title: ShortText
    architecture: ShortText
    parameters: int
    weights_bytes: int
    prefix_mode: Literal["shared", "step", "off"]
    prefix_reason: ShortText
    chunk: int
    attention: ShortText = ""  # the implementation that transformers was told to use
    load_s: float
    published_positions: int | None = None
    kernels: dict[ShortText, float | int | str | bool] = {}  # ours, as in a manifest; {}: stock code


class Report(Spec):
    schema_version: Literal[1] = 1
    suite: Literal["efficiency@1"] = "efficiency@1"
    measured_at: datetime
    elapsed_s: float
    command: Text = ""
    hardware: HardwareReport
    software: dict[ShortText, ShortText]
    ceilings: Ceilings | None = None
    systems: dict[Slug, SystemFacts]
    cells: tuple[Cell, ...] = ()
    limits: tuple[Limit, ...] = ()
    slopes: tuple[Slope, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    notes: tuple[Text, ...] = ()

    def cell(
        self, system: str, phase: Phase, context_length: int, *, batch: int = 1, reading: Reading | None = "chunked",
        logits: Logits = "last", cap_bytes: int | None = None,
    ) -> Cell | None:  # fmt: skip
        """The cell of that key, launches pooled by the caller. `reading` None: the faster one that worked."""
        found = [
            c
            for c in self.cells
            if (c.system, c.phase, c.context_length, c.batch, c.logits, c.cap_bytes)
            == (system, phase, context_length, batch, logits, cap_bytes)
            and reading in (None, c.reading)
        ]
        worked = [c for c in found if c.failure is None]
        if not worked:
            return found[0] if found else None
        name = "ttft_ms" if phase == "prefill" else "tpot_ms"
        return min(worked, key=lambda c: (c.times[name].value if reading is None else 0, c.launch))


def read_report(path: Path) -> Report:
    return Report.model_validate_json(path.read_bytes())


def join_reports(parts: Sequence[Report]) -> Report:
    """One Report of several made on one kind of machine, in order. Raises ValueError when the devices differ."""
    first = parts[0]
    if len({part.hardware.device for part in parts}) > 1:
        raise ValueError(f"Reports of different devices: {sorted({part.hardware.device for part in parts})}")
    return first.model_copy(
        update={
            "elapsed_s": sum(part.elapsed_s for part in parts),
            "ceilings": next((part.ceilings for part in parts if part.ceilings), None),
            "systems": {key: facts for part in reversed(parts) for key, facts in part.systems.items()},
            "cells": _all(part.cells for part in parts),
            "limits": _all(part.limits for part in parts),
            "slopes": _all(part.slopes for part in parts),
            "breakdowns": _all(part.breakdowns for part in parts),
            "notes": tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        }
    )


def _all(groups: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(item for group in groups for item in group)
