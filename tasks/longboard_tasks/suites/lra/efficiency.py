"""How fast the classifier of each mixer runs, and what it holds, forward and in a training step, at a length of rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from longboard_tasks.engine.engine import is_out_of_memory
from longboard_tasks.engine.machine import synchronize
from longboard_tasks.intervals import median_interval
from longboard_tasks.suites.lra.mixers.base import MixerConfig
from longboard_tasks.suites.lra.mixers.registry import fit, mixer_class
from longboard_tasks.suites.lra.model import Architecture, Classifier
from longboard_tasks.suites.lra.tasks import Shape, find_task
from longboard_tasks.suites.lra.train import Dtype, products

WARM_UP = 2
PASSES = ("forward", "training step")


@dataclass(frozen=True, slots=True)
class Cell:
    """One mixer at one length. Where `failure` is given there are no figures."""

    mixer: str
    tokens: int
    batch: int
    what: str  # one of PASSES
    ms: float = math.nan  # median; a whole batch
    ms_low: float = math.nan  # 95 % interval of the median
    ms_high: float = math.nan
    repeats: int = 0
    tokens_per_s: float = math.nan
    peak_memory_bytes: int = 0
    parameters: int = 0
    mixer_flops: int = 0  # forward, by the mixers' own formulas, all layers and the whole batch
    failure: str = ""


def measure_cells(
    architecture: Architecture, *, tokens: int, batch: int, device: torch.device, shape: Shape | None = None,
    repeats: int = 7, seconds: float = 10.0, dtype: Dtype | None = None,
) -> list[Cell]:  # fmt: skip
    """Both PASSES of the text task's classifier over full rows of random bytes. Not more than about `seconds` for each.

    Products in `dtype`, without one bf16 on a GPU and fp32 elsewhere. Dropout is off in both.
    Running out of memory is a result: the cell says so. Other errors are raised.
    """
    task = find_task("text")
    shape = replace(shape or task.shape, dropout=0.0)
    dtype = dtype or ("bfloat16" if device.type == "cuda" else "float32")
    blank = Cell(
        architecture.mixer, tokens, batch, PASSES[0], mixer_flops=mixer_flops(architecture, shape, tokens, batch)
    )
    torch.manual_seed(0)
    cells = []
    for what in PASSES:
        try:
            model = Classifier(architecture, shape, vocabulary=task.vocabulary, classes=task.classes, length=tokens).to(
                device
            )
            ids = torch.randint(1, task.vocabulary, (batch, tokens), device=device)
            labels = torch.randint(0, task.classes, (batch,), device=device)
            action = _training_step(model, ids, labels, dtype) if what == PASSES[1] else _forward(model, ids, dtype)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            cells.append(_time(action, replace(blank, what=what, parameters=parameters), device, repeats, seconds))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not is_out_of_memory(error):
                raise
            cells.append(replace(blank, what=what, failure="out of memory"))
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return cells


def mixer_flops(architecture: Architecture, shape: Shape, tokens: int, batch: int) -> int:
    """Forward, of the mixers alone, by their formulas."""
    total = 0
    for layer in range(shape.layers):
        base = MixerConfig(
            shape.width, shape.heads, shape.inner, architecture.causal, tokens + 1, layer, architecture.options
        )
        total += mixer_class(architecture.mixer, layer).flops(fit(architecture.mixer, base), tokens)
    return total * batch


def _forward(model: Classifier, ids: Tensor, dtype: Dtype) -> Callable[[], None]:
    model.eval()

    def action() -> None:
        with torch.no_grad(), products(ids.device, dtype):
            model(ids, full=True)

    return action


def _training_step(model: Classifier, ids: Tensor, labels: Tensor, dtype: Dtype) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-6)

    def action() -> None:
        with products(ids.device, dtype):
            loss = F.cross_entropy(model(ids, full=True).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return action


def _time(action: Callable[[], None], cell: Cell, device: torch.device, repeats: int, seconds: float) -> Cell:
    begun = time.perf_counter()
    for _ in range(WARM_UP):
        action()
        synchronize(device)
        if time.perf_counter() - begun > seconds:
            break
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < repeats and (not times or time.perf_counter() - started < seconds):
        before = time.perf_counter()
        action()
        synchronize(device)
        times.append((time.perf_counter() - before) * 1e3)
    ms, low, high = median_interval(times)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return replace(
        cell, ms=ms, ms_low=low, ms_high=high, repeats=len(times), tokens_per_s=cell.batch * cell.tokens / ms * 1e3,
        peak_memory_bytes=peak,
    )  # fmt: skip
