"""Long Range Arena on one GPU: are all mixers right there, how fast are they, and what do they learn on ListOps in one budget.

    python benchmarks/lra/run.py --out DIR --budget-s 560

In this order: every mixer against the CPU; the text classifier forward and in a training step at 1K to 16K; ListOps for the
mixers of --train, all with the same steps, batch and learning rate. What is wrong is neither timed nor trained. Files are whole
at any moment, finished parts are kept, and the same command again goes on where it was:

    check.json        errors of each mixer against the CPU
    efficiency.json   a row for each mixer, length and pass
    listops/NAME/     curve.jsonl, predictions.npy, outcome.json, and model.safetensors to go on from: weights and the
                      optimizer's moments, 100 MB and more. Bundles are made of the others, and of cache/listops@1-test-*.npz.
    report.md         the tables; --report-only writes it again and measures nothing

It ends by itself; exit status 1 if a mixer is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tasks"))
sys.path.insert(0, str(Path(__file__).parents[2] / "kernels"))

import torch

from longboard_tasks.engine.machine import report_hardware, report_software
from longboard_tasks.suites.lra.architectures import batch_of
from longboard_tasks.suites.lra.device_check import check_mixer
from longboard_tasks.suites.lra.efficiency import PASSES, measure_cells
from longboard_tasks.suites.lra.examples import open_examples
from longboard_tasks.suites.lra.mixers.registry import NAMES
from longboard_tasks.suites.lra.model import Architecture
from longboard_tasks.suites.lra.summary import seeds_interval
from longboard_tasks.suites.lra.tasks import RECIPES, SPEED, TASKS, Shape
from longboard_tasks.suites.lra.train import Data, Plan, train

LENGTHS = (1_024, 2_048, 3_072, 4_096, 8_192, 16_384)
TRAINED = (
    "softmax",
    "s4d",
    "linear",
    "mamba2",
    "gated_deltanet",
    "local",
    "retention",
    "performer",
    "longformer",
    "linformer",
)


def main() -> int:
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.report_only:
        report(arguments)
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    deadline = time.monotonic() + arguments.budget_s
    right = check(arguments, device)
    if "efficiency" in arguments.parts:
        share = 0.45 if "listops" in arguments.parts else 1.0
        measure(arguments, device, right, time.monotonic() + share * (deadline - time.monotonic()))
    if "listops" in arguments.parts:
        learn(arguments, device, right, deadline)
    report(arguments)
    return 0 if len(right) == len(arguments.mixers) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget-s", type=float, default=560)
    parser.add_argument("--parts", nargs="+", choices=("efficiency", "listops"), default=["efficiency", "listops"])
    parser.add_argument("--mixers", nargs="+", choices=NAMES, default=list(NAMES), help="those to check and to time")
    parser.add_argument(
        "--train", nargs="+", choices=NAMES, default=list(TRAINED), help="those to train, in this order"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--examples", type=int, nargs=3, default=(20_000, 1_000, 2_000), help="of ListOps")
    parser.add_argument(
        "--tiny", action="store_true", help="a toy for the CPU: shows that the command works, no figures"
    )
    parser.add_argument("--report-only", action="store_true", help="report.md of the files that are there")
    arguments = parser.parse_args()
    arguments.mixers = [name for name in NAMES if name in {*arguments.mixers, *arguments.train}]
    return arguments


def write(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def read_of_this_device(path: Path, device: torch.device) -> list[dict[str, Any]]:
    """The rows of an earlier call, unless another device made them: times of two devices do not stand in one table."""
    if not path.exists():
        return []
    made_on, here = json.loads(path.read_text())["hardware"]["device"], report_hardware(device).device
    if made_on != here:
        print(f"efficiency: the rows there are of {made_on}; this is {here}, so they are measured again", flush=True)
        return []
    return read(path)


def facts(device: torch.device) -> dict[str, Any]:
    return {
        "hardware": report_hardware(device).model_dump(mode="json"),
        "software": dict(report_software()),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check(arguments: argparse.Namespace, device: torch.device) -> set[str]:
    """The mixers that are right in every direction that they have. Checked again in every call: it takes seconds."""
    rows: list[dict[str, Any]] = []
    wrong: set[str] = set()
    for name in arguments.mixers:
        try:
            for verdict in check_mixer(name, device):
                rows.append({**asdict(verdict), "is_right": verdict.is_right})
                if not verdict.is_right:
                    wrong.add(name)
        except Exception as error:  # a kernel that does not build is a finding; the others go on
            rows.append({"mixer": name, "is_right": False, "failure": f"{type(error).__name__}: {str(error)[:300]}"})
            wrong.add(name)
        print(f"check {name}: {'WRONG ' + json.dumps(rows[-1]) if name in wrong else 'right'}", flush=True)
        write(arguments.out / "check.json", {**facts(device), "rows": rows})
    return set(arguments.mixers) - wrong


def measure(arguments: argparse.Namespace, device: torch.device, right: set[str], deadline: float) -> None:
    path = arguments.out / "efficiency.json"
    rows = read_of_this_device(path, device)
    have = {(row["mixer"], row["tokens"]) for row in rows}
    lengths = (64, 128) if arguments.tiny else LENGTHS
    shape = Shape(16, 2, 2, 16, 32, "class", 0.0) if arguments.tiny else None
    for tokens in lengths:  # all mixers at one length first: a table cut short is still comparable
        batch = 2 if arguments.tiny else batch_of(SPEED, tokens)
        for name in (name for name in arguments.mixers if name in right and (name, tokens) not in have):
            if time.monotonic() > deadline:
                print(f"efficiency: out of time before {name} at {tokens}", flush=True)
                return
            try:
                cells = measure_cells(
                    Architecture(name), tokens=tokens, batch=batch, device=device, shape=shape, seconds=2
                )
            except Exception as error:  # as above
                rows.append({"mixer": name, "tokens": tokens, "batch": batch, "what": "", "failure": str(error)[:300]})
            else:
                rows += [{key: none_for_nan(value) for key, value in asdict(cell).items()} for cell in cells]
            write(path, {**facts(device), "rows": rows})
            told = ", ".join(
                f"{row['what']} {cell(row, None)}" for row in rows if (row["mixer"], row["tokens"]) == (name, tokens)
            )
            print(f"efficiency {name} {tokens} x {batch}: {told}  {deadline - time.monotonic():.0f} s left", flush=True)


def none_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def learn(arguments: argparse.Namespace, device: torch.device, right: set[str], deadline: float) -> None:
    toy = RECIPES["listops_smoke"]
    counts = toy.examples if arguments.tiny else arguments.examples
    steps = toy.budget.steps if arguments.tiny else arguments.steps
    print(f"listops: making {sum(counts)} expressions", flush=True)
    parts = [
        open_examples("listops", split, count=count, cache=arguments.out / "cache", processes=os.cpu_count() or 1)
        for split, count in zip(("train", "validation", "test"), counts, strict=True)
    ]
    budget = (
        toy.budget if arguments.tiny else replace(TASKS["listops"].budget, steps=steps, warm_up=steps // 10, batch=32)
    )
    for seed in range(arguments.seeds):
        for name in (name for name in arguments.train if name in right):
            left = deadline - time.monotonic()
            plan = Plan(
                "listops", Architecture(name), seed, budget, evaluate_every=max(2, steps // 6),
                shape=toy.shape if arguments.tiny else None,
            )  # fmt: skip
            if is_done(arguments.out / "listops" / plan.name):
                continue
            if left < 20:
                print(f"listops: out of time before {plan.name}", flush=True)
                return
            try:
                train(plan, Data(*parts), arguments.out / "listops", device=device, seconds=left - 15, say=tell)
            except Exception as error:  # the others go on
                print(f"listops {plan.name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            report(arguments)


def is_done(folder: Path) -> bool:
    path = folder / "outcome.json"
    return path.exists() and json.loads(path.read_text())["stopped"] != "time"


def tell(line: str) -> None:
    print(line, flush=True)


def report(arguments: argparse.Namespace) -> None:
    lines = ["# Long Range Arena: what was measured", ""]
    path = arguments.out / "efficiency.json"
    if path.exists():
        found = json.loads(path.read_text())
        day = f", {found['measured_at'][:10]}" if "measured_at" in found else ""
        lines += [f"{found['hardware']['device']}{day}, PyTorch {found['software']['torch']}.", ""]
    rows = [row for row in read(path) if row["what"]]
    for what in PASSES:
        mine = [row for row in rows if row["what"] == what]
        lengths = sorted({row["tokens"] for row in mine})
        if not mine:
            continue
        base = {row["tokens"]: row["ms"] for row in mine if row["mixer"] == "softmax" and row["ms"]}
        lines += [f"## Text classifier, {what}: ms a batch (times softmax's speed; GiB at the peak)", ""]
        lines += [f"| mixer | parameters | {' | '.join(map(str, lengths))} |", "|---" * (2 + len(lengths)) + "|"]
        for name in dict.fromkeys(row["mixer"] for row in mine):
            own = {row["tokens"]: row for row in mine if row["mixer"] == name}
            size = max(row["parameters"] for row in own.values())
            cells = [cell(own.get(tokens), base.get(tokens)) for tokens in lengths]
            lines.append(f"| {name} | {size:,} | {' | '.join(cells)} |")
        lines.append("")
    outcomes = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("listops/*/outcome.json"))]
    if outcomes:
        lines += ["## ListOps, one reduced budget", ""]
        lines += ["| mixer | accuracy (95 %) | seeds | steps | tokens/s | GiB | parameters | |", "|---" * 8 + "|"]
    for name in dict.fromkeys(outcome["plan"]["architecture"]["mixer"] for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome["plan"]["architecture"]["mixer"] == name]
        whole = [outcome for outcome in own if outcome["stopped"] != "time"]
        value, low, high = seeds_interval([outcome["accuracy"] for outcome in whole or own], own[0]["n"])
        rate = sum(outcome["train_tokens_per_s"] for outcome in own) / len(own)
        peak = max(outcome["peak_memory_bytes"] for outcome in own) / 2**30
        note = "" if whole else "unfinished: not comparable"
        lines.append(
            f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) | {len(whole or own)} | {own[0]['steps']} | {rate:,.0f} | "
            f"{peak:.1f} | {own[0]['parameters']:,} | {note} |"
        )
    part = arguments.out / "report.part"
    part.write_text("\n".join(lines) + "\n")
    part.replace(arguments.out / "report.md")


def cell(row: dict[str, Any] | None, softmax_ms: float | None) -> str:
    if row is None:
        return ""
    if row.get("ms") is None:
        return str(row["failure"])
    times = f"{softmax_ms / row['ms']:.2f}x; " if softmax_ms else ""
    return f"{row['ms']:.1f} ({times}{row['peak_memory_bytes'] / 2**30:.1f})"


if __name__ == "__main__":
    sys.exit(main())
