"""Whole models with random bf16 weights, stock and accelerated: prefill, decode, memory, and where Transformer and SSM cross.

    python benchmarks/kernels/models.py --out DIR [--shapes llama-1b mamba2-1b ...] [--lengths 1024 ...] [--budget-s 140]

Each shape runs in a process of its own on one of the GPUs in sight; DIR gets models.json, models.md and models.log, written anew
whenever a shape is done. Prefill is one pass over the prompt into the engine's cache, after a warm-up: wall time on the host and
the sum of kernel times from the profiler. Decode is milliseconds a token after such a prompt, eager and by one CUDA graph. A side
whose logits are not within the stated tolerance of the stock model is not timed. Needs transformers and pydantic.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tasks"), str(HERE.parents[1] / "kernels")]

SHAPES = ["mamba2-1b", "falcon-h1-1.5b", "mamba-1.4b", "llama-1b"]
LENGTHS = [1_024, 4_096, 16_384, 65_536, 131_072]
# What the stock code is asked for: beyond, its scans need minutes or more memory than the card has (docs/kernels.md).
STOCK_LIMIT = {"mamba-1.4b": 1_024, "mamba2-1b": 4_096, "falcon-h1-1.5b": 4_096}
DECODED = 16


class Report:
    def __init__(self, path: Path, budget_s: float) -> None:
        self.path, self.started, self.budget_s = path, time.perf_counter(), budget_s
        self.body: dict[str, Any] = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "checks": [],
            "rows": [],
        }

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.perf_counter() - self.started)

    def add(self, kind: str, row: dict[str, Any]) -> None:
        self.body[kind].append(row)
        self.path.write_text(json.dumps(self.body, indent=1) + "\n")
        print(json.dumps(row), flush=True)


def run_shape(shape: str, report: Report, lengths: list[int]) -> None:
    import torch
    from bench import describe_machine

    from longboard_tasks.contract import ModelRef, Runtime, SystemSpec
    from longboard_tasks.engine.kernels import use_kernels
    from longboard_tasks.engine.loading import load_system
    from longboard_tasks.engine.reader import open_reader

    report.body |= {"shape": shape, "machine": describe_machine()}
    system = SystemSpec(model=ModelRef(source="config", id=shape), runtime=Runtime(dtype="bfloat16"))
    loaded = load_system(system, device="cuda")
    torch.backends.cuda.enable_cudnn_sdp(True)  # as transformers alone would have it
    vocabulary = loaded.model.config.vocab_size
    prompt = torch.randint(0, vocabulary, (1, max(lengths)), generator=torch.Generator().manual_seed(0)).cuda()
    for side in ("stock", "ours"):
        if side == "ours":
            try:
                report.add("checks", {"shape": shape, "passed": True, **use_kernels(loaded)})
            except Exception as error:
                report.add("checks", {"shape": shape, "passed": False, "failed": str(error)[:400]})
                return
        reader = open_reader(loaded.model, mode="shared", chunk=2**30)
        for length in lengths:
            head = {"shape": shape, "side": side, "length": length}
            if side == "stock" and length > STOCK_LIMIT.get(shape, 2**30):
                report.add("rows", head | {"failed": "not asked of the stock code"})
            elif report.left_s < 12:
                report.add("rows", head | {"failed": "no time"})
            else:
                try:
                    report.add("rows", head | measure(reader, prompt[:, :length], report))
                except Exception as error:
                    report.add("rows", head | {"failed": f"{type(error).__name__}: {str(error)[:160]}"})
                torch.cuda.empty_cache()


def measure(reader: Any, ids: Any, report: Report) -> dict[str, Any]:
    """One row: prefill and decode of one prompt, [1, T] on the device."""
    import torch

    from longboard_tasks.engine.graph import decoding

    def prefill() -> Any:
        stream = reader.open(ids.shape[1] + 4 * DECODED)
        return stream, reader.read_last(stream, ids)

    def wall(work: Callable[[], Any]) -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - started)

    first = wall(prefill)  # with what compiles
    torch.cuda.reset_peak_memory_stats()
    times = [wall(prefill)]
    times += [wall(prefill) for _ in range(2 if times[0] < 3_000 else 0)]
    row: dict[str, Any] = {
        "first_prefill_ms": first, "prefill_ms": statistics.median(times), "peak_bytes": torch.cuda.max_memory_allocated(),
    }  # fmt: skip
    if times[0] < 3_000:
        row |= busy(prefill)
    stream, logits = prefill()
    tokens = logits.argmax(-1)[:, None]

    def eager() -> None:
        nonlocal tokens
        for _ in range(DECODED):
            tokens = reader.read(stream, tokens, 1)[:, -1].argmax(-1)[:, None]

    eager()
    row["decode_eager_ms"] = wall(eager) / DECODED
    with decoding(reader, stream, 2 * DECODED) as step:
        if step is not None:
            for number in range(2):
                step([int(tokens)], number)
            row["decode_graph_ms"] = wall(lambda: [step([int(tokens)], 0) for _ in range(DECODED)]) / DECODED
    return row


def busy(work: Callable[[], Any]) -> dict[str, Any]:
    """Sum of kernel times in ms of one call, and the six kernels with most of it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    spent: dict[str, float] = {}
    for event in seen.profiler.kineto_results.events():
        if "CUDA" in str(event.device_type()):
            spent[event.name()[:60]] = spent.get(event.name()[:60], 0.0) + event.duration_ns() / 1e6
    most = sorted(spent.items(), key=lambda item: -item[1])[:6]
    return {"prefill_gpu_ms": sum(spent.values()), "most": {name: round(ms, 3) for name, ms in most}}


