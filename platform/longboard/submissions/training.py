"""Requests to suites that train from scratch: an architecture with its configuration, on tasks that have a length each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longboard.errors import BadRequest
from longboard.registry.models import Model, Suite
from longboard.registry.suites import suite_info
from longboard.submissions.requests import SubmissionRequest
from longboard_tasks.catalogue.suites import TaskInfo
from longboard_tasks.suites.lra.architectures import (
    MAX_TRAININGS,
    ArchitectureError,
    Variant,
    check_architecture,
    check_pairing,
)


@dataclass(frozen=True, slots=True)
class Unit:
    """What becomes one Run on each pool."""

    suite: Suite
    tasks: tuple[str, ...]
    length: int


def check(
    request: SubmissionRequest, *, model: Model, suites: Sequence[Suite], tasks: Mapping[str, Sequence[TaskInfo]],
    lengths: Sequence[int],
) -> tuple[Variant, list[Unit]]:  # fmt: skip
    """The architecture, and a Unit for each task at each of its lengths. Raises BadRequest with the field at fault."""
    for suite in suites:
        if not suite_info(suite).trains:
            raise BadRequest(
                f'"{model.slug}" is an architecture without weights: it is trained by lra, and cannot run {suite}.',
                field="suites",
            )
    if model.source != Model.Source.ARCHITECTURE:
        raise BadRequest(
            f'{suites[0]} trains architectures from scratch, and "{model.slug}" has weights. Choose a model whose name '
            "starts with lra-.",
            field="model",
        )
    for field, usual in (("method", "none"), ("kernels", "stock")):
        if (given := getattr(request, field)) != usual:
            raise BadRequest(f'{suites[0]} has no {field}: leave it at "{usual}", not "{given}".', field=field)
    if request.dtype == "float16":
        raise BadRequest(f"{suites[0]} trains in float32 or bfloat16; float16 would overflow.", field="dtype")
    if request.samples is not None and request.samples > MAX_TRAININGS:
        raise BadRequest(
            f"Samples are trainings here, each from its own seed: at most {MAX_TRAININGS}, not {request.samples}.",
            field="samples",
        )
    try:
        # The request's own words go over those that the Model of a variant stands for.
        variant = check_architecture(model.ref, model.configuration | request.configuration)
        units = _units(suites, tasks, lengths)
        for unit in units:
            check_pairing(variant, unit.tasks[0], unit.length)
    except ArchitectureError as error:
        raise BadRequest(str(error), field=error.field) from error
    return variant, units


def _units(suites: Sequence[Suite], tasks: Mapping[str, Sequence[TaskInfo]], lengths: Sequence[int]) -> list[Unit]:
    units = []
    for suite in suites:
        known = sorted({length for task in tasks[suite.name] for length in task.lengths})
        if other := [length for length in lengths if length not in known]:
            raise ArchitectureError(
                f"The chosen tasks of {suite} have {', '.join(map(str, known))} tokens; nothing is asked at {other[0]}. "
                "Leave the context lengths out for all of them.",
                "context_lengths",
            )
        units += [
            Unit(suite, (task.name,), length)
            for task in tasks[suite.name]
            for length in task.lengths
            if not lengths or length in lengths
        ]
    return sorted(units, key=lambda unit: unit.length)
