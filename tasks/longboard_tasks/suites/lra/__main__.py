"""Train one architecture on one task of Long Range Arena, and say how well it does.

    python -m longboard_tasks.suites.lra listops --mixer s4d --out var/lra --seeds 3
    python -m longboard_tasks.suites.lra image --files cifar-10-binary.tar.gz --mixer softmax --out var/lra
    python -m longboard_tasks.suites.lra text --stand-in 400 --steps 200 --batch 16 --mixer linear --out var/lra

The budget is the task's, the same for all mixers, unless --steps, --batch or --count change it: then compare only within one
budget. The same command again goes on where it was. Exit status 2 for what cannot be done.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.lra.examples import GENERATED, SPLITS, open_examples
from longboard_tasks.suites.lra.mixers.base import MixerError
from longboard_tasks.suites.lra.mixers.registry import NAMES
from longboard_tasks.suites.lra.model import Architecture
from longboard_tasks.suites.lra.stand_ins import MAKERS
from longboard_tasks.suites.lra.summary import seeds_interval
from longboard_tasks.suites.lra.tasks import TASKS, find_task
from longboard_tasks.suites.lra.train import Data, Outcome, Plan, train


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        outcomes = run(arguments)
    except (SuiteError, MixerError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 2
    whole = [outcome for outcome in outcomes if outcome.stopped != "time"]
    if not whole:
        print("Out of time: the same command goes on from here.")
        return 0
    value, low, high = seeds_interval([outcome.accuracy for outcome in whole], whole[0].n)
    task = find_task(arguments.task)
    note = "; a stand-in, not to be ranked" if whole[0].stand_in else ""
    note += "" if whole[0].within_budget else "; more or fewer parameters than the rule allows"
    print(
        f"{task.title}, {arguments.mixer}: accuracy {value:.4f} ({low:.4f} to {high:.4f}), {len(whole)} seeds, "
        f"n={whole[0].n}, chance {task.chance}{note}. Data: {task.licence}."
    )
    return 0


def run(arguments: argparse.Namespace) -> list[Outcome]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    task, files_at = find_task(arguments.task), arguments.files
    if arguments.stand_in and arguments.task not in GENERATED:
        files_at = arguments.out / f"stand-in-{arguments.task}-{arguments.stand_in}"
        if not files_at.exists():
            MAKERS[arguments.task](files_at, arguments.stand_in)
    counts = arguments.count or (None, None, None)
    data = Data(
        *(
            open_examples(
                arguments.task, split, count=count, files_at=files_at, cache=arguments.out / "cache",
                processes=os.cpu_count() or 1,
            )
            for split, count in zip(SPLITS, counts, strict=True)
        )
    )  # fmt: skip
    steps, batch = arguments.steps or task.budget.steps, arguments.batch or task.budget.batch
    warm_up = round(task.budget.warm_up * steps / task.budget.steps)
    budget = replace(task.budget, steps=steps, batch=batch, warm_up=warm_up)
    architecture = Architecture(arguments.mixer, arguments.causal)
    every = arguments.evaluate_every or max(1, steps // 20)
    outcomes = []
    for seed in range(arguments.seeds):
        plan = Plan(arguments.task, architecture, seed, budget, every, arguments.patience)
        outcomes.append(train(plan, data, arguments.out, device=device, seconds=arguments.seconds, say=tell))
    return outcomes


def tell(line: str) -> None:
    print(line, flush=True)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m longboard_tasks.suites.lra",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--mixer", choices=NAMES, required=True)
    parser.add_argument("--causal", action="store_true", help="read from left to right only")
    parser.add_argument("--out", type=Path, default=Path("var/lra"))
    parser.add_argument("--files", type=Path, help="the real files of text, retrieval or image")
    parser.add_argument(
        "--stand-in", type=int, default=0, metavar="N", help="generate N examples instead of real files"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--count", type=int, nargs=3, metavar=("TRAIN", "VALIDATION", "TEST"))
    parser.add_argument("--evaluate-every", type=int, help="steps; a twentieth of all without it")
    parser.add_argument("--patience", type=int, default=0, help="evaluations without a better accuracy; 0 for no limit")
    parser.add_argument("--seconds", type=float, default=math.inf, help="for each seed; stops saved as it is")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
