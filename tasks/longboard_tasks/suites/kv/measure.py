"""Every Method on random weights of public shapes: TTFT, TPOT, bytes held and peak memory at long contexts, as bundles.

    python -m longboard_tasks.suites.kv.measure --out DIR --budget-s 140          # all GPUs at hand; on none, the CPU

First the methods are checked on the device against the CPU; if they disagree nothing is timed. Then cells (shape, length, method,
budget) are taken from one queue by a process a device, short ones first. Each cell is one bundle of `efficiency@1/generate`,
DIR/bundles/SHAPE/*.json, on disk as soon as it exists; `python -m longboard_tasks.baselines.pack` signs them. It ends by
itself: a cell that is expected to last beyond the budget is not begun, and DIR/summary.json says which these are, DIR/summary.md
holds the tables.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import torch

from longboard_tasks.contract import Measurement, MethodRef, ModelRef, ResultBundle, RunSpec, Runtime, SystemSpec
from longboard_tasks.engine.engine import Counters, Engine, is_out_of_memory
from longboard_tasks.engine.loading import DTYPES, LoadedModel, load_system
from longboard_tasks.engine.memory_model import measure_memory
from longboard_tasks.engine.methods import LooksAtModel, build_method
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.selftest import SelfTest
from longboard_tasks.engine.trie import Schedule
from longboard_tasks.evaluate import OpenSystem, make_manifest
from longboard_tasks.intervals import median_interval
from longboard_tasks.suites.efficiency.generate import STEPS, Repeat, draw_prompt, run_once
from longboard_tasks.suites.kv.cells import WHOLE_MATRIX, Cell, Outcome, line_of, plan_cells, table_of
from longboard_tasks.suites.kv.check import check_device, sums_by
from longboard_tasks.suites.segments import prose_ids

# Rough, and only to decide what is still begun: their prefill against a plain one (in blocks), and how a prefill grows.
SLOWER, GROWTH = 5.0, 1.6


class Bench:
    """One device: keeps the last shape loaded, measures cells on it."""

    def __init__(self, out: Path, device: str, paces: Any, *, dtype: str, chunk: int, repeats: int) -> None:
        self.out, self.device, self.dtype, self.chunk, self.repeats = out, device, dtype, chunk, repeats
        self.paces = paces  # of all processes: shape -> (length, seconds of its plain prefill)
        self.loaded: LoadedModel | None = None
        self.shape = ""
        self.warm: set[str] = set()  # methods that have run on this shape

    def expect_s(self, cell: Cell) -> float:
        """Seconds of a cell, from the last plain prefill of its shape; 0 where nothing is known."""
        if cell.shape not in self.paces:
            return 0.0
        length, seconds = self.paces[cell.shape]
        plain = seconds * (cell.context_length / length) ** GROWTH
        return float(plain * (SLOWER if cell.method in WHOLE_MATRIX else 1.3))

    def measure(self, cell: Cell) -> tuple[dict[str, list[float]], Repeat]:
        """Values a metric, one a repeat, and the last repeat. Writes the bundle."""
        spec = self._spec(cell)
        engine = self._open(cell, spec)
        started_at, clock = datetime.now(UTC), time.perf_counter()
        prose = prose_ids(engine.loaded.tokenizer)
        rng = random.Random(f"kv/measure@1:{cell.context_length}")
        repeats = self.repeats if cell.context_length <= 65_536 else 1
        try:
            done = [run_once(engine, draw_prompt(prose, cell.context_length, rng)) for _ in range(repeats)]
        finally:
            if isinstance(engine.method, LooksAtModel):
                engine.method.detach()
        if cell.method == "none":
            self.paces[cell.shape] = (cell.context_length, done[-1].first_token_s)
        values = {
            "ttft_ms": [r.first_token_s * 1_000 for r in done],
            "tpot_ms": [r.decode_s / STEPS * 1_000 for r in done],
            "prefill_tokens_per_s": [r.tokens / r.first_token_s for r in done],
            "decode_tokens_per_s": [STEPS / r.decode_s for r in done],
            "peak_memory_bytes": [float(r.peak_bytes) for r in done],
            "cache_bytes": [float(r.cache_bytes) for r in done],
        }
        bundle = self._bundle(cell, spec, engine, values, started_at, time.perf_counter() - clock)
        path = self.out / "bundles" / cell.shape / f"{cell.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, bundle.model_dump_json())
        return values, done[-1]

    def _spec(self, cell: Cell) -> SystemSpec:
        return SystemSpec(
            model=ModelRef(source="config", id=cell.shape),
            method=MethodRef(name=cell.method, budget=cell.budget),
            runtime=Runtime.model_validate({"dtype": self.dtype}),
        )

    def _open(self, cell: Cell, spec: SystemSpec) -> Engine:
        if self.loaded is None or self.shape != cell.shape:
            self.loaded = None
            if self.device != "cpu":
                torch.cuda.empty_cache()
            self.loaded, self.shape = load_system(spec, device=self.device), cell.shape
            self.warm.clear()
        method = build_method(spec.method)
        if isinstance(method, LooksAtModel):
            method.attach(self.loaded.model)
        engine = self._engine(method)
        if cell.method not in self.warm:
            self._warm_up(engine)
            self.warm.add(cell.method)
        return engine

    def _warm_up(self, engine: Engine) -> None:
        """Libraries load, and methods compile, their kernels with the first passes: none of that is a cell's TTFT."""
        ids = draw_prompt(prose_ids(engine.loaded.tokenizer), min(2 * self.chunk, 8_192), random.Random(0))
        run_once(engine, ids, steps=4)

    def _engine(self, method: Any) -> Engine:
        loaded = self.loaded
        if loaded is None:
            raise RuntimeError("no shape is loaded")
        reader = open_reader(loaded.model, chunk=self.chunk)
        reason = "given with the command; this architecture is tested on the CPU with the same libraries"
        return Engine(
            loaded=loaded,
            reader=reader,
            self_test=SelfTest("shared", reason, 0.0, 0.0),
            schedule=Schedule(chunk=self.chunk, rows=1),
            memory=measure_memory(reader, loaded.weights_bytes),
            method=method,
            counters=Counters(),
        )

    def _bundle(
        self, cell: Cell, spec: SystemSpec, engine: Engine, values: dict[str, list[float]], started_at: datetime, wall_s: float
    ) -> ResultBundle:  # fmt: skip
        key = f"longboard:kv:{started_at.isoformat()}:{spec.digest}:{cell.context_length}"
        units = {"ttft_ms": "ms", "tpot_ms": "ms", "peak_memory_bytes": "bytes", "cache_bytes": "bytes"}
        rows = []
        for metric, numbers in values.items():
            value, low, high = median_interval(numbers)
            rows.append(
                Measurement.model_validate(
                    {
                        "task": "generate", "metric": metric, "context_length": cell.context_length, "value": value,
                        "ci_low": low, "ci_high": high, "n": len(numbers), "unit": units.get(metric, "tokens/s"),
                    }
                )
            )  # fmt: skip
        manifest = make_manifest(OpenSystem(spec, engine.loaded, engine), started_at=started_at, wall_s=wall_s)
        return ResultBundle(
            run=RunSpec(
                run_id=str(uuid5(NAMESPACE_URL, key)), system=spec, suite="efficiency", suite_version=1,
                tasks=("generate",), context_length=cell.context_length, samples=len(values["ttft_ms"]), seed=0,
            ),
            attempt_id=str(uuid5(NAMESPACE_URL, f"{key}:attempt")),
            fence=1,
            measurements=tuple(rows),
            manifest=manifest,
        )  # fmt: skip


