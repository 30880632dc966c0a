"""Train one model of the zoo: plain torch, one process, one device.

    python -m longboard_tasks.zoo.train llama-3m --out weights   # about five minutes on one H100
    python -m longboard_tasks.zoo.train --smoke                  # a toy on a laptop: does training work at all?

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
import random
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForCausalLM, PreTrainedModel

from longboard_tasks.zoo.data import TARGET, Batch, Source, make_batch
from longboard_tasks.zoo.prose import training_prose
from longboard_tasks.zoo.recipes import RECIPES, Recipe, fresh_config
from longboard_tasks.zoo.ssd import spread_time_steps, use_chunked_ssd
from longboard_tasks.zoo.tokenizer import FOLDER as TOKENIZER
from longboard_tasks.zoo.tokenizer import load_tokenizer

LENGTH_GRID = 64  # batch lengths are multiples of this


class Batches(Dataset[Batch]):
    """Batch number n of a recipe, made on demand in a loader process."""

    def __init__(self, recipe: Recipe, source: Source) -> None:
        self.recipe, self.source = recipe, source

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        length = batch_length(self.recipe, step)
        tokens = self.recipe.tokens_per_step
        return make_batch(self.source, seed=self.recipe.seed, step=step, length=length, tokens=tokens)


def batch_length(recipe: Recipe, step: int) -> int:
    """A quarter of the batches have the stage's full length, the others any multiple of 64 up to it."""
    rng = random.Random(f"zoo/length@1:{recipe.seed}:{step}")
    longest = recipe.stage(step).longest
    if rng.random() < 0.25:
        return longest
    return rng.randrange(recipe.shortest, longest + 1, LENGTH_GRID)


def training_source() -> Source:
    """All training prose in tokens, and the tokenizer to write facts with. Takes about five seconds."""
    texts, tokenizer = training_prose(), load_tokenizer()
    backend = tokenizer.backend_tokenizer
    prose = np.concatenate([np.array(encoding.ids, dtype=np.uint16) for encoding in backend.encode_batch(texts)])
    return Source(
        prose, texts, lambda text: backend.encode(text).ids, bos=tokenizer.bos_token_id, eos=tokenizer.eos_token_id
    )


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def make_optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    """AdamW; vectors (norms, biases, decay rates) are not pulled towards zero."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
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


def train(
    name: str, recipe: Recipe, source: Source, out: Path, *, device: torch.device, workers: int, compiled: bool
) -> Any:
    """Train to the end and leave the model in out/<name>, with a checkpoint beside it. Returns (model, last loss, right)."""
    torch.manual_seed(recipe.seed)
    torch.set_float32_matmul_precision("high")
    model = AutoModelForCausalLM.from_config(fresh_config(recipe), dtype=torch.float32)
    use_chunked_ssd(spread_time_steps(model)).to(device)
    if compiled:
        for layer in model.base_model.layers:
            # Padded matrix shapes fix strides at the first length seen; the next length then breaks the backward pass.
            layer.compile(dynamic=True, options={"shape_padding": False, "comprehensive_padding": False})
    optimizer = make_optimizer(model, recipe, device)
    checkpoint = out / f"{name}.checkpoint.pt"
    first, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, spent = saved["step"], saved["seconds"]
    loader = DataLoader(
        Batches(recipe, source),
        batch_size=None,
        sampler=range(first, recipe.steps),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        collate_fn=keep,
    )
    started = reported = saved_at = time.perf_counter()
    seen, losses, rights = 0, [], []
    loss_now = right_now = math.nan
    model.train()
    for step, batch in enumerate(loader, start=first):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss, right = weighted_loss(model, batch, device)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += batch.ids.size
        losses.append(loss.detach())
        rights.append(right)
        last = step + 1 == recipe.steps
        if last or (step + 1) % 50 == 0:
            loss_now, right_now = (torch.stack(values[-50:]).mean().item() for values in (losses, rights))
            losses, rights, now = [], [], time.perf_counter()
            rate = seen / (now - reported)
            left = (now - started) / (step + 1 - first) * (recipe.steps - step - 1)
            print(
                f"{name} step {step + 1}/{recipe.steps}  up to {recipe.stage(step).longest} tokens  loss {loss_now:.3f}  "
                f"answers right {right_now:.3f}  {rate:,.0f} tokens/s  {left:.0f} s left",
                flush=True,
            )
            reported, seen = now, 0
        if last or time.perf_counter() - saved_at > 60:
            saved_at = time.perf_counter()
            seconds = spent + saved_at - started
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "seconds": seconds,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            export(name, model, recipe, out / name, steps=step + 1, seconds=seconds, loss=loss_now, device=device)
    return model, loss_now, right_now


def keep(batch: Batch) -> Batch:
    return batch


def export(
    name: str,
    model: PreTrainedModel,
    recipe: Recipe,
    folder: Path,
    *,
    steps: int,
    seconds: float,
    loss: float,
    device: torch.device,
) -> None:
    """Write what `from_pretrained` takes: weights in bf16, configuration, tokenizer; and card.json with the facts."""
    stock = AutoModelForCausalLM.from_config(fresh_config(recipe), dtype=torch.float32)
    stock.load_state_dict({key: value.cpu() for key, value in model.state_dict().items()})
    stock.generation_config.do_sample = False
    stock.to(torch.bfloat16).save_pretrained(folder)
    shutil.copytree(TOKENIZER, folder, dirs_exist_ok=True)
    card = {
        "id": name,
        "architecture": type(stock).__name__,
        "parameters": sum(p.numel() for p in stock.parameters()),
        "steps": steps,
        "planned_steps": recipe.steps,
        "tokens_seen": sum(
            recipe.tokens_per_step // length * length
            for length in (batch_length(recipe, step) for step in range(steps))
        ),
        "seconds": round(seconds),
        "final_loss": round(loss, 4),
        "stages": [[stage.longest, stage.steps] for stage in recipe.stages],
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "dtype": "bfloat16",
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one model of the zoo.")
    parser.add_argument("model", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("var/zoo"), help="folder for the model and its checkpoint")
    parser.add_argument("--workers", type=int, default=6, help="processes that make data")
    parser.add_argument("--compile", action="store_true", help="torch.compile every layer")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.model]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(
        arguments.model,
        recipe,
        training_source(),
        arguments.out,
        device=device,
        workers=arguments.workers,
        compiled=arguments.compile,
    )


if __name__ == "__main__":
    main()
