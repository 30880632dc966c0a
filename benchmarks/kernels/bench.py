"""Timing and bookkeeping of one kernel's benchmark: correctness first, then times, each row on disk as soon as it is known.

Protocol: CUDA events around the replay of a CUDA graph (so that no launch is timed), the L2 cache flushed by a 512 MB write
before each call, the median of up to 50 with its 10th and 90th percentile. Calls above 20 ms are timed without a graph.
Floors are bytes, FLOPs and exponentials against ceilings measured in the same process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[2] / "kernels"))

import torch
import triton
from torch import Tensor

from longboard_kernels.cost import Ceilings, Cost, floor_ms
from longboard_kernels.tuned import forced

Round = Literal["ours", "tuned", "peers"]
LEAST_S = 5.0  # with less left nothing more is timed: its row says "no time"
PEERS_SHARE = 0.5  # of a kernel's time: ours is not split up or tuned beyond it
FLUSH_BYTES = 512 * 2**20
GRAPH_BELOW_MS = 20.0


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Relative L2 distance in fp64; infinite if anything is not finite."""
    got, wanted = got.double(), wanted.double().to(got.device)
    return float((got - wanted).norm() / wanted.norm()) if bool(torch.isfinite(got).all()) else float("inf")


class Bench:
    """One kernel's rows. `ok` keeps the checks: a kernel that failed one is not timed."""

    def __init__(self, kernel: str, out: Path, budget_s: float, *, quick: bool = False) -> None:
        self.kernel, self.path, self.quick = kernel, out / f"{kernel}.json", quick
        self.started, self.budget_s, self.ok = time.perf_counter(), budget_s, True
        # Cases go round three times: ours, ours with tuned tiles, peers. These come last unless asked for first: some compile for
        # minutes at their first call.
        self.round: Round = "ours"
        self.peers_are_done = False
        out.mkdir(parents=True, exist_ok=True)
        self.body: dict[str, Any] = {
            "kernel": kernel,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe_machine(),
            "commit": find_commit(),
            "checks": [],
            "tuning": [],
            "splits": [],
            "rows": [],
        }
        self.save()

    def begin_timing(self) -> None:
        """From here on the GPU is this process's alone, and the budget runs."""
        self.started = time.perf_counter()
        self.flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
        self.ceilings = measure_ceilings(self.flush)
        self.body["ceilings"] = asdict(self.ceilings)

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started

    @property
    def left_s(self) -> float:
        return self.budget_s - self.elapsed_s

    @property
    def spare_s(self) -> float:
        """What ours may spend on more than its times: nothing from where the peers' share begins, unless they went first."""
        return self.left_s if self.peers_are_done else self.left_s - PEERS_SHARE * self.budget_s

    def save(self) -> None:
        self.body["elapsed_s"] = round(self.elapsed_s, 1)
        self.path.write_text(json.dumps(self.body, indent=1) + "\n")

    def say(self, kind: str, row: Mapping[str, Any]) -> None:
        self.body[kind].append(row)
        self.save()
        print(self.kernel, kind, json.dumps(row), flush=True)

    def check(self, shape: str, work: Callable[[], tuple[Tensor, Tensor]], tolerance: float) -> None:
        """`work` gives (ours, exact). A failure or an exception is a row, and stops the timing of this kernel."""
        row: dict[str, Any] = {"shape": shape, "tolerance": tolerance}
        try:
            row["error"] = relative_error(*work())
            row["passed"] = row["error"] <= tolerance
        except Exception as error:
            traceback.print_exc()
            row |= {"passed": False, "failed": f"{type(error).__name__}: {str(error)[:300]}"}
        self.ok &= row["passed"]
        self.say("checks", row)
        torch.cuda.empty_cache()

    def time(self, shape: str, side: str, work: Callable[[], Any], cost: Cost, **more: Any) -> float | None:
        """A row with the median in ms, its floor and its extra memory; returns the median."""
        row: dict[str, Any] = {"shape": shape, "side": side, **more, "floor_ms": floor_ms(cost, self.ceilings)}
        if (side == "ours") == (self.round == "peers"):
            return None
        if self.round == "tuned":
            row["tuned"] = True
        if self.left_s < LEAST_S:
            self.say("rows", row | {"failed": "no time"})
            return None
        try:
            row |= self.measure(work)
            row["of_floor"] = row["floor_ms"] / row["ms"]
        except Exception as error:
            row["failed"] = f"{type(error).__name__}: {str(error)[:300]}"
            torch.cuda.empty_cache()
        self.say("rows", row)
        return row.get("ms")

    def measure(self, work: Callable[[], Any], most: int = 50) -> dict[str, Any]:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        started = time.perf_counter()
        kept = work()
        torch.cuda.synchronize()
        first_s, extra = time.perf_counter() - started, torch.cuda.max_memory_allocated() - held
        del kept
        once = self._event_ms(work)
        graph = None
        run: Callable[[], Any] = work
        if once < GRAPH_BELOW_MS:
            graph = torch.cuda.CUDAGraph()
            side_stream = torch.cuda.Stream()
            side_stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side_stream):
                work()
            torch.cuda.current_stream().wait_stream(side_stream)
            with torch.cuda.graph(graph):
                work()
            run = graph.replay
        repeats = max(3, min(most, int(1_000 / max(once, 0.5))))
        times = sorted(self._event_ms(run) for _ in range(repeats))
        del graph
        return {
            "ms": statistics.median(times),
            "p10": times[len(times) // 10],
            "p90": times[len(times) * 9 // 10],
            "repeats": repeats,
            "graph": run is not work,
            "first_call_s": round(first_s, 3),
            "extra_bytes": extra,
        }

    def split(self, shape: str, work: Callable[[], Any]) -> None:
        """A row with the milliseconds of each kernel of one call, by the profiler: where the time goes."""
        from torch.profiler import ProfilerActivity, profile

        if self.round != "ours" or self.left_s < 8 or self.spare_s < 0:
            return
        work()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            work()
            torch.cuda.synchronize()
        spent: dict[str, float] = {}
        for event in seen.profiler.kineto_results.events():
            if "CUDA" in str(event.device_type()):
                spent[event.name()[:60]] = spent.get(event.name()[:60], 0.0) + event.duration_ns() / 1e6
        self.say("splits", {"shape": shape, "ms": {name: round(ms, 4) for name, ms in spent.items()}})

    def tune(
        self,
        table: str,
        key: str,
        candidates: Iterable[Mapping[str, int]],
        work: Callable[[], Any],
        now: Mapping[str, int],
    ) -> Mapping[str, int]:
        """Time every candidate on `work`; the fastest, and a row for each. `now` is tried first and wins ties within 1 %."""
        best, best_ms = now, float("inf")
        for config in [now, *(c for c in candidates if c != now)]:
            if self.left_s < 8 or self.spare_s < 0:
                break
            row: dict[str, Any] = {"table": table, "key": key, "config": dict(config)}
            try:
                with forced(table, config):
                    row["ms"] = self.measure(work, most=15)["ms"]
                if row["ms"] < best_ms * 0.99:
                    best, best_ms = config, row["ms"]
            except Exception as error:
                row["failed"] = f"{type(error).__name__}: {str(error)[:120]}"
                torch.cuda.empty_cache()
            self.say("tuning", row)
        self.say("tuning", {"table": table, "key": key, "best": dict(best), "ms": best_ms})
        return best

    def _event_ms(self, work: Callable[[], Any]) -> float:
        self.flush.zero_()
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        work()
        after.record()
        after.synchronize()
        return before.elapsed_time(after)


@contextmanager
def best_of(found: Mapping[str, Mapping[str, int]]) -> Any:
    """Use tuned configurations of several tables inside."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        for table, config in found.items():
            stack.enter_context(forced(table, config))
        yield


def measure_ceilings(flush: Tensor) -> Ceilings:
    """Bytes/s of a large read, FLOP/s of an 8192-cube product of random bf16, exponentials/s at the highest clock."""

    def best_ms(work: Callable[[], Any], repeats: int) -> float:
        times = []
        for _ in range(repeats):
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            work()
            b.record()
            b.synchronize()
            times.append(a.elapsed_time(b))
        return statistics.median(times)

    big = torch.empty(2**31, dtype=torch.uint8, device="cuda").view(torch.float32)
    halves = torch.zeros_like(big[: big.numel() // 2])
    copied = best_ms(lambda: halves.copy_(big[: halves.numel()]), 8)
    read = best_ms(lambda: torch.amax(big), 8)
    bytes_per_s = max(2 * halves.numel() * 4 / copied, big.numel() * 4 / read) * 1e3
    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    torch.mm(a, b)
    product = best_ms(lambda: torch.mm(a, b), 10)
    torch.cuda.empty_cache()
    clock = float(_smi("clocks.max.sm") or 1980) * 1e6
    sms = torch.cuda.get_device_properties(0).multi_processor_count
    return Ceilings(bytes_per_s, 2 * 8192**3 / product * 1e3, 16.0 * sms * clock)


def describe_machine() -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(0),
        "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
        "driver": _smi("driver_version"),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": sys.version.split()[0],
    }


def find_commit() -> str:
    """The commit of the code, or "" where no repository travels with it."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        return ""


def _smi(field: str) -> str:
    try:
        asked = ["nvidia-smi", "-i", "0", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip()
    except OSError:
        return ""
