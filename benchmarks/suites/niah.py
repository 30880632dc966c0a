"""How long `niah@1` takes to make a prompt, by task and length, with the shipped zoo tokenizer.

    python benchmarks/suites/niah.py [--lengths 131072 1048576] [--out benchmarks/suites/results/niah.json]

A fresh process for each (task, length): `first_s` includes the tokenisation of prose, words or documents that the others keep.
The claim (docs/suites/niah.md): after the first, under 0.5 s at 131,072 tokens and under 5 s at 1,048,576.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMITS_S = {131_072: 0.5, 1_048_576: 5.0}
MEASURE = """
import json, resource, statistics, sys, time
from transformers import AutoTokenizer
from longboard_tasks.suites.niah.suite import make_sample
task, length, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tokenizer = AutoTokenizer.from_pretrained(folder)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
times, before = [], peak()
for index in range(6):
    start = time.perf_counter()
    sample = make_sample(task=task, context_length=length, seed=0, index=index, tokenizer=tokenizer)
    times.append(round(time.perf_counter() - start, 4))
print(json.dumps({"task": task, "context_length": length, "prompt_tokens": len(sample.ids), "first_s": times[0],
    "later_s": statistics.median(times[1:]), "slowest_later_s": max(times[1:]), "peak_bytes_added": peak() - before}))
"""


def main() -> None:
    sys.path.insert(0, str(ROOT / "tasks"))
    from longboard_tasks.suites.niah.plan import TASKS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LIMITS_S))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/suites/results/niah.json")
    ask = parser.parse_args()
    folder, rows = ROOT / "tasks/longboard_tasks/zoo/weights/tokenizer", []
    for length in ask.lengths:
        for task in TASKS:
            if task == "single" and length > 400_000:  # its prose does not repeat
                continue
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, task, str(length), str(folder)],
                check=True,
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT / "tasks")},
            )
            rows.append(json.loads(done.stdout))
            print(done.stdout.strip(), flush=True)
    late = [row for row in rows if row["later_s"] > LIMITS_S.get(row["context_length"], float("inf"))]
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}
    ask.out.write_text(json.dumps({"machine": machine, "tokenizer": "zoo", "rows": rows}, indent=1) + "\n")
    print(f"{len(rows)} rows, {len(late)} over their limit: {[(row['task'], row['context_length']) for row in late]}")


if __name__ == "__main__":
    main()
