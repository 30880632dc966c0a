"""`longboard-worker measure`: time, memory and energy of Systems on a bare machine, with no platform at all.

Writes `efficiency_report.json` (every cell, limit and breakdown) and a result bundle for each System and context length.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from longboard_tasks.suites.efficiency.bundles import bundles_of
from longboard_tasks.suites.efficiency.measure import DeviceBusy, Progress, add_arguments, run

BAR = 30


def add_measure(commands: Any) -> None:
    parser = commands.add_parser(
        "measure", help="measure speed, memory and energy of models here, into a report and bundles"
    )
    add_arguments(parser)
    parser.set_defaults(run=measure_command)


def measure_command(args: argparse.Namespace) -> int:
    bar = ProgressBar(args.budget_s)
    try:
        report = run(args, bar.show)
    except (ValueError, DeviceBusy) as error:
        print(error, file=sys.stderr)
        return 2
    bar.close()
    if report is None:
        print("Nothing was measured: the time was over before the first row.", file=sys.stderr)
        return 1
    for note in report.notes:
        print(note, file=sys.stderr)
    folder = args.out / "bundles"
    folder.mkdir(exist_ok=True)
    bundles = bundles_of(report)
    for bundle in bundles:
        name = f"{bundle.run.system.model.id.replace('/', '-')}-{bundle.run.context_length}.json"
        (folder / name).write_text(bundle.model_dump_json() + "\n")
    failed = sum(cell.failure is not None for cell in report.cells)
    print(f"{len(report.cells)} cells ({failed} without a number, each with its reason), {len(report.limits)} limits.")
    print(f"{args.out / 'efficiency_report.json'} and {len(bundles)} bundles in {folder}")
    return 0


class ProgressBar:
    """On a terminal one line that is written over; elsewhere a line when a launch has ended."""

    def __init__(self, budget_s: float) -> None:
        self.budget_s, self.done = budget_s, -1

    def show(self, progress: Progress) -> None:
        text = bar_text(progress, self.budget_s)
        if sys.stderr.isatty():
            print(f"\r{text:<110}", end="", file=sys.stderr, flush=True)
        elif progress.done != self.done:
            print(text, file=sys.stderr, flush=True)
        self.done = progress.done

    def close(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def bar_text(progress: Progress, budget_s: float) -> str:
    """How far, by the larger of the launches that are done and the time that is spent; and the time left at most."""
    is_over = progress.done >= progress.total
    share = 1.0 if is_over else max(progress.done / progress.total, 1 - progress.left_s / budget_s)
    full = round(BAR * min(max(share, 0.0), 1.0))
    minutes, seconds = divmod(round(progress.left_s), 60)
    left = "done" if is_over else f"at most {minutes} min {seconds:02d} s left"
    counts = f"{progress.done}/{progress.total} launches, {progress.rows} rows"
    return f"[{'#' * full}{'.' * (BAR - full)}] {counts}, {left} {progress.launch}".rstrip()
