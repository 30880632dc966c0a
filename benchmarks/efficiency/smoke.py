"""Does every part of the efficiency suite work on this machine? Half a minute, before a run that takes an hour.

    python benchmarks/efficiency/smoke.py [--system tiny-llama]

One launch of a small System with every part, short windows and a cap on the allocator. Prints what failed; exits with 1 when
a part gave nothing or a cell failed for a reason that is not the System's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tasks"))

from longboard_tasks.suites.efficiency.plans import config_system
from longboard_tasks.suites.efficiency.request import Request
from longboard_tasks.suites.efficiency.system import measure_system

CAP = 2 * 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="tiny-llama")
    args = parser.parse_args()
    request = Request(
        name=args.system,
        system=config_system(args.system),
        lengths=(256, 512),
        decode_lengths=(512, 4_096),
        breakdown_lengths=(512,),
        full_lengths=(512,),
        limits=(("chunked", "last", CAP), ("one_shot", "full", CAP)),
        chunk=256,
        cell_s=1.0,
        limit_s=4.0,
        energy_length=512,
        energy_window_s=1.0,
        batch=2,
        batch_length=512,
        longest=65_536,
        ceilings=True,
        budget_s=40,
    )
    with tempfile.TemporaryDirectory() as folder:
        report = measure_system(request, Path(folder) / "part.json")
    on_cuda = report.hardware.kind == "cuda"
    wrong = [
        f"{c.phase} {c.context_length}: {c.failure.says}"
        for c in report.cells
        if c.failure and c.failure.kind == "error"
    ]
    wrong += report.notes
    energies = [cell.energy for cell in report.cells if cell.energy]
    seen = {
        "cells": len(report.cells) - len(wrong), "limits": len(report.limits), "slopes": len(report.slopes),
        "breakdowns": sum(b.busy_ms > 0 for b in report.breakdowns), "ceilings": int(report.ceilings is not None),
        "energy": len(energies) if on_cuda else 1,
    }  # fmt: skip
    print(report.hardware.device, seen, report.ceilings)
    for limit in report.limits:
        print(limit)
    for energy in energies:
        print(energy)
    for b in report.breakdowns:
        print(b.phase, b.wall_ms, b.busy_ms, b.launches, b.groups, b.modules)
    wrong += [f"nothing from {part}" for part, count in seen.items() if not count]
    print("\n".join(wrong) or "every part works")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