def write_whole(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of one."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def take_cells(
    number: int, device: str, cells: Any, outcomes: Any, paces: Any, out: Path, ends: float, options: dict[str, Any]
) -> None:
    """One process: check, then cells until the queue is empty or the time is over. `ends` is on the wall clock."""
    if device != "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number)  # before this process touches CUDA
    else:
        torch.set_num_threads(1)
    began = time.perf_counter()
    faults = check_device(device)
    ways = [sums_by(device, DTYPES[options["dtype"]], size) for size in (64, 128)]
    text = f"{faults or 'passed'}, attention summed by {' and '.join(ways)}"
    print(f"[{device} {number}] check: {text} ({time.perf_counter() - began:.1f} s)", flush=True)
    if faults:
        outcomes.put(("faults", number, faults))
        return
    bench = Bench(out, device, paces, **options)
    while True:
        try:
            cell = cells.get(timeout=0.2)
        except queue.Empty:
            break
        if time.time() + bench.expect_s(cell) > ends:
            outcomes.put(("outcome", number, Outcome(cell, number, failure="no time left")))
            continue
        outcome = Outcome(cell, number)
        try:
            values, last = bench.measure(cell)
            outcome.values = {metric: median_interval(numbers)[0] for metric, numbers in values.items()}
            outcome.n, outcome.compress_ms = len(values["ttft_ms"]), last.compress_s * 1_000
        except Exception as error:  # the cells that follow still count
            kind = "out of memory" if is_out_of_memory(error) else type(error).__name__
            outcome.failure = f"{kind}: {' '.join(str(error).split())[:300]}"
            error.__traceback__ = None
            if device != "cpu":
                torch.cuda.empty_cache()
        print(f"[{device} {number}] {line_of(outcome)}", flush=True)
        outcomes.put(("outcome", number, outcome))


