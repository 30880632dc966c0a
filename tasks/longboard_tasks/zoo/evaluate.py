"""Measure a model of the zoo on `niah@1/single`, in the suite's own words, by greedy generation with the stock class.

    python -m longboard_tasks.zoo.evaluate FOLDER --samples 200

The seeds are held out: training never uses the suite's plan. Each length is a row of FOLDER/card.json, which says on what
hardware it was measured; measuring it again replaces the row.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from longboard_tasks.intervals import wilson
from longboard_tasks.prose import load_prose
from longboard_tasks.suites.niah.plan import NeedlePlan, plan_single
from longboard_tasks.suites.niah.scoring import string_match_all

LENGTHS = (256, 512, 1_024, 2_048, 4_096, 8_192, 16_384)
TASK = "niah@1/single"
HELD_OUT_SEED = 70_001
ANSWER_TOKENS = 12  # a space, 7 digits, and a little more
TOKENS_AT_ONCE = 65_536  # prompt tokens of one batch


def prompt(plan: NeedlePlan, tokenizer: Any, prose: list[int], length: int) -> list[int]:
    """bos, prose with the needle at its depth, question: exactly `length` tokens."""
    needle, question = (
        tokenizer.encode(text, add_special_tokens=False) for text in (f" {plan.needle} ", plan.question)
    )
    room = length - 1 - len(needle) - len(question)
    at = round(plan.depth * room)
    return [tokenizer.bos_token_id, *prose[:at], *needle, *prose[at:room], *question]


@torch.inference_mode()
def niah_accuracy(
    model: Any, tokenizer: Any, prose: list[int], *, length: int, samples: int, seed: int, at_once: int
) -> list[bool]:
    """For each sample, whether the answer contains the number. All prompts have one length, so nothing is padded."""
    plans = [plan_single(context_length=length, seed=seed, index=index) for index in range(samples)]
    rows = max(1, min(64, at_once // length))
    right = []
    for start in range(0, samples, rows):
        asked = plans[start : start + rows]
        ids = torch.tensor([prompt(plan, tokenizer, prose, length) for plan in asked], device=model.device)
        answers = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=ANSWER_TOKENS, do_sample=False
        )
        texts = tokenizer.batch_decode(answers[:, length:], skip_special_tokens=True)
        right += [string_match_all(text, [plan.target]) == 1 for text, plan in zip(texts, asked, strict=True)]
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a model of the zoo on niah@1/single.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=TOKENS_AT_ONCE, help="prompt tokens of one batch")
    arguments = parser.parse_args()
    logging.set_verbosity_error()  # or it says once per kernel that a slower form is used
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32  # bf16 is slower than fp32 on most processors
    model: Any = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=dtype)
    model.to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    prose = tokenizer.encode(load_prose().text, add_special_tokens=False)
    path = arguments.folder / "card.json"
    card = json.loads(path.read_text())
    rows = {row["context_length"]: row for row in card.get(TASK, [])}
    for length in arguments.lengths:
        started = time.perf_counter()
        asked = {"length": length, "samples": arguments.samples, "seed": HELD_OUT_SEED, "at_once": arguments.at_once}
        right = niah_accuracy(model, tokenizer, prose, **asked)
        share = sum(right) / len(right)
        low, high = wilson(share, len(right))
        rows[length] = {
            "context_length": length,
            "accuracy": round(share, 4),
            "ci_low": round(low, 4),
            "ci_high": round(high, 4),
            "n": len(right),
            "seed": HELD_OUT_SEED,
            "dtype": str(dtype).removeprefix("torch."),
            "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        }
        card[TASK] = [rows[key] for key in sorted(rows)]
        path.write_text(json.dumps(card, indent=2) + "\n")
        seconds = time.perf_counter() - started
        print(
            f"{length:6d} tokens  accuracy {share:.3f} [{low:.3f}, {high:.3f}]  n={len(right)}  {seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
