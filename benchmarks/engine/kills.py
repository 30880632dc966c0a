"""Fifty random SIGKILLs over one run: what is lost, and whether the end is the same.

    python benchmarks/engine/kills.py [--kills 50] [--out benchmarks/engine/results]

A child process evaluates niah@1 on a random model in blocks of 4 samples and is killed at a random moment, 1 to 12 samples
on; the next child goes on in the same folder. At the end the journal and the bundle (measurements and samples) must have the
bytes of an undisturbed run. What a killed child had told beyond the last whole block is lost and computed again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch
from setup import build_random, write_result

from longboard_tasks import evaluate as evaluation
from longboard_tasks.contract import ModelRef, Progress, ResultBundle, RunSpec, SystemSpec
from longboard_tasks.engine.journal import read_prompts

BLOCK, SAMPLES, LENGTH = 4, 500, 300


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    evaluation.BLOCK = BLOCK
    rng, root = random.Random(0), Path(tempfile.mkdtemp())
    loaded = build_random("llama")
    loaded.model.save_pretrained(root / "models/llama")
    loaded.tokenizer.save_pretrained(root / "models/llama")
    spec = RunSpec(
        run_id="kills", system=SystemSpec(model=ModelRef(source="upload", id="llama")), suite="niah", suite_version=1,
        tasks=("single",), context_length=LENGTH, samples=SAMPLES, seed=0,
    )  # fmt: skip
    system = evaluation.open_system(spec.system, models_dir=root / "models")
    whole = evaluation.evaluate(spec, work_dir=root / "whole", system=system)

    def run_child() -> int:
        """Forked, so that imports and loading are not what is killed; it tells its progress through a file."""
        child = os.fork()
        if child:
            return child
        told = (root / "progress").open("w", buffering=1)

        def tell(progress: Progress) -> None:
            print(progress.done, file=told)

        bundle = evaluation.evaluate(spec, work_dir=root / "cut", system=system, on_progress=tell)
        (root / "bundle.json").write_text(bundle.model_dump_json())
        os._exit(0)

    kills, recomputed, kept = 0, [], 0
    while kills < args.kills:
        (root / "progress").write_text("")
        child = run_child()
        # After so many of its samples and a moment more: early or late in a block, or while one is being written.
        until = rng.randrange(1, 3 * BLOCK)
        while len((root / "progress").read_text().split()) <= until:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if (root / "bundle.json").exists():
            raise SystemExit(f"The run ended after {kills} kills: make it longer.")
        kills += 1
        told = [int(line) for line in (root / "progress").read_text().split()]
        kept = len(list(read_prompts(root / "cut/journal.jsonl"))) if (root / "cut/journal.jsonl").exists() else 0
        recomputed.append(max(told, default=0) - kept if told else 0)
    os.waitpid(run_child(), 0)
    ended = ResultBundle.model_validate_json((root / "bundle.json").read_text())
    same = (ended.measurements, ended.samples) == (whole.measurements, whole.samples)
    same_journal = (root / "cut/journal.jsonl").read_bytes() == (root / "whole/journal.jsonl").read_bytes()
    worst = max(recomputed)
    body = {
        "kills": kills, "samples": SAMPLES, "block": BLOCK, "kept_at_last_kill": kept, "most_samples_lost_by_a_kill": worst,
        "samples_lost": sum(recomputed), "bundles_identical": same, "journals_identical": same_journal,
    }  # fmt: skip
    table = [
        "| what | value |",
        "|---|---:|",
        *[f"| {key.replace('_', ' ')} | {value} |" for key, value in body.items()],
    ]
    write_result("kills", body, table, args.out)
    if not (same and same_journal and worst <= BLOCK):
        raise SystemExit("A kill changed the result, or cost more than one block.")


if __name__ == "__main__":
    main()
