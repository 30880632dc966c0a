"""Wall time and CPU time of long-prompt workloads: our engine shared, unshared, and lm-eval's own HFLM, side by side.

    python benchmarks/engine/speed.py [--models llama mamba2] [--repeats 3] [--out benchmarks/engine/results]

Same model object, same prompts, same box, one thread, sides taking turns. Before anything is stated, the answers of the shared
run must equal those of the unshared run exactly; how many equal HFLM's is counted (its cuts differ, so a tie may fall the other
way). Random weights of the reference zoo's size, byte tokenizer, fp32.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from setup import build_random, choices, grid, probes, summarise, write_result

from longboard_tasks.engine.engine import open_engine
from longboard_tasks.engine.lm import LongContextLM

NEW_TOKENS = 16
WANTED = {  # at least so many times HFLM's speed (llama, mamba2)
    "25 questions on one haystack of 4,096": (15.0, 8.0),
    "4 choices of 16 tokens after 4,096": (3.0, 3.0),
    "10 depths x 2 needles in 3,072": (1.4, 1.7),
}


def make_requests() -> dict[str, tuple[str, list[Instance]]]:
    settings = {"until": [], "max_gen_toks": NEW_TOKENS, "do_sample": False}

    def generate(prompts: list[str]) -> tuple[str, list[Instance]]:
        made = [Instance("generate_until", {}, (p, dict(settings)), 0, ("t", i, 1)) for i, p in enumerate(prompts)]
        return "generate_until", made

    pairs = choices(context=4_096, count=4, length=16)
    scored = [Instance("loglikelihood", {}, pair, i, ("t", i, 1)) for i, pair in enumerate(pairs)]
    workloads = (
        generate(probes(context=4_096, count=25)),
        ("loglikelihood", scored),
        generate(grid(context=3_072, depths=10, needles=2)),
    )
    return dict(zip(WANTED, workloads, strict=True))


def compare(name: str, repeats: int) -> Iterator[dict[str, Any]]:
    loaded = build_random(name)
    shared, alone = open_engine(loaded, chunk=512), open_engine(loaded, chunk=512, share=False)
    sides: dict[str, Any] = {
        "shared": LongContextLM(shared),
        "unshared": LongContextLM(alone),
        "hflm": HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1, max_length=16_384),
    }
    for workload, (kind, requests) in make_requests().items():
        wall: dict[str, list[float]] = {side: [] for side in sides}
        cpu: dict[str, list[float]] = {side: [] for side in sides}
        answers: dict[str, Any] = {}
        for repeat in range(repeats):
            for side, lm in sides.items():
                if repeat and side == "unshared":
                    continue  # it shows that nothing changes; once is enough
                work: Callable[..., Any] = getattr(lm, kind)
                started, began = time.perf_counter(), time.process_time()
                answers[side] = work(requests, disable_tqdm=True)
                wall[side].append(time.perf_counter() - started)
                cpu[side].append(time.process_time() - began)
                print(f"{name} | {workload} | {side}: {wall[side][-1]:.2f} s, CPU {cpu[side][-1]:.2f} s", flush=True)
        if answers["shared"] != answers["unshared"]:
            raise SystemExit(f"{name}, {workload}: shared and unshared answers differ. No speed is stated.")
        flags = (
            [a[1] for a in answers["shared"]] == [a[1] for a in answers["hflm"]] if kind == "loglikelihood" else True
        )
        same = (
            len(requests) * flags
            if kind == "loglikelihood"
            else sum(a == b for a, b in zip(answers["shared"], answers["hflm"], strict=True))
        )
        pairs = list(zip(cpu["hflm"], cpu["shared"], strict=True))
        yield {
            "model": name,
            "workload": workload,
            "requests": len(requests),
            "wall": {side: summarise(seconds) for side, seconds in wall.items()},
            "cpu": {side: summarise(seconds) for side, seconds in cpu.items()},
            "ratio_wall": median(wall["hflm"]) / median(wall["shared"]),
            "ratio_cpu": median(a / b for a, b in pairs),
            "ratio_cpu_range": [min(a / b for a, b in pairs), max(a / b for a, b in pairs)],
            "ratio_cpu_unshared": median(cpu["unshared"]) / median(cpu["shared"]),
            "wanted": WANTED[workload][name == "mamba2"],
            "answers_equal_to_hflm": same,
            "shared_equals_unshared": True,
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=["llama", "mamba2"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = []
    for name in args.models:
        for row in compare(name, args.repeats):
            rows.append(row)
            write_table(rows, args)  # after each: a run that is cut short leaves what it had


def write_table(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    table = [
        "| model | workload | HFLM | unshared | shared | times HFLM (CPU; range) | wall | wanted | equal answers |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        seconds = [f"{row['cpu'][side]['median_s']:.1f} s" for side in ("hflm", "unshared", "shared")]
        low, high = row["ratio_cpu_range"]
        cells = [
            row["model"], row["workload"], *seconds, f"{row['ratio_cpu']:.1f}x ({low:.1f} to {high:.1f})",
            f"{row['ratio_wall']:.1f}x", f"{row['wanted']:.1f}x", f"{row['answers_equal_to_hflm']}/{row['requests']}",
        ]  # fmt: skip
        table.append(f"| {' | '.join(cells)} |")
    table += [
        "",
        f"CPU seconds of the process (wall time on a shared box is its neighbours' too), {args.threads} thread, medians of "
        f"{args.repeats}, unshared once; batch 1. Shared and unshared answers are identical.",
    ]
    write_result("speed", {"rows": rows, "threads": args.threads, "repeats": args.repeats}, table, args.out)


if __name__ == "__main__":
    main()
