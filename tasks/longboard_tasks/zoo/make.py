"""Make the whole zoo on the GPUs at hand: batches once, all trainings side by side, then all evaluations.

    python -m longboard_tasks.zoo.make train --out DIR             # minutes on two H100
    python -m longboard_tasks.zoo.make evaluate --out DIR          # of the models in DIR, which it copies to zoo/weights first

Models share cards, so a card's tokens/s are a lower bound. Speed is measured last, one model a card at a time. Every step
keeps what it finished: the same command again goes on from there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

import torch

from longboard_tasks.zoo.registry import WEIGHTS

# Taken in turns by the cards, so that each has cheap and dear ones.
ORDER = ("llama-3m", "mistral-window-3m", "qwen-delta-3m", "granite-hybrid-3m", "mamba-3m", "mamba2-3m")


def start(log: Path, gpu: int | None, *words: str) -> subprocess.Popen[bytes]:
    """One of our modules as a process on one card, its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    if gpu is not None:  # the number among those that this process may use
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 (our own command, no shell)
            [sys.executable, "-u", "-m", *words], stdout=out, stderr=subprocess.STDOUT, env=environment
        )


def watch(
    processes: dict[str, tuple[subprocess.Popen[bytes], Path]], *, limit_s: float = float("inf"), every_s: float = 20.0
) -> dict[str, int]:
    """The last line of every log now and then, until all have ended or were ended at the limit; their exit codes."""
    deadline = time.monotonic() + limit_s
    while True:
        running = [name for name, (process, _) in processes.items() if process.poll() is None]
        for name, (process, log) in processes.items():
            lines = log.read_text(errors="replace").strip().splitlines()
            print(f"[{name}: {'runs' if name in running else process.returncode}] {lines[-1][:150] if lines else ''}")
        print(flush=True)
        if not running:
            return {name: process.returncode for name, (process, _) in processes.items()}
        wait_until = min(deadline, time.monotonic() + every_s)
        while time.monotonic() < wait_until and any(processes[name][0].poll() is None for name in running):
            time.sleep(0.5)
        if time.monotonic() >= deadline:
            for name in running:
                processes[name][0].kill()  # each result is a file of its own, written whole
                processes[name][0].wait()


def train_all(arguments: argparse.Namespace, gpus: int) -> dict[str, int]:
    logs, shelf = arguments.out / "logs", arguments.out / "shelf"
    steps = ("--steps", str(arguments.steps)) if arguments.steps else ()
    makers = ("--workers", str(arguments.makers))
    processes = {
        "shelf": (
            start(logs / "shelf.log", None, "longboard_tasks.zoo.shelf", str(shelf), *makers, *steps),
            logs / "shelf.log",
        )
    }
    for number, model in enumerate(arguments.models):
        log = logs / f"{model}.log"
        words = (
            "--shelf",
            str(shelf),
            "--out",
            str(arguments.out),
            "--seconds",
            str(arguments.seconds),
            "--workers",
            "2",
        )
        gpu = number % gpus if gpus else None
        processes[model] = (start(log, gpu, "longboard_tasks.zoo.train", model, *words, *steps), log)
    return watch(processes)


def evaluate_all(arguments: argparse.Namespace, gpus: int) -> dict[str, int]:
    """Accuracy of all at once, then speed: in each queue one model after the other, so that a card has one at a time."""
    for model in arguments.models:
        if (arguments.out / model).is_dir():
            shutil.copytree(arguments.out / model, WEIGHTS / model, dirs_exist_ok=True)
    bundles, began = ("--out", str(arguments.out / "bundles")), time.monotonic()
    lengths = ("--lengths", *map(str, arguments.lengths)) if arguments.lengths else ()
    speeds = [str(length) for length in arguments.speed_lengths]
    processes = {}
    for number, model in enumerate(arguments.models):
        log = arguments.out / "logs" / f"{model}.accuracy.log"
        words = [model, *bundles, *lengths, "--seconds", str(arguments.seconds)]
        gpu = number % gpus if gpus else None
        processes[model] = (start(log, gpu, "longboard_tasks.zoo.evaluate", *words), log)
    codes = watch(processes, limit_s=arguments.seconds)
    print(f"accuracy in {time.monotonic() - began:.0f} s", flush=True)

    waiting, deadline = Queue[str](), time.monotonic() + arguments.speed_seconds
    for model in reversed(arguments.models):  # the slowest first
        waiting.put(model)

    def one_card(gpu: int) -> None:
        with suppress(Empty):
            while True:
                model = waiting.get_nowait()
                log = arguments.out / "logs" / f"{model}.speed.log"
                words = (model, *bundles, "--lengths", *speeds, "--suites", "efficiency")
                process = start(log, gpu if gpus else None, "longboard_tasks.zoo.evaluate", *words)
                try:
                    codes[f"{model} speed"] = process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    codes[f"{model} speed"] = process.wait()

    with ThreadPoolExecutor() as cards:
        list(cards.map(one_card, range(max(gpus, 1))))
    return codes


def main() -> int:
    parser = argparse.ArgumentParser(description="Train and measure all models of the zoo.")
    parser.add_argument("what", choices=["train", "evaluate"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=ORDER, choices=ORDER)
    parser.add_argument("--steps", type=int, help="stop the plan short: a trial")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="for each training, or each model's accuracy"
    )
    parser.add_argument("--speed-seconds", type=float, default=float("inf"), help="for speed")
    parser.add_argument("--lengths", type=int, nargs="+")
    parser.add_argument("--speed-lengths", type=int, nargs="+", default=(512, 2_048, 4_096, 16_384))
    parser.add_argument(
        "--makers", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="processes that make batches"
    )
    arguments = parser.parse_args()
    gpus = torch.cuda.device_count()
    codes = train_all(arguments, gpus) if arguments.what == "train" else evaluate_all(arguments, gpus)
    print(codes, flush=True)
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