def write_table(parts: list[dict[str, Any]], path: Path) -> None:
    lines = [
        "| model | length | prefill GPU ms, stock | ours | ratio "
        "| decode ms, stock eager | stock graph | ours graph | peak GiB, stock | ours |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = {(r["shape"], r["length"], r["side"]): r for part in parts for r in part["rows"]}
    for shape, length in dict.fromkeys(key[:2] for key in rows):
        stock, ours = rows.get((shape, length, "stock"), {}), rows.get((shape, length, "ours"), {})

        def show(row: dict[str, Any], name: str, scale: float = 1.0) -> str:
            return (
                f"{row[name] / scale:.4g}"
                if name in row
                else row.get("failed", "-")[:40]
                if name.endswith("gpu_ms")
                else "-"
            )

        both = "prefill_gpu_ms" in stock and "prefill_gpu_ms" in ours
        ratio = f"{stock['prefill_gpu_ms'] / ours['prefill_gpu_ms']:.2f}x" if both else ""
        prefill = [show(stock, "prefill_gpu_ms"), show(ours, "prefill_gpu_ms"), ratio]
        decode = [show(stock, "decode_eager_ms"), show(stock, "decode_graph_ms"), show(ours, "decode_graph_ms")]
        cells = [shape, str(length), *prefill, *decode, *(show(row, "peak_bytes", 2**30) for row in (stock, ours))]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for other in ("mamba2-1b", "mamba-1.4b"):
        for base in ("stock", "ours"):
            at = find_crossover(rows, "llama-1b", base, other)
            lines.append(f"Prefill: llama-1b ({base}) and {other} (ours) take equal GPU time at {at}.  ")
    if parts:
        machine = parts[0]["machine"]
        lines += [
            "",
            f"One {machine['device']} a model, torch {machine['torch']}, random bf16 weights, {parts[0]['measured_at'][:10]}.",
        ]
    path.write_text("\n".join(lines) + "\n")


def find_crossover(rows: dict[Any, dict[str, Any]], a: str, side: str, b: str) -> str:
    """Where a stops being the faster one: interpolated in log length and log time; words where it never is, or always."""
    points = []
    for length in sorted({key[1] for key in rows}):
        one, two = rows.get((a, length, side), {}), rows.get((b, length, "ours"), {})
        if "prefill_gpu_ms" in one and "prefill_gpu_ms" in two:
            points.append((math.log(length), math.log(one["prefill_gpu_ms"] / two["prefill_gpu_ms"])))
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 < 0 <= y1:
            return f"{math.exp(x0 - y0 * (x1 - x0) / (y1 - y0)):,.0f} tokens"
    return "no measured length" if points else "lengths that were not measured"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--budget-s", type=float, default=600)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.child:
        run_shape(args.child, Report(args.out / f"{args.child}.json", args.budget_s), args.lengths)
        return
    with tempfile.TemporaryDirectory() as folder:
        spread(args, Path(folder))
    print((args.out / "models.md").read_text())


def spread(args: argparse.Namespace, parts: Path) -> None:
    from run import list_gpus

    started, waiting, running = time.perf_counter(), list(args.shapes), {}
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = shown.split(",") if shown else list_gpus()
    while waiting or running:
        left = args.budget_s - (time.perf_counter() - started)
        for gpu in [g for g in gpus if g not in running and waiting]:
            name, share = waiting[0], left / -(-len(waiting) // len(gpus)) - 4
            waiting.pop(0)
            command = [
                sys.executable,
                str(HERE / "models.py"),
                "--out",
                str(parts),
                "--child",
                name,
                "--budget-s",
                f"{share:.0f}",
            ]
            log = (parts / f"{name}.log").open("w")
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
            running[gpu] = (
                name,
                subprocess.Popen(
                    [*command, "--lengths", *map(str, args.lengths)], env=environment, stdout=log, stderr=log
                ),
            )
        for gpu, (name, child) in list(running.items()):
            if child.poll() is None and left < 0:
                child.kill()
                child.wait()
            if child.poll() is not None:
                print(f"{time.perf_counter() - started:5.0f} s  {name} ended with {child.returncode}", flush=True)
                del running[gpu]
                found = [json.loads(p.read_text()) for s in SHAPES if (p := parts / f"{s}.json").exists()]
                (args.out / "models.json").write_text(json.dumps(found, indent=1) + "\n")
                (args.out / "models.log").write_text(
                    "".join(f"== {p.stem}\n{p.read_text()}" for p in sorted(parts.glob("*.log")))
                )
                write_table(found, args.out / "models.md")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
