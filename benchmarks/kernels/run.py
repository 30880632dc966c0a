"""All kernels on one GPU or several: correctness first, then times against peers and floors; JSON as it goes, then a table.

    python benchmarks/kernels/run.py --out DIR [--only K1 K2 ...] [--budget-s 140] [--tune] [--quick] [--anyway] [--peers-first]

Each kernel runs in a process of its own on one of the GPUs that CUDA_VISIBLE_DEVICES shows, so that one that does not compile
stops no other. First all check at once, since compiling takes a core each; then they are timed, one at a time on a GPU, peers
last. DIR gets kernels.json, kernels.md, kernels.log and tuned.json, written anew whenever a kernel is done. --tune then also
tries tile sizes, times ours again with the best, and puts them into tuned.json, which has the form of
kernels/longboard_kernels/tuned.json. A kernel that fails a check is not timed, unless --anyway is given: the table then says so.
Half of a kernel's time is its peers': beyond the other half ours is timed, but not split up or tuned. --peers-first times them
before ours. A peer that time did not reach has a row that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench import Round

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "kernels/longboard_kernels/tuned.json"
CHECKS_END = 0.55  # of the budget: with so much left timing begins, whoever still compiles
OURS_FIRST: tuple[Round, ...] = ("ours", "tuned", "peers")
PEERS_FIRST: tuple[Round, ...] = ("peers", "ours", "tuned")
# name: (module, what it checks, what it times); longest first
KERNELS = {
    "K1": ("decode_cases", "check_half", "time_half"),
    "K1q": ("decode_cases", "check_quantised", "time_quantised"),
    "K3": ("scan_cases", "check_ssd", "time_ssd"),
    "K2": ("scan_cases", "check_scan", "time_scan"),
    "K8": ("delta_cases", "check_delta", "time_delta"),
    "K6": ("scoring_cases", "check_scores", "time_scores"),
    "K7": ("scoring_cases", "check_logprobs", "time_logprobs"),
    "K4": ("glue_cases", "check_glue", "time_glue"),
    "K5": ("glue_cases", "check_rope", "time_rope"),
}


def run_one(args: argparse.Namespace) -> None:
    """The child's side: one kernel, on the one GPU that it sees."""
    import peers
    import torch
    from bench import Bench

    torch.manual_seed(0)
    module, check, measure = KERNELS[args.child]
    cases = import_module(module)
    bench = Bench(args.child, args.out, args.budget_s, quick=args.quick)
    bench.body["peers"] = peers.list_present()
    getattr(cases, check)(bench)
    peers.warm(args.child)
    torch.cuda.empty_cache()
    print(f"{bench.elapsed_s:.0f} s, checks {'passed' if bench.ok else 'FAILED'}", flush=True)
    (args.out / f"{args.child}.checked").touch()
    if bench.ok or args.anyway:
        bench.budget_s = wait_for_turn(args.out / f"{args.child}.turn")
        bench.begin_timing()
        for bench.round in PEERS_FIRST if args.peers_first else OURS_FIRST:
            if bench.round != "tuned":
                getattr(cases, measure)(bench, False)
            elif args.tune and bench.left_s > 10 and bench.spare_s > 0:
                found = getattr(cases, measure)(bench, True)
                (args.out / f"{args.child}.tuned.json").write_text(json.dumps(found, indent=1) + "\n")
            bench.peers_are_done |= bench.round == "peers"
        print(f"{bench.elapsed_s:.0f} s, checks {'passed' if bench.ok else 'FAILED'}", flush=True)


def wait_for_turn(path: Path) -> float:
    """Seconds that this kernel may take, once the parent says so; the parent kills those that it has no time for."""
    while not path.exists():
        time.sleep(0.05)
    return float(path.read_text())


