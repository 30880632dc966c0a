"""What a Run will take, from the cost model: GPU-seconds to hold of a quota, and memory that its node must have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from django.conf import settings

from longboard.fleet.models import Hardware
from longboard.registry.models import Model, Suite
from longboard.submissions.quota import LEAST_HOLD_S
from longboard_tasks.architectures import Architecture
from longboard_tasks.costmodel import HardwareSheet, estimate, guess_architecture, price, sheet_for
from longboard_tasks.families import architecture_of
from longboard_tasks.shapes import load_shapes
from longboard_tasks.suites.lra.architectures import check_architecture
from longboard_tasks.suites.lra.cost import least_memory_bytes, price_training


@dataclass(frozen=True, slots=True)
class Priced:
    held_gpu_s: float
    memory_bytes: int  # 0: not known, so no node is ruled out


def architecture_for(model: Model) -> Architecture | None:
    """The layout of a model whose configuration ships with us; None for any other."""
    shape = load_shapes().get(model.ref) if model.source == Model.Source.CONFIG else None
    return architecture_of(shape) if shape else None


def sheet_of(hardware: Hardware) -> HardwareSheet:
    return sheet_for(
        name=hardware.slug,
        kind=hardware.kind,
        memory_bytes=hardware.memory_bytes,
        flops=hardware.peak_flops,
        bandwidth=hardware.bandwidth_bytes_per_s,
    )


def price_run(
    *, model: Model, suite: Suite, tasks: Sequence[str], samples: int, context_length: int, hardware: Hardware,
    dtype: str, has_method: bool,
) -> Priced:  # fmt: skip
    """The middle estimate, but at least LEAST_HOLD_S and at most a run's time limit.

    Memory is the weights and the whole cache, which is the least: a method may keep less, so then the weights alone.
    """
    if model.source == Model.Source.ARCHITECTURE:
        variant = check_architecture(model.ref, model.configuration)
        asked = price_training(
            variant, tasks[0], sheet_of(hardware), context_length=context_length, trainings=samples, dtype=dtype
        )
        held = min(max(asked.seconds, LEAST_HOLD_S), float(settings.TRAINING_WALL_S))
        return Priced(held, least_memory_bytes(variant, tasks[0], context_length))
    known = architecture_for(model)
    layout = known or (guess_architecture(model.parameters) if model.parameters else None)
    if layout is None:
        return Priced(LEAST_HOLD_S, 0)
    sheet = sheet_of(hardware)
    asked = price(
        layout, sheet, context_length=context_length, samples=samples * len(tasks), kind=suite.kind, dtype=dtype
    )
    held = min(max(asked.seconds, LEAST_HOLD_S), float(settings.RUN_WALL_S))
    if known is None:
        return Priced(held, 0)
    found = estimate(known, sheet, context_length=context_length, dtype=cast(Literal["float32"], dtype), chunk=512)
    return Priced(held, found.weight_bytes + (0 if has_method else found.cache_bytes))
