"""How long a sample of babilong@1 and recall@1 takes to make, and how much memory: the first one, and those after it.

    python benchmarks/suites/babilong.py [--lengths 131072 1048576] [--out benchmarks/suites/results/babilong.json]

Each task and length runs in a process of its own, so "first" holds the reading and tokenising of the books. Uses the zoo's
tokenizer (4,096 tokens, so the books are longer in tokens than with a large vocabulary). CPU only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "tasks/longboard_tasks/zoo/weights/tokenizer"
RESULTS = Path(__file__).parent / "results"
TASKS = {"babilong": ("qa1", "qa3", "qa15"), "recall": ("copy", "ngram_suffix", "phone_book", "mqar")}
AFTER = 5  # samples timed after the first
BUDGETS_S = {131_072: 0.5, 1_048_576: 5.0}


def measure(suite: str, task: str, length: int) -> dict[str, float | int | str]:
    """One task at one length, in this process."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    module = import_module(f"longboard_tasks.suites.{suite}.suite")

    def make(index: int) -> float:
        clock = time.perf_counter()
        sample = module.make_sample(task=task, context_length=length, seed=0, index=index, tokenizer=tokenizer)
        assert len(sample.ids) <= length
        return time.perf_counter() - clock

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first = make(0)
    for index in range(1, 4):  # a second book may be read late
        make(index)
    later = [make(index) for index in range(4, 4 + AFTER)]
    tracemalloc.start()
    make(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "suite": suite,
        "task": task,
        "context_length": length,
        "first_s": round(first, 3),
        "after_median_s": round(statistics.median(later), 4),
        "after_worst_s": round(max(later), 4),
        "sample_peak_bytes_per_token": round(peak / length, 1),
        "process_growth_bytes": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_024, 131_072, 1_048_576])
    parser.add_argument("--out", type=Path, default=RESULTS / "babilong.json")
    parser.add_argument("--one", nargs=3, metavar=("SUITE", "TASK", "LENGTH"), help="measure one, print its JSON")
    options = parser.parse_args()
    if options.one:
        suite, task, length = options.one
        print(json.dumps(measure(suite, task, int(length))))
        return
    rows = []
    for suite, tasks in TASKS.items():
        for task in tasks:
            for length in options.lengths:
                run = subprocess.run(
                    [sys.executable, __file__, "--one", suite, task, str(length)],
                    capture_output=True, text=True, check=True,
                    env={**os.environ, "PYTHONPATH": str(ROOT / "tasks")},
                )  # fmt: skip
                rows.append(json.loads(run.stdout))
                print(rows[-1], flush=True)
    worst = {
        str(length): max(row["after_worst_s"] for row in rows if row["context_length"] == length)
        for length in options.lengths
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "what": "seconds to make one sample",
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "tokenizer": "zoo, 4096 tokens",
        "budgets_s": {str(length): seconds for length, seconds in BUDGETS_S.items()},
        "worst_after_first_s": worst,
        "within_budget": all(worst[str(k)] < v for k, v in BUDGETS_S.items() if str(k) in worst),
        "rows": rows,
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {options.out}; within budget: {report['within_budget']}")


if __name__ == "__main__":
    main()
