"""One model, every Method and budget, the same prompts: the protocol of `kv@1` from the command line.

    python -m longboard_tasks.suites.kv.compare llama-3m --length 2048 --tasks needle,pairs --samples 50 --out DIR

    python -m longboard_tasks.suites.kv.compare llama-3m --length 2048 --costs 6 --out DIR

Each System is one bundle, DIR/bundles/MODEL/*.json, on disk as soon as it exists; what is there already is not run again. The
table (DIR/table.md) has the accuracy of each method with its interval, and the paired difference to the full cache. With --costs
the same Systems are measured by `efficiency@1/generate` instead: bytes held, TTFT and TPOT, over so many prompts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import torch

from longboard_tasks.catalogue.methods import METHODS
from longboard_tasks.catalogue.suites import find_suite
from longboard_tasks.contract import MethodRef, ModelRef, ResultBundle, RunSpec, Runtime, SystemSpec
from longboard_tasks.engine.errors import EvaluationError
from longboard_tasks.engine.methods import LooksAtModel, build_method
from longboard_tasks.engine.stream import count_bytes
from longboard_tasks.evaluate import OpenSystem, evaluate, open_system
from longboard_tasks.intervals import paired_interval
from longboard_tasks.suites.kv.measure import write_whole

BUDGETS = (0.5, 0.25, 0.125, 0.0625)


@dataclass(frozen=True, slots=True)
class Row:
    """One task under one Method: accuracy with its interval, and the difference to the full cache with its."""

    task: str
    method: MethodRef
    held_bytes: int
    accuracy: tuple[float, float, float]
    difference: tuple[float, float, float]
    n: int


def plan_methods(names: Sequence[str], budgets: Sequence[float], aware: Sequence[bool]) -> list[MethodRef]:
    """The full cache first; a method with budgets of its own has those. A quantised cache does not care what was asked."""
    refs = [MethodRef()]
    for name in names:
        own = METHODS[name].budgets
        for budget in own or budgets:
            for is_aware in (False,) if own else aware:
                refs.append(MethodRef(name=name, budget=budget, settings={"question_aware": True} if is_aware else {}))
    return refs


def switch_method(system: OpenSystem, spec: SystemSpec) -> OpenSystem:
    """The same weights in memory under another Method."""
    old = system.engine.method
    if isinstance(old, LooksAtModel):
        old.detach()
    method = build_method(spec.method)
    if isinstance(method, LooksAtModel):
        method.attach(system.loaded.model)
    return OpenSystem(spec, system.loaded, replace(system.engine, method=method))


def full_bytes(system: OpenSystem, length: int) -> int:
    """What the cache holds after `length` tokens with no method: read from its tensors, as the methods' bytes are."""
    reader = system.engine.reader.with_(chunk=system.engine.schedule.chunk)
    stream = reader.open(length)
    reader.read_last(stream, torch.ones((1, length), dtype=torch.long, device=reader.device))
    return sum(count_bytes(stream).values())


def rows_of(bundles: Sequence[ResultBundle], whole: int) -> list[Row]:
    """A row for each task and bundle; the first bundle is that of the full cache, which holds `whole` bytes.

    Without a method prompts share rows, so its bundle does not say what one prompt holds.
    """
    full = {(s.task, s.index): s.score for s in bundles[0].samples}
    rows = []
    for bundle in bundles:
        held = bundle.manifest.settings
        for task in bundle.run.tasks:
            mine = [s for s in bundle.samples if s.task == task]
            found = next(m for m in bundle.measurements if (m.task, m.metric) == (task, "accuracy"))
            rows.append(
                Row(
                    task, bundle.run.system.method,
                    whole if bundle is bundles[0] else int(held["held_bytes_compressed"]),
                    (found.value, found.ci_low, found.ci_high),
                    paired_interval([full[task, s.index] for s in mine], [s.score for s in mine]), len(mine),
                )
            )  # fmt: skip
    return rows