def run_all(args: argparse.Namespace, parts: Path) -> None:
    """Start all on the GPUs by turns; when those of a GPU have checked, hand it to one after the other."""
    started = time.perf_counter()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = shown.split(",") if shown else list_gpus()
    names = [name for name in KERNELS if name in args.only]
    lanes = {gpu: names[number :: len(gpus)] for number, gpu in enumerate(gpus)}
    children = {name: start_child(args, parts, name, gpu) for gpu, lane in lanes.items() for name in lane}
    timing: dict[str, str] = {}

    def say(words: str) -> None:
        print(f"{time.perf_counter() - started:5.0f} s  {words}", flush=True)

    def has_checked(name: str) -> bool:
        return (parts / f"{name}.checked").exists() or children[name].poll() is not None

    while any(lanes.values()):
        left = args.budget_s - (time.perf_counter() - started)
        for gpu, lane in lanes.items():
            while lane and children[lane[0]].poll() is not None:
                name = lane.pop(0)
                timing.pop(gpu, None)
                last = (parts / f"{name}.log").read_text().strip().splitlines()[-1:]
                say(f"{name} ended with {children[name].returncode}: {' '.join(last)[:200]}")
                join_results(parts, args.out)
            if lane and left < 0:
                children[lane[0]].kill()
                children[lane[0]].wait()
            elif lane and gpu not in timing and (all(map(has_checked, lane)) or left < CHECKS_END * args.budget_s):
                timing[gpu] = lane[0]
                turn = parts / f"{lane[0]}.turn"
                turn.with_suffix(".part").write_text(f"{left / len(lane) - 2:.0f}")
                turn.with_suffix(".part").replace(turn)
                say(f"{lane[0]} is timed on GPU {gpu}")
        time.sleep(0.1)


def start_child(args: argparse.Namespace, parts: Path, name: str, gpu: str) -> subprocess.Popen[bytes]:
    given = {"--tune": args.tune, "--quick": args.quick, "--anyway": args.anyway, "--peers-first": args.peers_first}
    options = [option for option, is_set in given.items() if is_set]
    command = [sys.executable, str(HERE / "run.py"), "--out", str(parts), "--child", name, *options]
    with (parts / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            [*command, "--budget-s", str(args.budget_s)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
            stdout=log,
            stderr=log,
        )


def list_gpus() -> list[str]:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.strip().splitlines()
    return [str(i) for i in range(max(len(listed), 1))]


def join_results(parts: Path, out: Path) -> None:
    """kernels.json, tuned.json, kernels.log and kernels.md from the children's files."""
    sys.path.insert(0, str(HERE))
    from table import write_table

    names = [name for name in sorted(KERNELS) if (parts / f"{name}.json").exists()]
    found = [json.loads((parts / f"{name}.json").read_text()) for name in names]
    (out / "kernels.json").write_text(json.dumps(found, indent=1) + "\n")
    tuned: dict[str, dict[str, Any]] = json.loads(TABLE.read_text())
    for path in sorted(parts.glob("*.tuned.json")):
        for table, rows in json.loads(path.read_text()).items():
            tuned.setdefault(table, {}).update(rows)
    (out / "tuned.json").write_text(json.dumps(tuned, indent=1) + "\n")
    (out / "kernels.log").write_text("".join(f"== {p.stem}\n{p.read_text()}" for p in sorted(parts.glob("*.log"))))
    write_table(found, out / "kernels.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(KERNELS), default=list(KERNELS))
    parser.add_argument("--budget-s", type=float, default=600)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--quick", action="store_true", help="leave torch.compile out")
    parser.add_argument("--anyway", action="store_true", help="time a kernel that failed a check too")
    parser.add_argument("--peers-first", action="store_true", help="time the peers before ours")
    parser.add_argument("--child", choices=list(KERNELS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.child:
        run_one(args)
        return
    with tempfile.TemporaryDirectory() as parts:
        run_all(args, Path(parts))
    print((args.out / "kernels.md").read_text())


if __name__ == "__main__":
    main()
