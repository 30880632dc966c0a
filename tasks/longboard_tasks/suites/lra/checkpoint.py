"""Where a training run stands, on disk as one safetensors file: weights, the optimizer's moments, and counts as text."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from longboard_tasks.engine.errors import SuiteError

NAME = "model.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True)
class Standing:
    """Counts over all attempts of one run."""

    step: int = 0
    best: float = -1.0  # validation accuracy so far
    waited: int = 0  # evaluations since then
    loss: float | None = None  # mean over the steps before the last evaluation
    loss_sum: float = 0.0  # of the steps since then
    tokens: int = 0  # padding included
    train_s: float = 0.0  # evaluation left out
    peak_memory_bytes: int = 0


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str, standing: Standing) -> None:
    """Whole or not at all. `identity` says which plan and which data."""
    tensors = {f"weight.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment in MOMENTS:
            if moment in optimizer.state[parameter]:
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment].contiguous()
    part = folder / f"{NAME}.part"
    save_file(tensors, part, metadata={"identity": identity, "standing": json.dumps(asdict(standing))})
    part.replace(folder / NAME)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> Standing:
    """Put the checkpoint into model and optimizer; without one, the standing of the start.

    Raises SuiteError for a checkpoint of another plan or of other data.
    """
    path = folder / NAME
    if not path.exists():
        return Standing()
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata.get("identity") != identity:
            raise SuiteError(f"{path} belongs to another plan or other data. Choose another folder, or remove it.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping: it has keys alone
    weights = {name.removeprefix("weight."): value for name, value in tensors.items() if name.startswith("weight.")}
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        if f"step.{name}" in tensors:  # a parameter without gradient has no moments
            optimizer.state[parameter] = {
                moment: tensors[f"{moment}.{name}"].to("cpu" if moment == "step" else parameter.device)
                for moment in MOMENTS
            }
    return Standing(**json.loads(metadata["standing"]))


def cut_curve(path: Path, step: int) -> None:
    """Drop the rows of steps that the checkpoint does not have: they will be taken again."""
    if path.exists():
        rows = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
        path.write_text("".join(f"{row}\n" for row in rows))


def require_finite(name: str, loss: float, step: int) -> float:
    """Raises FloatingPointError."""
    if not math.isfinite(loss):
        raise FloatingPointError(f"{name}: the loss is {loss} at step {step}. Lower the learning rate.")
    return loss