def collect(processes: Sequence[Any], outcomes: Any, ends: float) -> Iterator[tuple[str, int, Any]]:
    """What the processes report, until all have ended; those that outlive the time by 15 s are ended."""
    while True:
        try:
            yield outcomes.get(timeout=0.5)
        except queue.Empty:
            if not any(process.is_alive() for process in processes):
                return
            if time.time() > ends + 15:
                for process in processes:
                    process.terminate()
                return


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure every Method on random weights.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget-s", type=float, default=140.0)
    parser.add_argument("--shapes", default="llama-1b,llama-8b")
    parser.add_argument("--lengths", default="32768,131072")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--chunk", type=int, default=4_096)
    parser.add_argument("--repeats", type=int, default=2, help="of a cell up to 64K tokens; one beyond")
    asked = parser.parse_args(arguments)
    ends = time.time() + asked.budget_s
    devices = torch.cuda.device_count()
    context = multiprocessing.get_context("spawn")
    cells, outcomes, paces = context.Queue(), context.Queue(), context.Manager().dict()
    planned = plan_cells(asked.shapes.split(","), [int(length) for length in asked.lengths.split(",")])
    for cell in planned:
        cells.put(cell)
    asked.out.mkdir(parents=True, exist_ok=True)
    options = {"dtype": asked.dtype, "chunk": asked.chunk, "repeats": asked.repeats}
    device = "cuda" if devices else "cpu"
    processes = [
        context.Process(
            target=take_cells, args=(n, device, cells, outcomes, paces, asked.out, ends, options), daemon=True
        )
        for n in range(max(1, devices))
    ]
    for process in processes:
        process.start()
    print(f"{len(planned)} cells, {len(processes)} processes on {device}, {asked.budget_s:g} s", flush=True)
    found: list[Outcome] = []
    faults: list[str] = []
    for kind, number, what in collect(processes, outcomes, ends):
        if kind == "faults":
            faults += [f"device {number}: {fault}" for fault in what]
        else:
            found.append(what)
        done = {outcome.cell for outcome in found}
        summary = {
            "faults": faults,
            "outcomes": [asdict(outcome) for outcome in found],
            "not_begun": [asdict(cell) for cell in planned if cell not in done],
        }
        write_whole(asked.out / "summary.json", json.dumps(summary, indent=1))
        write_whole(asked.out / "summary.md", table_of(found))
    measured = sum(not outcome.failure for outcome in found)
    print(f"{measured} of {len(planned)} cells measured; {len(faults)} faults", flush=True)
    cells.cancel_join_thread()
    return 1 if faults or not measured else 0


if __name__ == "__main__":
    raise SystemExit(main())
