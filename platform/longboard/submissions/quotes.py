"""What a request would take, before anybody submits it: time, memory, and whether it fits, run by run. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from django.conf import settings

from longboard.accounts.models import User
from longboard.quantities import duration_text, length_label
from longboard.submissions.pricing import architecture_for, sheet_of
from longboard.submissions.requests import SubmissionRequest
from longboard.submissions.services import check_request
from longboard_tasks.costmodel import guess_architecture, price
from longboard_tasks.sizes import bytes_text
from longboard_tasks.suites.lra.cost import price_training


@dataclass(frozen=True, slots=True)
class QuoteLine:
    suite: str
    length: str
    pool: str
    prompts: int
    time: str  # "12 s to 1 min 05 s"; empty where nothing is known
    memory: str
    verdict: str  # fits, may not fit, not known
    says: str


@dataclass(frozen=True, slots=True)
class Quote:
    lines: tuple[QuoteLine, ...]
    total: str  # of all runs, one after the other
    unfit: int


def quote(*, author: User, request: SubmissionRequest) -> Quote:
    """Raises what `submit` would raise for the same request, except for the quota."""
    checked = check_request(author, request)
    model = checked.model
    variant = checked.variant
    layout = architecture_for(model) or (guess_architecture(model.parameters) if model.parameters else None)
    lines, low, high = [], 0.0, 0.0
    for unit in checked.units:
        for pool in checked.pools:
            suite, length, sheet = unit.suite, unit.length, sheet_of(pool.hardware)
            samples = request.samples or suite.definition["default_samples"]
            line = partial(
                QuoteLine,
                suite=suite.label if variant is None else f"{suite.label}/{unit.tasks[0]}",
                length=length_label(length),
                pool=pool.title,
                prompts=samples * len(unit.tasks),
            )
            if variant is not None:
                asked = price_training(
                    variant, unit.tasks[0], sheet, context_length=length, trainings=samples, dtype=request.dtype
                )
            elif layout is not None:
                asked = price(
                    layout, sheet, context_length=length, samples=samples * len(unit.tasks), kind=suite.kind,
                    dtype=request.dtype,
                )  # fmt: skip
            else:
                says = "Nothing is known of this model's size before a node has loaded it."
                lines.append(line(time="", memory="", verdict="not known", says=says))
                continue
            if variant is not None and asked.seconds_low > settings.TRAINING_WALL_S:
                limit = duration_text(settings.TRAINING_WALL_S)
                asked = replace(asked, fits=False, says=f"{asked.says}; longer than this site lets a run take, {limit}")
            low, high = low + asked.seconds_low, high + asked.seconds_high
            lines.append(
                line(
                    time=f"{duration_text(asked.seconds_low)} to {duration_text(asked.seconds_high)}",
                    memory=bytes_text(asked.memory_bytes),
                    verdict="fits" if asked.fits else "may not fit",
                    says=asked.says,
                )
            )
    total = f"{duration_text(low)} to {duration_text(high)}" if high else ""
    return Quote(tuple(lines), total, sum(line.verdict == "may not fit" for line in lines))
