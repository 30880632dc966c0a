"""Train one model of the zoo: plain torch, one process, one device.

    python -m longboard_tasks.zoo.train llama-3m --out weights   # minutes on one H100
    python -m longboard_tasks.zoo.train --smoke                  # a toy on a laptop: does training work at all?
    python -m longboard_tasks.zoo.make train --out weights       # all of them, side by side

Batch n depends on the recipe's seed and n alone, so a run that was stopped goes on where its checkpoint stands and sees the
data that it would have seen. On a GPU the attention's backward pass adds in no fixed order: losses agree between runs to a
few digits, not to the bit.

Lessons that the recipe holds on to: every batch has a length of its own (with one length a stage a model ties answers to
positions and forgets the other lengths), and the loss weighs answers above prose (data.py).
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from longboard_tasks.zoo.batches import batch_length, batch_of, training_source
from longboard_tasks.zoo.data import Batch, Sequences, ToyRepeats
from longboard_tasks.zoo.delta import use_chunked_delta
from longboard_tasks.zoo.recipes import RECIPES, SMOKE, Recipe, fresh_config
from longboard_tasks.zoo.selective import use_selective_scan
from longboard_tasks.zoo.shelf import take_batch
from longboard_tasks.zoo.ssd import spread_time_steps, use_chunked_ssd
from longboard_tasks.zoo.stretch import TARGET
from longboard_tasks.zoo.tokenizer import FOLDER as TOKENIZER


class Batches(Dataset[Batch]):
    """Batch number n of a recipe: made on demand in a loader process, or taken from a shelf that another process fills."""

    def __init__(self, recipe: Recipe, source: Sequences | None, shelf: Path | None = None) -> None:
        self.recipe, self.source, self.shelf = recipe, source, shelf

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        if self.shelf is not None:
            return take_batch(self.shelf, step)
        if self.source is None:
            raise ValueError("batches need a source to be made from, or a shelf to be taken from")
        return batch_of(self.recipe, self.source, step)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def make_optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    """AdamW; vectors (norms, biases) and decay rates are not pulled towards zero."""
    kept = {name for name, p in model.named_parameters() if p.ndim < 2 or name.endswith("A_log")}
    matrices = [p for name, p in model.named_parameters() if name not in kept]
    vectors = [p for name, p in model.named_parameters() if name in kept]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=device.type == "cuda")


def weighted_loss(model: PreTrainedModel, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean next-token loss by weight, and the share of answer tokens that are right; both 0-d tensors on the device."""
    ids, at, weight = (
        torch.from_numpy(part).to(device, non_blocking=True) for part in (batch.ids, batch.at, batch.weight)
    )
    hidden = model.base_model(input_ids=ids, use_cache=False)[0].flatten(0, 1)[at]  # [N, hidden]
    logits = model.get_output_embeddings()(hidden).float()
    target = ids.flatten()[at + 1]
    losses = F.cross_entropy(logits, target, reduction="none")
    asked = weight == TARGET
    right = ((logits.argmax(-1) == target) & asked).sum() / asked.sum().clamp(min=1)
    return (losses * weight).sum() / weight.sum(), right.detach()


@dataclass(frozen=True, slots=True)
class Outcome:
    first_loss: float  # mean over the first 50 steps of this process
    last_loss: float  # mean over the last 50
    answers_right: float  # share of answer tokens, over the last 50 steps


def train(
    name: str,
    recipe: Recipe,
    source: Sequences | None,
    out: Path,
    *,
    device: torch.device,
    workers: int,
    shelf: Path | None = None,
    seconds: float = math.inf,
    save_every_s: float = 60.0,
) -> Outcome:
    """Train to the end, from the checkpoint if there is one; leaves the model in out/<name> and its checkpoint beside it.

    Batches come from `source`, or ready-made from `shelf`. After `seconds` it stops where it is, saved like at the end.
    """
    torch.manual_seed(recipe.seed)
    torch.set_float32_matmul_precision("high")
    model = AutoModelForCausalLM.from_config(fresh_config(recipe), dtype=torch.float32)
    use_training_forms(spread_time_steps(model)).to(device).train()
    optimizer = make_optimizer(model, recipe, device)
    checkpoint = out / f"{name}.checkpoint.pt"
    first, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, spent = saved["step"], saved["seconds"]
    loader = DataLoader(
        Batches(recipe, source, shelf),
        batch_size=None,
        sampler=range(first, recipe.steps),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        collate_fn=keep,
    )
    progress = Progress(name, recipe, first)
    saved_at = time.perf_counter()
    for step, batch in enumerate(loader, start=first):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss, right = weighted_loss(model, batch, device)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress.add(step, loss.detach(), right, batch.ids.size)
        last = step + 1 == recipe.steps or time.perf_counter() - progress.started > seconds
        if last or time.perf_counter() - saved_at > save_every_s:
            saved_at = time.perf_counter()
            taken = spent + saved_at - progress.started
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "seconds": taken,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            rate = {"tokens_per_s": round(progress.seen / (saved_at - progress.started))}
            facts = {"steps": step + 1, **rate, "seconds": round(taken), "final_loss": round(progress.loss, 4)}
            export(name, model, recipe, out / name, facts, device)
        if last:
            break
    return Outcome(progress.first_loss, progress.loss, progress.right)


