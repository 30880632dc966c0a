"""What one launch is asked to measure. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from longboard_tasks.contract import Slug, Spec, SystemSpec
from longboard_tasks.suites.efficiency.energy import WINDOW_S
from longboard_tasks.suites.efficiency.report import Logits, Reading

Part = Literal["cells", "slope", "energy", "limits", "full_logits", "breakdown", "batch"]
PARTS: tuple[Part, ...] = ("slope", "cells", "batch", "energy", "full_logits", "breakdown", "limits")


class Request(Spec):
    """What one launch measures. Lengths rise. `budget_s`: seconds after loading; a campaign takes it as a weight."""

    name: Slug
    system: SystemSpec
    launch: int = 1
    lengths: tuple[int, ...]
    decode_lengths: tuple[int, ...] = ()  # () : as `lengths`
    breakdown_lengths: tuple[int, ...] = ()
    full_lengths: tuple[int, ...] = ()  # for rows with the logits of the whole prompt
    limits: tuple[tuple[Reading, Logits, int | None], ...] = ()  # the last: bytes that the allocator is held to
    parts: tuple[Part, ...] = PARTS
    prefix_mode: Literal["auto", "shared", "step"] = "auto"
    chunk: int = 2_048
    repeats: int = 5
    steps: int = 32
    cell_s: float = 6.0  # one timed stretch
    longest_pass_s: float = 15.0  # a single prefill that is predicted to take longer is not begun
    longest_profiled_s: float = 2.0  # a prefill that is predicted to take longer is not profiled
    limit_s: float = 20.0  # one limit
    energy_length: int = 16_384
    energy_window_s: float = WINDOW_S + 0.3
    batch: int = 8
    batch_length: int = 16_384
    longest: int = 1_048_576  # for limits
    ceilings: bool = False
    budget_s: float = Field(default=60.0, gt=0)
