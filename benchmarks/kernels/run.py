"""All kernels on one GPU or several: correctness first, then times against peers and floors; JSON as it goes, then a table.

    python benchmarks/kernels/run.py --out DIR [--only K1 K2 ...] [--budget-s 140] [--tune] [--quick]

Each kernel runs in a process of its own on one of the GPUs that CUDA_VISIBLE_DEVICES shows, so that one that does not compile
stops no other; the longest are started first. --tune also tries tile sizes and writes the best to DIR/tuned.json, in the form of
kernels/longboard_kernels/tuned.json. A kernel that fails a check is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
# name: (module, what it checks, what it times); longest first
KERNELS = {
    "K1": ("decode_cases", "check", "time_all"),
    "K2": ("scan_cases", "check_scan", "time_scan"),
    "K3": ("scan_cases", "check_ssd", "time_ssd"),
    "K6": ("scoring_cases", "check_scores", "time_scores"),
    "K7": ("scoring_cases", "check_logprobs", "time_logprobs"),
    "K4": ("glue_cases", "check_glue", "time_glue"),
    "K5": ("glue_cases", "check_rope", "time_rope"),
}


def run_one(name: str, out: Path, budget_s: float, tuning: bool, quick: bool) -> None:
    from importlib import import_module

    import torch
    from bench import Bench

    torch.manual_seed(0)
    module, check, measure = KERNELS[name]
    cases = import_module(module)
    bench = Bench(name, out, budget_s, quick=quick)
    getattr(cases, check)(bench)
    if bench.ok:
        found = getattr(cases, measure)(bench, tuning)
        if tuning:
            (out / f"{name}.tuned.json").write_text(json.dumps(found, indent=1) + "\n")
    print(
        f"{name} is done after {bench.budget_s - bench.left_s:.0f} s, checks {'passed' if bench.ok else 'FAILED'}",
        flush=True,
    )


def run_all(names: list[str], out: Path, budget_s: float, options: list[str]) -> None:
    """Hand the kernels to the GPUs as these get free; every child gets what is left of the budget."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    gpus = (
        os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if os.environ.get("CUDA_VISIBLE_DEVICES")
        else _list_gpus()
    )
    waiting, running = list(names), {}
    while waiting or running:
        for gpu in [g for g in gpus if g not in running]:
            left = budget_s - (time.perf_counter() - started)
            if waiting and left > 15:
                name = waiting.pop(0)
                command = [
                    sys.executable,
                    str(HERE / "run.py"),
                    "--out",
                    str(out),
                    "--child",
                    name,
                    "--budget-s",
                    f"{left - 5:.0f}",
                    *options,
                ]
                log = (out / f"{name}.log").open("w")
                running[gpu] = (
                    name,
                    subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu}, stdout=log, stderr=log),
                )
                print(f"{time.perf_counter() - started:5.0f} s  {name} on GPU {gpu}", flush=True)
            elif waiting:
                print(f"no time for {waiting.pop(0)}", flush=True)
        for gpu, (name, child) in list(running.items()):
            late = time.perf_counter() - started > budget_s
            if child.poll() is None and late:
                child.kill()
                child.wait()
            if child.poll() is not None:
                last = (out / f"{name}.log").read_text().strip().splitlines()[-1:]
                print(
                    f"{time.perf_counter() - started:5.0f} s  {name} ended with {child.returncode}: {last}", flush=True
                )
                del running[gpu]
        time.sleep(0.2)


def _list_gpus() -> list[str]:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.strip().splitlines()
    return [str(i) for i in range(max(len(listed), 1))]


def join_results(out: Path) -> None:
    """kernels.json and tuned.json from the children's files, and kernels.md from the former."""
    parts = [json.loads(p.read_text()) for p in sorted(out.glob("K?.json"))]
    (out / "kernels.json").write_text(json.dumps(parts, indent=1) + "\n")
    tuned = json.loads((HERE.parents[1] / "kernels/longboard_kernels/tuned.json").read_text())
    for path in sorted(out.glob("K?.tuned.json")):
        for table, rows in json.loads(path.read_text()).items():
            tuned.setdefault(table, {}).update(rows)
    (out / "tuned.json").write_text(json.dumps(tuned, indent=1) + "\n")
    sys.path.insert(0, str(HERE))
    from table import write_table

    write_table(parts, out / "kernels.md")
    print((out / "kernels.md").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(KERNELS), default=list(KERNELS))
    parser.add_argument("--budget-s", type=float, default=600)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--quick", action="store_true", help="leave torch.compile out")
    parser.add_argument("--child", choices=list(KERNELS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_one(args.child, args.out, args.budget_s, args.tune, args.quick)
        return
    options = (["--tune"] if args.tune else []) + (["--quick"] if args.quick else [])
    run_all([n for n in KERNELS if n in args.only], args.out, args.budget_s, options)
    join_results(args.out)


if __name__ == "__main__":
    main()
