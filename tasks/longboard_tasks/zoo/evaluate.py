"""Measure models of the zoo with the engine, on every accuracy suite and for efficiency, and keep the result bundles.

    python -m longboard_tasks.zoo.evaluate llama-3m --out bundles                        # accuracy: cards may share a machine
    python -m longboard_tasks.zoo.evaluate llama-3m --out bundles --suites efficiency    # speed: alone on the device

Each bundle is a file of its own as soon as it exists, so a stopped evaluation goes on where it was. The bundles name the Run
and the Attempt that a site gives them when it loads them as baselines (`longboard_tasks.baselines`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

import torch
from transformers.utils import logging

from longboard_tasks.contract import ModelRef, ResultBundle, RunSpec, Runtime, SystemSpec, canonical_json
from longboard_tasks.engine.engine import Wish
from longboard_tasks.engine.errors import EvaluationError
from longboard_tasks.evaluate import OpenSystem, evaluate, open_system
from longboard_tasks.zoo.registry import find_model

LENGTHS = (512, 1_024, 2_048, 4_096, 8_192, 16_384)
LONG = 4_096  # tokens; what lies above is asked last
SEED = 70_001
# So that models can share a device: the stock scan of Mamba-2 takes 1.5 MB for each token of a pass.
ROWS, CHUNK, TOKENS_AT_ONCE = 32, 512, 262_144
STEP_ROWS = 128  # where prompts are read in one pass: Mamba's stock scan takes as long for many rows as for one


@dataclass(frozen=True, slots=True)
class Ask:
    """Some tasks of a suite, so many samples each; a length below `shortest` cannot hold them."""

    suite: str
    tasks: tuple[str, ...]
    samples: int
    shortest: int = 0


# In the order of their worth: the first at all lengths, the others at short lengths, then at long ones. An evaluation that runs
# out of time lacks the end.
ASKS = (
    Ask("niah", ("single",), 100),
    Ask("recall", ("copy", "ngram_prefix", "ngram_suffix", "phone_book", "mqar"), 40),
    Ask("babilong", ("qa1", "qa2", "qa6", "qa12"), 40, shortest=1_024),
    Ask("niah", ("niah_single_1", "niah_multikey_1", "niah_multivalue", "niah_multiquery"), 40),
    Ask("niah", ("vt",), 40, shortest=1_024),
)
SPEED = Ask("efficiency", ("generate",), 3)


def plan(
    model_id: str,
    *,
    dtype: str,
    device: str,
    suites: Sequence[str],
    lengths: Sequence[int],
    most: int,
    kernels: str = "stock",
) -> Iterator[RunSpec]:
    """The runs of one model in the order of their worth, of at most `most` samples a task."""
    runtime = Runtime.model_validate({"dtype": dtype, "kernels": kernels})
    system = SystemSpec(model=ModelRef(source="zoo", id=model_id), runtime=runtime)
    if kernels != "stock":
        device = f"{device}/{kernels}"
    short, long = [n for n in lengths if n <= LONG], [n for n in lengths if n > LONG]
    for asks, part in ((ASKS[:1], lengths), (ASKS[1:], short), (ASKS[1:], long), ((SPEED,), lengths)):
        for ask, length in product(asks, part):
            if ask.suite in suites and length >= ask.shortest:
                yield RunSpec(
                    run_id=str(name_run(model_id, ask, length, device)),
                    system=system,
                    suite=ask.suite,
                    suite_version=1,
                    tasks=ask.tasks,
                    context_length=length,
                    samples=min(ask.samples, most),
                    seed=SEED,
                )


def name_run(model_id: str, ask: Ask, length: int, device: str) -> UUID:
    """Known before a site exists, and the same on all of them: loading a baseline twice finds the first."""
    return uuid5(NAMESPACE_URL, f"longboard/baseline/{device}/{model_id}/{ask.suite}/{'+'.join(ask.tasks)}/{length}")


def measure(spec: RunSpec, system: OpenSystem, work_dir: Path) -> ResultBundle:
    """One bundle, for the only Attempt of its Run."""
    if spec.suite == SPEED.suite:
        system.engine.wish = Wish()
    else:
        most = STEP_ROWS if system.engine.self_test.mode == "step" else ROWS
        rows = max(1, min(most, TOKENS_AT_ONCE // spec.context_length))
        system.engine.wish = Wish(chunk=CHUNK, rows=rows)
    attempt = uuid5(NAMESPACE_URL, f"longboard/baseline/{spec.run_id}/attempt")
    return evaluate(spec, work_dir=work_dir, system=system, attempt_id=str(attempt), fence=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a model of the zoo and keep the bundles.")
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suites", nargs="+", default=["niah", "recall", "babilong"])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further run after so long")
    parser.add_argument("--most", type=int, default=1_000, help="samples of a task at most")
    parser.add_argument("--kernels", choices=("stock", "longboard"), default="stock")
    arguments = parser.parse_args()
    find_model(arguments.model)
    logging.set_verbosity_error()  # or it says once per kernel that a slower form is used
    started = time.perf_counter()
    dtype = "bfloat16" if torch.cuda.is_available() else "float32"  # bf16 is slower than fp32 on most processors
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    ask = {
        "dtype": dtype, "kernels": arguments.kernels, "device": device,
        "suites": arguments.suites, "lengths": arguments.lengths,
    }  # fmt: skip
    specs = list(plan(arguments.model, most=arguments.most, **ask))
    system = open_system(specs[0].system)
    print(f"{arguments.model}: {system.engine.self_test.mode}: {system.engine.self_test.reason}", flush=True)
    folder = arguments.out / (
        arguments.model if arguments.kernels == "stock" else f"{arguments.model}-{arguments.kernels}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    for spec in specs:
        path = folder / f"{spec.context_length:06d}-{spec.suite}-{spec.tasks[0]}.json"
        if path.exists() or time.perf_counter() - started > arguments.seconds:
            continue
        clock = time.perf_counter()
        try:
            bundle = measure(spec, system, folder / "work" / spec.run_id)
        except EvaluationError as error:  # the other runs go on
            print(
                f"{arguments.model} {spec.suite} at {spec.context_length}: {type(error).__name__}: {error}", flush=True
            )
            continue
        path.with_suffix(".part").write_bytes(canonical_json(bundle))
        path.with_suffix(".part").replace(path)
        told = "  ".join(f"{m.task}/{m.metric} {m.value:.4g}" for m in bundle.measurements if m.depth is None)
        seconds = time.perf_counter() - clock
        print(f"{arguments.model} {spec.context_length:6d} {spec.suite}: {told}  {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
