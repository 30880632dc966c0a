"""Measure Systems on a bare machine: `python -m longboard_tasks.suites.efficiency.measure`, or `longboard-worker measure`.

    ... measure --systems llama-1b mamba2-1b --lengths 1024 16384 --budget-s 300 --out var/efficiency
    ... measure --plan table --budget-s 470 --out var/efficiency
    ... measure --plan table --systems mamba2-1b --parts energy breakdown --out var/efficiency    # of the table, these parts
    ... measure --plan table --beside tasks/longboard_tasks/suites/efficiency/measured/h100*.json --out var/efficiency
                                                         # what these reports of this device lack, and nothing else

Each launch is a process of its own; with several GPUs, each measures another System. The report is written again whenever a
launch has a new row, so a run that is cut short leaves what it had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from longboard_tasks.contract import SystemSpec
from longboard_tasks.suites.efficiency.lacking import lacking
from longboard_tasks.suites.efficiency.plans import config_system, name_of, plain_plan, table_plan
from longboard_tasks.suites.efficiency.report import Report, join_reports, read_report
from longboard_tasks.suites.efficiency.request import PARTS, Request

GRACE_S = 20.0  # after its budget a launch is ended; its part stays
REPORT_NAME = "efficiency_report.json"
LEAST_BUDGET_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """For whoever waits: rows so far, launches done, seconds left at most."""

    launch: str
    rows: int
    done: int
    total: int
    left_s: float


@dataclass(slots=True)
class Campaign:
    """Requests over the devices of one machine, until the time is over."""

    requests: list[Request]
    out: Path
    budget_s: float
    devices: list[str]  # values of CUDA_VISIBLE_DEVICES; [""] for a CPU
    on_progress: Callable[[Progress], None]
    parts: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="longboard-measure-")))
    started: float = field(default_factory=time.perf_counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: int = 0
    taken: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        return self.started + self.budget_s - time.perf_counter()

    def run(self) -> Report | None:
        self.out.mkdir(parents=True, exist_ok=True)
        threads = [threading.Thread(target=self._serve, args=(device,), daemon=True) for device in self.devices]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(1.0)
            self.join()
        return self.join()

    def _serve(self, device: str) -> None:
        """Launches on one device, one after the other; the next child imports its libraries meanwhile."""
        spare: subprocess.Popen[str] | None = self._start(device)
        while (request := self._take()) is not None:
            child, spare = spare, self._start(device) if self.taken < len(self.requests) else None
            if child is None:
                child = self._start(device)
            self._launch(child, request, device)
            with self.lock:
                self.done += 1
        if spare is not None:
            spare.kill()

    def _take(self) -> Request | None:
        """The next request with its share of the time that is left: by its budget among those still to come."""
        with self.lock:
            if self.taken >= len(self.requests) or self.left_s < LEAST_BUDGET_S + 3:
                return None
            pending = self.requests[self.taken :]
            request = pending[0]
            self.taken += 1
        fair = self.left_s * len(self.devices) * request.budget_s / sum(other.budget_s for other in pending)
        budget = max(LEAST_BUDGET_S, min(fair, self.left_s - 3))
        return request.model_copy(update={"budget_s": budget})

    def _start(self, device: str) -> subprocess.Popen[str]:
        environment = dict(os.environ)
        if device:
            environment["CUDA_VISIBLE_DEVICES"] = device
        return subprocess.Popen(
            [sys.executable, "-m", "longboard_tasks.suites.efficiency.launch"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def _launch(self, child: subprocess.Popen[str], request: Request, device: str) -> None:
        name = f"{request.name}-{request.launch}"
        part = self.parts / f"{name}.json"
        deadline = min(request.budget_s + GRACE_S, max(self.left_s, 1.0))
        begun = time.perf_counter()
        try:
            _, errors = child.communicate(f"{part}\t{request.model_dump_json()}\n", timeout=deadline)
            if child.returncode:
                self.log.append(f"{name}: ended with {child.returncode}: {errors.strip()[-500:]}")
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            self.log.append(f"{name}: stopped after {time.perf_counter() - begun:.0f} s; its finished rows count")

    def join(self) -> Report | None:
        """Write the report of all parts so far. None while there is none."""
        parts = []
        for path in sorted(self.parts.glob("*.json"), key=lambda path: path.stat().st_mtime):
            try:
                parts.append(Report.model_validate_json(path.read_bytes()))
            except (ValidationError, OSError):
                continue
        if not parts:
            return None
        report = join_reports(parts).model_copy(
            update={"notes": tuple(self.log), "command": " ".join(sys.argv[1:])[:500]}
        )
        beside = self.out / f"{REPORT_NAME}.new"
        beside.write_text(report.model_dump_json())
        os.replace(beside, self.out / REPORT_NAME)
        rows = sum(map(len, (report.cells, report.limits, report.slopes, report.breakdowns)))
        names = ", ".join(r.name for r in self.requests[self.done : self.taken])
        self.on_progress(Progress(names, rows, self.done, len(self.requests), max(self.left_s, 0.0)))
        return report


def find_devices() -> list[str]:
    """One entry a GPU, honouring CUDA_VISIBLE_DEVICES; a CPU counts as one device without a name."""
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        return os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    try:
        import pynvml

        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
    except Exception:  # no driver, no library: a CPU
        return [""]
    return [str(index) for index in range(count)] or [""]


class DeviceBusy(RuntimeError):
    """Another process holds the GPU: no number taken beside it means anything."""


def check_devices_are_free() -> None:
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        busy = [process.pid for handle in handles for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except Exception:  # as above
        return
    if busy:
        raise DeviceBusy(f"Process {busy[0]} holds a GPU here. Stop it, or choose another with CUDA_VISIBLE_DEVICES.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    parser.add_argument(
        "--systems", nargs="+", default=[], help="ids of shapes (random weights), or JSON of SystemSpecs"
    )
    parser.add_argument("--plan", choices=("table",), help="the table of one large GPU, or of it what --systems name")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="only these, in this order")
    parser.add_argument(
        "--beside", nargs="+", type=Path, default=[], help="reports of this device: rows that they have are left out"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_024, 4_096, 16_384])
    parser.add_argument("--launches", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--budget-s", type=float, default=600)
    parser.add_argument("--even-if-busy", action="store_true", help="measure although another process holds the GPU")


def make_requests(args: argparse.Namespace) -> list[Request]:
    """Raises ValueError for a System that is neither an id nor JSON or that the plan does not have, for a report that cannot be
    read, and where nothing is lacking."""
    requests = list_requests(args)
    if args.parts:
        first = [request for request in requests if request.launch == 1]  # later ones repeat cells alone
        requests = [request.model_copy(update={"parts": tuple(args.parts)}) for request in first]
    if not args.beside:
        return requests
    try:
        reports = [read_report(path) for path in args.beside]
    except OSError as error:
        raise ValueError(f"No report can be read there: {error}.") from error
    if not (left := lacking(requests, reports)):
        raise ValueError("The reports have all of it: nothing to measure.")
    return left


def list_requests(args: argparse.Namespace) -> list[Request]:
    if args.plan:
        planned = table_plan()
        unknown = set(args.systems) - {request.name for request in planned}
        if unknown:
            raise ValueError(f"The plan has no {', '.join(sorted(unknown))}.")
        return [request for request in planned if not args.systems or request.name in args.systems]
    systems: list[tuple[str, SystemSpec]] = []
    for text in args.systems:
        spec = SystemSpec.model_validate(json.loads(text)) if text.startswith("{") else config_system(text, args.dtype)
        systems.append((name_of(spec), spec))
    if not systems:
        raise ValueError("Name at least one System: --systems llama-1b, or --plan table.")
    return plain_plan(systems, lengths=args.lengths, budget_s=args.budget_s, launches=args.launches)


def run(args: argparse.Namespace, on_progress: Callable[[Progress], None]) -> Report | None:
    if not args.even_if_busy:
        check_devices_are_free()
    campaign = Campaign(make_requests(args), args.out, args.budget_s, find_devices(), on_progress)
    return campaign.run()


def print_progress(progress: Progress, *, last: list[str] = []) -> None:  # noqa: B006  # what was printed before
    text = f"{progress.done}/{progress.total} launches, {progress.rows} rows, at most {progress.left_s:.0f} s left: "
    if not last or last[-1] != f"{progress.rows}":
        last.append(f"{progress.rows}")
        print(text + progress.launch, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        report = run(parser.parse_args(arguments), print_progress)
    except (ValueError, DeviceBusy) as error:
        print(error, file=sys.stderr)
        return 2
    for note in report.notes if report else ():
        print(note, file=sys.stderr)
    return 0 if report else 1


if __name__ == "__main__":
    sys.exit(main())
