"""The loss curves of a Run that trained, read back from its signed bundle and ready for its page."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

from longboard.boards import figures
from longboard.boards.figures import TrainingSeries
from longboard.boards.marks import Mark, mark_of
from longboard.registry.suites import suite_info
from longboard.results.models import Bundle
from longboard.submissions.models import Run


@dataclass(frozen=True, slots=True)
class CurveLine:
    """One training. `rows`: step, loss, validation accuracy."""

    seed: int
    mark: Mark
    accuracy: str
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Curves:
    lines: tuple[CurveLine, ...]
    wide: dict[str, Any]
    narrow: dict[str, Any]


def curves_of(run: Run) -> Curves | None:
    """None for a Run of a suite that does not train, and for one without a result. One statement for the others."""
    if not suite_info(run.suite).trains:
        return None
    accepted = Bundle.objects.filter(attempt__run=run, state=Bundle.State.ACCEPTED).order_by("-pk")
    payload = accepted.values_list("payload_gz", flat=True).first()
    curves = json.loads(gzip.decompress(bytes(payload))).get("curves", ()) if payload else ()
    if not curves:
        return None
    series = [
        TrainingSeries(curve["seed"], tuple((point["step"], point["loss"]) for point in curve["points"]))
        for curve in curves
    ]
    return Curves(
        lines=tuple(_line(curve) for curve in curves),
        wide=figures.draw_training(series),
        narrow=figures.draw_training(series, size=figures.NARROW),
    )


def _line(curve: dict[str, Any]) -> CurveLine:
    return CurveLine(
        seed=curve["seed"],
        mark=mark_of(curve["seed"]),
        accuracy=f"{curve['accuracy']:.3f}",
        rows=tuple(
            (f"{point['step']:,}", f"{point['loss']:.4f}", f"{point['validation_accuracy']:.3f}")
            for point in curve["points"]
        ),
    )
