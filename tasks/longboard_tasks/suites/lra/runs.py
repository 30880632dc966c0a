"""A Run of lra@1: one registered architecture, trained from scratch on one task under its one budget, as a result bundle.

`evaluate` comes here instead of loading a model. Killed, it goes on from the checkpoint in the same `work_dir`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from longboard_tasks.contract import Manifest, ModelRef, Progress, ResultBundle, RunSpec
from longboard_tasks.engine.engine import is_out_of_memory
from longboard_tasks.engine.errors import EvaluationError, OutOfMemory, SuiteError
from longboard_tasks.engine.machine import report_hardware, report_software
from longboard_tasks.suites.lra.architectures import (
    MAX_TRAININGS,
    ArchitectureError,
    Variant,
    batch_of,
    check_architecture,
    check_pairing,
)
from longboard_tasks.suites.lra.bundle_parts import parts_of_clock, parts_of_training
from longboard_tasks.suites.lra.checkpoint import Standing
from longboard_tasks.suites.lra.efficiency import measure_cells
from longboard_tasks.suites.lra.examples import GENERATED, SPLITS, open_examples
from longboard_tasks.suites.lra.mixers.base import MixerError
from longboard_tasks.suites.lra.model import Architecture
from longboard_tasks.suites.lra.stand_ins import MAKERS
from longboard_tasks.suites.lra.tasks import RECIPES, SPEED, Recipe, find_task
from longboard_tasks.suites.lra.train import Data, Dtype, Outcome, Plan, train

# Where a node keeps the files of others, below its models folder: the first that is there.
FILES = {
    "text": ("lra/aclImdb_v1.tar.gz", "lra/aclImdb"),
    "retrieval": ("lra/lra_release/tsv_data", "lra/aan"),
    "image": ("lra/cifar-10-binary.tar.gz", "lra/cifar-10-batches-bin"),
}

OnProgress = Callable[[Progress], None]


class DataMissing(EvaluationError):
    """This node lacks files that Longboard may not ship. Another node may have them."""

    code = "data_missing"
    failure_class = "node_error"


class TrainingDiverged(EvaluationError):
    """The loss is not finite: the architecture does not train under this budget."""

    code = "training_diverged"


def check_run(spec: RunSpec) -> Variant:
    """What can be refused before anything is made. Raises SuiteError."""
    system = spec.system
    if system.model.source != "architecture":
        raise SuiteError(
            f"lra trains architectures from scratch, and {system.model.id} has weights: name a registered architecture."
        )
    if len(spec.tasks) != 1:
        raise SuiteError(f"A run of lra trains on one task, not on {len(spec.tasks)}: {', '.join(spec.tasks)}.")
    if spec.samples > MAX_TRAININGS:
        raise SuiteError(f"A run of lra has at most {MAX_TRAININGS} trainings, not {spec.samples}.")
    if system.method.name != "none" or system.runtime.kernels != "stock" or system.runtime.dtype == "float16":
        raise SuiteError("lra takes no method and no kernels of ours, and trains in float32 or bfloat16.")
    try:
        variant = check_architecture(system.model.id, system.model.configuration)
        check_pairing(variant, spec.tasks[0], spec.context_length)
    except ArchitectureError as error:
        raise SuiteError(str(error)) from error
    return variant


def run(
    spec: RunSpec, *, work_dir: Path, models_dir: Path | None, report: OnProgress, attempt_id: str = "", fence: int = 0
) -> ResultBundle:
    """Train, test, and say it. Raises SuiteError, DataMissing, TrainingDiverged or OutOfMemory."""
    variant = check_run(spec)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock, started_at = time.perf_counter(), datetime.now(UTC)
    try:
        with _precision(spec.system.runtime.dtype):
            parts = _clock(spec, variant, device) if spec.tasks[0] == SPEED else None
            parts = parts or _train(spec, variant, device, work_dir, models_dir, report)
    except MixerError as error:
        raise SuiteError(str(error)) from error
    except FloatingPointError as error:
        raise TrainingDiverged(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{variant.label} does not fit this machine: {str(error)[:200]}") from error
    return ResultBundle(
        run=spec,
        attempt_id=attempt_id,
        fence=fence,
        manifest=Manifest(
            hardware=report_hardware(device),
            software=report_software(),
            started_at=started_at,
            wall_s=time.perf_counter() - clock,
            **parts.pop("manifest"),
        ),
        **parts,
    )


def architecture_of(model: ModelRef) -> Architecture:
    """What the trainer builds."""
    options = {name: int(value) for name, value in model.configuration.items() if name != "causal"}
    return Architecture(model.id, bool(model.configuration.get("causal", False)), options)


def plan_of(spec: RunSpec, seed: int) -> Plan:
    recipe = RECIPES[spec.tasks[0]]
    return Plan(
        recipe.task, architecture_of(spec.system.model), seed, recipe.budget, recipe.evaluate_every, shape=recipe.shape
    )


def open_data(name: str, recipe: Recipe, *, models_dir: Path | None, work_dir: Path) -> Data:
    """The splits of a task: generated ones are kept beside the models for the runs to come. Raises DataMissing."""
    store = (models_dir or work_dir) / "lra"
    files_at: Path | None = None
    if recipe.stand_in:
        files_at = work_dir / f"stand-in-{recipe.task}"
        if not files_at.exists():
            making = files_at.with_suffix(".part")
            MAKERS[recipe.task](making, recipe.examples[0])
            making.replace(files_at)
    elif recipe.task not in GENERATED:
        places = [(models_dir or work_dir) / place for place in FILES[recipe.task]]
        files_at = next((place for place in places if place.exists()), None)
        if files_at is None:
            raise DataMissing(
                f"lra/{name} needs files that Longboard may not ship ({find_task(recipe.task).licence}). Its node's owner can "
                f"put them at {FILES[recipe.task][0]} below the node's models folder; lra/{name}_stand_in needs none."
            )
    parts = [
        open_examples(
            recipe.task, split, count=None if files_at else count, files_at=files_at, cache=store / "made",
            processes=os.cpu_count() or 1,
        )
        for split, count in zip(SPLITS, recipe.examples, strict=True)
    ]  # fmt: skip
    for part, count in zip(parts, recipe.examples, strict=True):
        if part.stand_in and not recipe.stand_in:
            raise DataMissing(f"{files_at} is a generated stand-in: it may be trained on as lra/{name}_stand_in alone.")
        if len(part) != count and not part.stand_in:
            raise DataMissing(f"{files_at} has {len(part)} {part.split} examples; lra/{name} has {count}.")
    return Data(*parts)


def _finished(folder: Path, plan: Plan, data: Data) -> Outcome | None:
    """What an earlier attempt left of a training that it had ended."""
    path = folder / plan.name / "outcome.json"
    if not path.exists():
        return None
    told = Outcome(**json.loads(path.read_text()))
    same = told.plan == json.loads(json.dumps(asdict(plan))) and told.data_sha256["train"] == data.train.sha256
    return told if same and told.stopped == "budget" else None


def _train(
    spec: RunSpec, variant: Variant, device: torch.device, work_dir: Path, models_dir: Path | None, report: OnProgress
) -> dict[str, Any]:
    name, seeds = spec.tasks[0], range(spec.seed, spec.seed + spec.samples)
    recipe = RECIPES[name]
    total = recipe.budget.steps * len(seeds)
    report(Progress(done=0, total=total, note=f"making or reading the examples of {name}"))
    data = open_data(name, recipe, models_dir=models_dir, work_dir=work_dir)
    outcomes, before_tokens = [], 0
    folder = work_dir / "trainings"
    for at, seed in enumerate(seeds):
        plan = plan_of(spec, seed)

        def tell(now: Standing, at: int = at, before_tokens: int = before_tokens) -> None:
            rate = now.tokens / max(now.train_s, 1e-9)
            since = now.step % recipe.evaluate_every or recipe.evaluate_every
            done = at * recipe.budget.steps + now.step
            report(
                Progress(
                    done=done,
                    total=total,
                    tokens=before_tokens + now.tokens,
                    eta_s=(total - done) * now.train_s / max(1, now.step),
                    note=f"training {at + 1} of {len(seeds)}: step {now.step} of {recipe.budget.steps}, "
                    f"loss {now.loss_sum / since:.3f}, {rate:,.0f} tokens/s",
                )
            )

        outcome = _finished(folder, plan, data) or train(
            plan, data, folder, device=device, dtype=_dtype(spec), say=_say, on_step=tell
        )
        outcomes.append(outcome)
        before_tokens += round(outcome.train_tokens_per_s * outcome.train_s)
        report(
            Progress(
                done=(at + 1) * recipe.budget.steps, total=total, tokens=before_tokens,
                note=f"training {at + 1} of {len(seeds)}: accuracy {outcome.accuracy:.3f}",
            )
        )  # fmt: skip
    folders = [folder / plan_of(spec, seed).name for seed in seeds]
    return parts_of_training(spec, variant, outcomes, folders, data.test)


def _clock(spec: RunSpec, variant: Variant, device: torch.device) -> dict[str, Any]:
    """A CPU gets one row: the paper's batch would take minutes a pass."""
    batch = batch_of(SPEED, spec.context_length) if device.type == "cuda" else 1
    cells = measure_cells(
        architecture_of(spec.system.model), tokens=spec.context_length, batch=batch, device=device,
        repeats=max(3, spec.samples), dtype=_dtype(spec),
    )  # fmt: skip
    return parts_of_clock(spec, variant, cells)


def _say(line: str) -> None:
    print(line, flush=True)


def _dtype(spec: RunSpec) -> Dtype:
    return "bfloat16" if spec.system.runtime.dtype == "bfloat16" else "float32"


@contextmanager
def _precision(dtype: str) -> Any:
    """What is left in fp32 beside bf16 products may use TF32; a float32 System is fp32 throughout."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if dtype == "bfloat16" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
