"""Trains one architecture on one task under one budget, and says how well it does. Killed, it goes on where it was.

    outcome = train(Plan("listops", Architecture("softmax"), seed=0, budget=...), out=Path("runs"), data=..., device=...)

Everything random is a function of the plan and the step, so that a resumed run takes the same steps as an undisturbed one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.contract import canonical_json, sha256
from longboard_tasks.engine.machine import peak_bytes
from longboard_tasks.suites.lra.checkpoint import Standing, cut_curve, load, require_finite, save
from longboard_tasks.suites.lra.examples import Examples
from longboard_tasks.suites.lra.model import Architecture, Classifier
from longboard_tasks.suites.lra.tasks import Budget, Shape, find_task

Dtype = Literal["float32", "bfloat16"]
GRAIN = 128  # batches are cut to their longest row, rounded up to this
CLIP = 1.0
TELL_S = 2.0  # between two calls of on_step
PREDICTIONS = "predictions.npy"  # int64 [N]: what the last weights say of each test example, in order
FLOOR = 0.1  # share of the peak learning rate that is left at the end
# Rates, decays and biases of state spaces: pulled to zero they would forget or never forget.
NO_DECAY = ("a_log", "log_dt", "log_decay", "log_pace", "turn", "skip", "bonus", "mix", "places", "first")


@dataclass(frozen=True, slots=True)
class Plan:
    """`patience`: evaluations without a better validation accuracy after which it stops; 0 for never. All mixers of a table
    share budget, evaluations and patience."""

    task: str
    architecture: Architecture
    seed: int
    budget: Budget
    evaluate_every: int = 500
    patience: int = 0
    shape: Shape | None = None  # None: the task's own

    @property
    def name(self) -> str:
        way = "causal" if self.architecture.causal else "bidirectional"
        return f"{self.task}-{self.architecture.mixer}-{way}-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class Data:
    train: Examples
    validation: Examples
    test: Examples


@dataclass(frozen=True, slots=True)
class Outcome:
    """`accuracy` is of the test split, by the last weights: no weights are picked by validation, which for text is the test.

    `train_s`, `train_tokens_per_s` and `peak_memory_bytes` are of all attempts of a training that was stopped and went on: its
    first steps in each process, which load kernels, are in the rate.
    """

    plan: dict[str, Any]
    accuracy: float
    validation_accuracy: float
    n: int
    steps: int
    stopped: str  # "budget", "patience", or "time": the last is unfinished, its accuracy not comparable
    parameters: int
    within_budget: bool  # parameters within a tenth of the same model with softmax attention
    train_tokens_per_s: float
    peak_memory_bytes: int
    train_s: float  # evaluation left out
    final_loss: float | None
    stand_in: bool
    examples: dict[str, int]  # by split
    data_sha256: dict[str, str]
    test_tokens_per_s: float  # over the test split, padding included
    dtype: Dtype  # of the products; weights are fp32
    device: str
    torch: str
    measured_at: str  # ISO, UTC


def build(plan: Plan) -> Classifier:
    """The model at its start: a function of the plan alone."""
    task = find_task(plan.task)
    torch.manual_seed(plan.seed)
    return Classifier(
        plan.architecture, plan.shape or task.shape, vocabulary=task.vocabulary, classes=task.classes, length=task.length,
        pair=task.pair,
    )  # fmt: skip


def learning_rate(budget: Budget, step: int) -> float:
    """Linear warm-up, then a cosine down to FLOOR of the peak at the last step."""
    if step < budget.warm_up:
        return budget.learning_rate * (step + 1) / budget.warm_up
    share = (step - budget.warm_up) / max(1, budget.steps - budget.warm_up)
    return budget.learning_rate * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * share)) / 2)


def batch_at(plan: Plan, examples: Examples, step: int) -> tuple[Tensor, Tensor]:
    """(ids, labels) of a step: every example once an epoch, in an order of the epoch's own."""
    size, n = plan.budget.batch, len(examples)
    places = np.arange(step * size, (step + 1) * size)
    indices = np.empty(size, dtype=np.int64)
    for epoch in np.unique(places // n):
        order = np.random.default_rng([plan.seed, int(epoch)]).permutation(n)
        mine = places // n == epoch
        indices[mine] = order[places[mine] % n]
    return cut(examples, indices)


def cut(examples: Examples, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    length = find_task(examples.task).length
    ids, labels = examples.batch(indices, length)
    used = np.flatnonzero((ids > 0).reshape(-1, length).any(axis=0))
    longest = int(used.max(initial=0)) + 1
    return torch.from_numpy(ids[..., : min(length, -(-longest // GRAIN) * GRAIN)]), torch.from_numpy(labels)


def make_optimizer(model: nn.Module, budget: Budget) -> torch.optim.AdamW:
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        exempt = parameter.ndim < 2 or name.rsplit(".", 1)[-1] in NO_DECAY
        (plain if exempt else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": budget.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=budget.learning_rate, betas=(0.9, 0.98), eps=1e-9)


def train(
    plan: Plan, data: Data, out: Path, *, device: torch.device, seconds: float = math.inf, save_every_s: float = 60.0,
    say: Callable[[str], None] = print, dtype: Dtype | None = None, on_step: Callable[[Standing], None] | None = None,
) -> Outcome:  # fmt: skip
    """Train, evaluate, and write `out`/<plan.name>/: model.safetensors, curve.jsonl, predictions.npy and outcome.json at its end.

    Weights are fp32; products in `dtype`, without one bf16 on a GPU and fp32 elsewhere. `on_step` gets the standing every few
    seconds, with the loss so far read into `loss_sum`. Goes on from the checkpoint of the same plan and data; with `seconds` it
    stops after so long, saved as it is. Raises SuiteError for a checkpoint of another plan, FloatingPointError when the loss is
    not finite.
    """
    started, folder = time.perf_counter(), out / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    dtype = dtype or ("bfloat16" if device.type == "cuda" else "float32")
    model = build(plan).to(device)
    optimizer = make_optimizer(model, plan.budget)
    identity = sha256(canonical_json({"plan": asdict(plan), "data": data.train.sha256}))
    now = load(folder, model, optimizer, identity)
    cut_curve(folder / "curve.jsonl", now.step)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    saved_at = started
    while now.step < plan.budget.steps and (not plan.patience or now.waited < plan.patience):
        if time.perf_counter() - started > seconds:
            break
        until = min(plan.budget.steps, (now.step // plan.evaluate_every + 1) * plan.evaluate_every)
        _take_steps(plan, data.train, model, optimizer, now, until, device, dtype, started + seconds, on_step)
        whole = now.step == until
        if whole:
            _evaluate(plan, data, model, now, device, dtype, folder / "curve.jsonl", say)
        now.peak_memory_bytes = max(now.peak_memory_bytes, peak_bytes(device))
        if time.perf_counter() - saved_at > save_every_s or now.step == plan.budget.steps or not whole:
            saved_at = time.perf_counter()
            save(folder, model, optimizer, identity, now)
    finished = now.step == plan.budget.steps
    patient = bool(plan.patience) and now.waited >= plan.patience
    if not finished and patient:
        save(folder, model, optimizer, identity, now)
    parameters = count(model)
    tested = time.perf_counter()
    predictions, tokens = predict(model, data.test, plan.budget.batch, device, dtype)
    test_s = time.perf_counter() - tested
    np.save(folder / PREDICTIONS, predictions)
    outcome = Outcome(
        plan=asdict(plan),
        accuracy=float((predictions == data.test.labels).mean()),
        validation_accuracy=measure_accuracy(model, data.validation, plan.budget.batch, device, dtype),
        n=len(data.test),
        steps=now.step,
        stopped="budget" if finished else "patience" if patient else "time",
        parameters=parameters,
        within_budget=spends_as_softmax(plan, parameters),
        train_tokens_per_s=now.tokens / max(now.train_s, 1e-9),
        peak_memory_bytes=max(now.peak_memory_bytes, peak_bytes(device)),
        train_s=now.train_s,
        final_loss=now.loss,
        stand_in=data.train.stand_in,
        examples={part.split: len(part) for part in (data.train, data.validation, data.test)},
        data_sha256={part.split: part.sha256 for part in (data.train, data.validation, data.test)},
        test_tokens_per_s=tokens / max(test_s, 1e-9),
        dtype=dtype,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        torch=torch.__version__,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    part = folder / "outcome.part"
    part.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
    part.replace(folder / "outcome.json")
    return outcome


def _take_steps(
    plan: Plan, examples: Examples, model: nn.Module, optimizer: torch.optim.Optimizer, now: Standing, until: int,
    device: torch.device, dtype: Dtype, deadline: float, on_step: Callable[[Standing], None] | None,
) -> None:  # fmt: skip
    """Steps up to `until`, or to the deadline. Losses stay on the device: reading one waits for it."""
    model.train()
    started = told = time.perf_counter()
    before_s = now.train_s
    total = torch.tensor(now.loss_sum, dtype=torch.float64, device=device)
    while now.step < until and time.perf_counter() < deadline:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan.budget, now.step)
        ids, labels = batch_at(plan, examples, now.step)
        full = bool((ids > 0).all())
        torch.manual_seed(plan.seed * 1_000_003 + now.step)  # dropout
        with products(device, dtype):
            logits = model(ids.to(device), full=full)
            loss = F.cross_entropy(logits.float(), labels.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.detach()
        now.step, now.tokens = now.step + 1, now.tokens + ids.numel()
        if on_step is not None and time.perf_counter() - told > TELL_S:
            told = time.perf_counter()
            now.loss_sum, now.train_s = total.item(), before_s + told - started
            on_step(now)
    now.loss_sum = require_finite(plan.name, total.item(), now.step)
    now.train_s = before_s + time.perf_counter() - started


def _evaluate(
    plan: Plan,
    data: Data,
    model: nn.Module,
    now: Standing,
    device: torch.device,
    dtype: Dtype,
    curve: Path,
    say: Callable[[str], None],
) -> None:
    """A row of the loss curve, and a line for whoever waits."""
    steps = now.step - (now.step - 1) // plan.evaluate_every * plan.evaluate_every
    now.loss, now.loss_sum = now.loss_sum / steps, 0.0
    accuracy = measure_accuracy(model, data.validation, plan.budget.batch, device, dtype)
    now.waited = 0 if accuracy > now.best else now.waited + 1
    now.best = max(now.best, accuracy)
    row = {"step": now.step, "loss": now.loss, "validation_accuracy": accuracy}
    with curve.open("a") as file:
        file.write(json.dumps(row) + "\n")
    left = now.train_s / now.step * (plan.budget.steps - now.step)
    say(
        f"{plan.name} step {now.step}/{plan.budget.steps}  loss {now.loss:.4f}  validation {accuracy:.4f}  "
        f"{now.tokens / now.train_s:,.0f} tokens/s  {left:.0f} s left"
    )


@torch.no_grad()
def predict(
    model: nn.Module, examples: Examples, batch: int, device: torch.device, dtype: Dtype
) -> tuple[np.ndarray, int]:
    """(the class of each example [N] int64, tokens read, padding included)."""
    model.eval()
    found, tokens = [], 0
    for start in range(0, len(examples), batch):
        ids, _ = cut(examples, np.arange(start, min(start + batch, len(examples))))
        with products(device, dtype):
            logits = model(ids.to(device), full=bool((ids > 0).all()))
        found.append(logits.argmax(-1))
        tokens += ids.numel()
    return torch.cat(found).cpu().numpy(), tokens


def measure_accuracy(
    model: nn.Module, examples: Examples, batch: int, device: torch.device, dtype: Dtype = "float32"
) -> float:
    return float((predict(model, examples, batch, device, dtype)[0] == examples.labels).mean())


def products(device: torch.device, dtype: Dtype) -> torch.autocast:
    """Matrix products in `dtype`, everything else in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def spends_as_softmax(plan: Plan, parameters: int) -> bool:
    with torch.device("meta"):
        softmax = Architecture("softmax", plan.architecture.causal)
        base = count(build(Plan(plan.task, softmax, plan.seed, plan.budget, shape=plan.shape)))
    return abs(parameters - base) <= 0.1 * base