class Progress:
    """A line every 50 steps. Losses stay on the device in between: reading one waits for the device."""

    def __init__(self, name: str, recipe: Recipe, first: int) -> None:
        self.name, self.recipe, self.first = name, recipe, first
        self.started = self.reported = time.perf_counter()
        self.first_loss = self.loss = self.right = math.nan
        self.losses: list[Tensor] = []
        self.rights: list[Tensor] = []
        self.tokens = self.seen = 0

    def add(self, step: int, loss: Tensor, right: Tensor, tokens: int) -> None:
        self.losses.append(loss)
        self.rights.append(right)
        self.tokens += tokens
        self.seen += tokens
        done = step + 1
        if done % 50 and done != self.recipe.steps:
            return
        self.loss, self.right = (torch.stack(values).mean().item() for values in (self.losses, self.rights))
        if not math.isfinite(self.loss):
            raise FloatingPointError(f"{self.name}: the loss is {self.loss} at step {done}. Lower the learning rate.")
        self.first_loss = self.loss if math.isnan(self.first_loss) else self.first_loss
        now = time.perf_counter()
        left = (now - self.started) / (done - self.first) * (self.recipe.steps - done)
        print(
            f"{self.name} step {done}/{self.recipe.steps}  up to {self.recipe.stage(step).longest} tokens  "
            f"loss {self.loss:.3f}  answers right {self.right:.3f}  "
            f"{self.tokens / (now - self.reported):,.0f} tokens/s  {left:.0f} s left",
            flush=True,
        )
        self.reported, self.tokens, self.losses, self.rights = now, 0, [], []


def keep(batch: Any) -> Any:
    """A batch comes whole from the data set: there is nothing to collate."""
    return batch


def use_training_forms(model: nn.Module) -> nn.Module:
    """Give every recurrent layer of a stock model the form that trains in little memory. The weights stay in place."""
    return use_chunked_delta(use_selective_scan(use_chunked_ssd(model)))


def export(
    name: str, model: PreTrainedModel, recipe: Recipe, folder: Path, facts: dict[str, Any], device: torch.device
) -> None:
    """Write what `from_pretrained` takes: weights in bf16, configuration, tokenizer; and card.json with the facts."""
    stock = AutoModelForCausalLM.from_config(fresh_config(recipe), dtype=torch.float32)
    stock.load_state_dict({key: value.cpu() for key, value in model.state_dict().items()})
    stock.generation_config.do_sample = False
    stock.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # it comes out readable by its owner alone
    shutil.copytree(TOKENIZER, folder, dirs_exist_ok=True)
    lengths = (batch_length(recipe, step) for step in range(facts["steps"]))
    card = {
        "id": name,
        "architecture": type(stock).__name__,
        "parameters": sum(p.numel() for p in stock.parameters()),
        **facts,
        "planned_steps": recipe.steps,
        "tokens_seen": sum(recipe.tokens_per_step // length * length for length in lengths),
        "stages": [[stage.longest, stage.steps] for stage in recipe.stages],
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "dtype": "bfloat16",
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def smoke() -> int:
    """Train about 50,000 parameters to recall what they just saw; 0 if loss and recall say that it worked, else 1."""
    torch.set_num_threads(
        1
    )  # the toy is too small to share, and waiting for a busy neighbour core costs more than it gains
    with tempfile.TemporaryDirectory() as scratch:
        cpu = torch.device("cpu")
        outcome = train("smoke", SMOKE, ToyRepeats(), Path(scratch), device=cpu, workers=0)
    passed = outcome.last_loss < 0.6 * outcome.first_loss and outcome.answers_right > 0.3
    print(
        f"loss {outcome.first_loss:.3f} -> {outcome.last_loss:.3f}, recall {outcome.answers_right:.3f} (chance 0.031): "
        f"{'training works' if passed else 'TRAINING IS BROKEN'}"
    )
    return 0 if passed else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Train one model of the zoo.")
    parser.add_argument("model", nargs="?", choices=sorted(RECIPES))
    parser.add_argument(
        "--smoke", action="store_true", help="a toy model on the CPU instead; exit status 1 if it learns nothing"
    )
    parser.add_argument("--out", type=Path, default=Path("var/zoo"), help="folder for the model and its checkpoint")
    parser.add_argument("--workers", type=int, default=6, help="processes that make data")
    parser.add_argument("--shelf", type=Path, help="folder of ready-made batches that zoo.shelf fills")
    parser.add_argument("--steps", type=int, help="stop the plan short, stages in proportion: a trial")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long, saved as it is")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    if arguments.smoke:
        return smoke()
    if arguments.model is None:
        parser.error(f"name a model ({', '.join(RECIPES)}), or pass --smoke")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = RECIPES[arguments.model]
    recipe = recipe.shortened(arguments.steps) if arguments.steps else recipe
    train(
        arguments.model,
        recipe,
        None if arguments.shelf else training_source(),
        arguments.out,
        device=device,
        workers=arguments.workers,
        shelf=arguments.shelf,
        seconds=arguments.seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