def table_of(rows: Sequence[Row]) -> str:
    """Markdown: best first within a task and budget."""
    lines = [
        "| task | method | budget | question | cache bytes | accuracy | difference to the full cache | n |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda r: (r.task, -r.method.budget, -r.accuracy[0], r.method.name)):
        seen = "seen" if row.method.settings.get("question_aware") else "not seen"
        accuracy, difference = (
            f"{v:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
            for sign, (v, low, high) in (("", row.accuracy), ("+", row.difference))
        )
        lines.append(
            f"| {row.task} | {METHODS[row.method.name].title} | {row.method.budget:g} | "
            f"{seen if row.method.name != 'none' else ''} | {row.held_bytes:,} | {accuracy} | {difference} | {row.n} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Every Method on the same prompts.")
    parser.add_argument("model", help="a zoo id")
    parser.add_argument("--length", type=int, default=2_048)
    parser.add_argument("--tasks", default="needle")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--seed", type=int, default=70_001)
    parser.add_argument("--methods", default=",".join(name for name in METHODS if name != "none"))
    parser.add_argument("--budgets", default="0.25", help="or all: those of the protocol")
    parser.add_argument(
        "--aware", choices=("no", "yes", "both"), default="no", help="compress with the question in view"
    )
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--costs", type=int, default=0, help="measure costs over so many prompts, in place of accuracy")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(arguments)
    budgets = BUDGETS if asked.budgets == "all" else tuple(map(float, asked.budgets.split(",")))
    aware = {"no": (False,), "yes": (True,), "both": (False, True)}[asked.aware]
    suite = find_suite("efficiency" if asked.costs else "kv")
    tasks, samples = ("generate", asked.costs) if asked.costs else (asked.tasks, asked.samples)
    bundles: list[ResultBundle] = []
    system: OpenSystem | None = None
    whole = 0
    for method in plan_methods(asked.methods.split(","), budgets, aware):
        spec = SystemSpec(
            model=ModelRef(source="zoo", id=asked.model),
            method=method,
            runtime=Runtime.model_validate({"dtype": asked.dtype}),
        )
        if system is None:
            system = open_system(spec)
            whole = full_bytes(system, asked.length)
        system = switch_method(system, spec)
        device = system.loaded.device
        key = f"longboard:kv:{spec.digest}:{asked.length}:{tasks}:{samples}:{asked.seed}:{device.type}"
        if device.type == "cuda":
            key += torch.cuda.get_device_name(device)
        run = RunSpec(
            run_id=str(uuid5(NAMESPACE_URL, key)), system=spec, suite=suite.name, suite_version=suite.version,
            tasks=tuple(tasks.split(",")), context_length=asked.length, samples=samples, seed=asked.seed,
        )  # fmt: skip
        path = asked.out / "bundles" / asked.model / f"{run.run_id}.json"
        began = time.perf_counter()
        if path.exists():
            bundle = ResultBundle.model_validate_json(path.read_bytes())
        else:
            try:
                bundle = evaluate(run, work_dir=asked.out / "work" / run.run_id, system=system)
            except EvaluationError as error:
                print(f"{method.name} {method.budget:g}: {error}", flush=True)
                continue
            attempt = str(uuid5(NAMESPACE_URL, f"{key}:attempt"))
            bundle = bundle.model_copy(update={"attempt_id": attempt, "fence": 1})
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, bundle.model_dump_json())
        bundles.append(bundle)
        if not asked.costs:
            write_whole(asked.out / "table.md", table_of(rows_of(bundles, whole)))
        shown = ("accuracy", "cache_bytes", "ttft_ms", "tpot_ms")
        shares = ", ".join(f"{m.task} {m.metric} {m.value:.4g}" for m in bundle.measurements if m.metric in shown)
        seen = " question seen" if method.settings else ""
        print(f"{method.name} {method.budget:g}{seen}: {shares} ({time.perf_counter() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
