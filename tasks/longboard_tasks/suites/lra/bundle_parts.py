"""What trainings and timed passes become in a result bundle: measurements, samples, curves, its manifest's own fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from longboard_tasks.contract import CurvePoint, Measurement, RunSpec, SampleRecord, TrainingCurve
from longboard_tasks.engine.errors import OutOfMemory
from longboard_tasks.intervals import median_interval
from longboard_tasks.suites.lra.architectures import Variant
from longboard_tasks.suites.lra.checkpoint import NAME
from longboard_tasks.suites.lra.efficiency import Cell
from longboard_tasks.suites.lra.examples import Examples
from longboard_tasks.suites.lra.listops import VOCABULARY
from longboard_tasks.suites.lra.plan import KEPT
from longboard_tasks.suites.lra.summary import accuracy_interval
from longboard_tasks.suites.lra.tasks import RECIPES, find_task
from longboard_tasks.suites.lra.train import PREDICTIONS, Outcome

TAIL = 200  # characters of a sample's prompt that are shown


def parts_of_training(
    spec: RunSpec, variant: Variant, outcomes: Sequence[Outcome], folders: Sequence[Path], test: Examples
) -> dict[str, Any]:
    """The fields of a bundle, its manifest's own among them, from finished trainings: one a seed, rising from spec.seed."""
    name, first = spec.tasks[0], outcomes[0]
    value, low, high = accuracy_interval([outcome.accuracy for outcome in outcomes], first.n)
    rows = [_row(spec, "accuracy", "share", value, low, high, first.n)]
    rows += [
        _spread(spec, "train_tokens_per_s", "tokens/s", [outcome.train_tokens_per_s for outcome in outcomes]),
        _spread(spec, "train_peak_memory_bytes", "bytes", [outcome.peak_memory_bytes for outcome in outcomes]),
        _spread(spec, "forward_tokens_per_s", "tokens/s", [outcome.test_tokens_per_s for outcome in outcomes]),
    ]
    samples, curves = [], []
    for at, (outcome, folder) in enumerate(zip(outcomes, folders, strict=True)):
        samples += _samples(name, test, np.load(folder / PREDICTIONS), start=at * min(KEPT, len(test)))
        points = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
        curves.append(
            TrainingCurve(
                task=name,
                seed=spec.seed + at,
                accuracy=outcome.accuracy,
                points=tuple(CurvePoint.model_validate(point) for point in points),
            )
        )
    weights = {
        f"seed {spec.seed + at}": _digest(folder / NAME)
        for at, folder in enumerate(folders)
        if (folder / NAME).exists()
    }
    budget = outcomes[0].plan["budget"]
    settings: dict[str, float | int | str | bool] = {
        "trained_from_scratch": True,
        "stand_in": first.stand_in,
        "trainings": len(outcomes),
        "steps": first.steps,
        "batch": budget["batch"],
        "learning_rate": budget["learning_rate"],
        "weight_decay": budget["weight_decay"],
        "warm_up_steps": budget["warm_up"],
        "products": first.dtype,
        "train_s": sum(outcome.train_s for outcome in outcomes),
        "validation_accuracy": sum(outcome.validation_accuracy for outcome in outcomes) / len(outcomes),
        "parameters_over_softmax": variant.size(name, spec.context_length).off,
        "data_licence": find_task(RECIPES[name].task).licence,
    }
    settings |= {f"examples_{split}": count for split, count in first.examples.items()}
    settings |= {f"data_sha256_{split}": digest for split, digest in first.data_sha256.items()}
    peak = max(outcome.peak_memory_bytes for outcome in outcomes)
    return {
        "measurements": tuple(rows),
        "samples": tuple(samples),
        "curves": tuple(curves),
        "manifest": {
            "architecture": variant.label, "parameters": first.parameters, "weights_sha256": weights,
            "settings": settings, "peak_memory_bytes": peak or None,
        },
    }  # fmt: skip


def parts_of_clock(spec: RunSpec, variant: Variant, cells: Sequence[Cell]) -> dict[str, Any]:
    """The fields of a bundle from both passes at one length. Raises OutOfMemory where one did not fit."""
    if failed := [cell for cell in cells if cell.failure]:
        raise OutOfMemory(
            f"{variant.label}: the {failed[0].what} of {failed[0].batch} rows of {failed[0].tokens} tokens failed: "
            f"{failed[0].failure}."
        )
    rows = []
    for cell, which in zip(cells, ("forward", "train"), strict=True):
        tokens = 1_000 * cell.batch * cell.tokens
        rates = (tokens / cell.ms, tokens / cell.ms_high, tokens / cell.ms_low)
        rows.append(_row(spec, f"{which}_tokens_per_s", "tokens/s", *rates, cell.repeats))
        if cell.peak_memory_bytes:
            peak = float(cell.peak_memory_bytes)
            rows.append(_row(spec, f"{which}_peak_memory_bytes", "bytes", peak, peak, peak, cell.repeats))
    return {
        "measurements": tuple(rows),
        "manifest": {
            "architecture": variant.label,
            "parameters": cells[0].parameters,
            "settings": {
                "random_weights": True, "batch": cells[0].batch, "products": spec.system.runtime.dtype,
                "mixer_flops": cells[0].mixer_flops,
            },
            "peak_memory_bytes": max(cell.peak_memory_bytes for cell in cells) or None,
        },
    }  # fmt: skip


def _samples(name: str, test: Examples, predictions: np.ndarray, *, start: int) -> list[SampleRecord]:
    """The first KEPT of the test split; one training's follow the other's."""
    records = []
    for index in range(min(KEPT, len(test))):
        sides = test.rows[index] if isinstance(test.rows[index], tuple) else (test.rows[index],)
        target, answer = int(test.labels[index]), int(predictions[index])
        records.append(
            SampleRecord(
                task=name,
                index=start + index,
                prompt_tokens=max(1, *(len(side) for side in sides)),
                prompt_sha256=hashlib.sha256(b"".join(side.astype("<u2").tobytes() for side in sides)).hexdigest(),
                prompt_tail=_tail(test.task, sides[-1]),
                target=str(target),
                answer=str(answer),
                score=float(target == answer),
            )
        )
    return records


def _tail(task: str, row: np.ndarray) -> str:
    """What a reader can read of it; pixels are left out."""
    if task == "listops":
        return " ".join(VOCABULARY[number] for number in row[-TAIL // 4 :])[-TAIL:]
    if task in ("text", "retrieval"):
        shown = bytes(int(number) - 1 for number in row[-TAIL:]).decode("utf-8", "replace")
        return "".join(character if character.isprintable() else " " for character in shown)
    return ""


def _row(spec: RunSpec, metric: str, unit: Any, value: float, low: float, high: float, n: int) -> Measurement:
    return Measurement(
        task=spec.tasks[0], metric=metric, context_length=spec.context_length, value=value, ci_low=low, ci_high=high,
        n=n, unit=unit,
    )  # fmt: skip


def _spread(spec: RunSpec, metric: str, unit: Any, values: Sequence[float]) -> Measurement:
    return _row(spec, metric, unit, *median_interval(values), len(values))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
