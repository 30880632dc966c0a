"""Energy of a window: the device's cumulative counter, checked against sampled power. Never modelled.

On H100 the power reading covers a quarter of the time or is an average over a second (arXiv 2312.02741), so short windows
can be badly wrong: a window under 10 s, a gap in the samples, or a counter that disagrees makes the figure invalid, with the
reason beside it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from longboard_tasks.suites.efficiency.report import Energy

WINDOW_S, GAP_S, AGREE = 10.0, 0.5, 0.05
SAMPLE_S = 0.1


@dataclass(slots=True)
class PowerTrace:
    """Samples of one device over one window: (seconds, watts), and the counter's joules at both ends."""

    start: float
    end: float = 0.0
    samples: list[tuple[float, float]] = field(default_factory=list)
    counter_start: float | None = None
    counter_end: float | None = None


def integrate(samples: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Joules between `start` and `end` by the trapezoid rule, power interpolated at both ends.

    Raises ValueError when the samples do not reach over both ends.
    """
    if len(samples) < 2 or samples[0][0] > start or samples[-1][0] < end:
        raise ValueError("samples do not cover the window")
    joules = 0.0
    for (t0, p0), (t1, p1) in pairwise(samples):
        a, b = max(t0, start), min(t1, end)
        if b <= a or t1 <= t0:
            continue
        slope = (p1 - p0) / (t1 - t0)
        joules += (b - a) * ((p0 + slope * (a - t0)) + (p0 + slope * (b - t0))) / 2
    return joules


def judge(trace: PowerTrace, *, tokens: int, idle_w: float | None = None) -> Energy:
    """The energy of a window with its validity. `tokens`: of the work done in it, for J per token."""
    reasons = []
    length = trace.end - trace.start
    if length < WINDOW_S:
        reasons.append("short_window")
    joules = None
    if trace.counter_start is None or trace.counter_end is None:
        reasons.append("no_counter")
    else:
        joules = trace.counter_end - trace.counter_start
        if joules <= 0:
            reasons.append("counter_stood_still")
    integrated = None
    try:
        integrated = integrate(trace.samples, trace.start, trace.end)
    except ValueError:
        reasons.append("samples_miss_the_ends")
    inside = [t for t, _ in trace.samples if trace.start - SAMPLE_S * 5 <= t <= trace.end + SAMPLE_S * 5]
    if any(b - a > GAP_S for a, b in pairwise(inside)):
        reasons.append("gap_in_samples")
    if joules and integrated is not None and abs(joules - integrated) > AGREE * joules:
        reasons.append("counter_and_power_disagree")
    return Energy(
        joules=joules,
        integrated=integrated,
        idle_w=idle_w,
        window_s=max(length, 0.0),
        tokens=tokens,
        is_valid=not reasons,
        reasons=tuple(reasons),
    )


class Meter:
    """NVML of one GPU. Without one (a CPU, no driver, no library) every window is invalid for `no_counter`."""

    def __init__(self, index: int | None) -> None:
        self.handle: Any = None
        self.nvml: Any = None
        if index is None:
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            self.handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            self.nvml = pynvml
        except Exception:  # NVML raises its own classes, and a missing meter must not stop a measurement
            self.handle = None

    @classmethod
    def of_this_process(cls) -> Meter:
        """The first GPU that CUDA_VISIBLE_DEVICES names; NVML counts all of them."""
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        return cls(int(first) if first.isdigit() else None)

    def read(self, name: str) -> float | None:
        """`joules` of the counter, `watts`, or `process_bytes`; None when the device does not say."""
        if self.handle is None:
            return None
        with contextlib.suppress(Exception):
            if name == "joules":
                return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1_000
            if name == "watts":
                return float(self.nvml.nvmlDeviceGetPowerUsage(self.handle)) / 1_000
            return float(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used)
        return None

    def throttle_reasons(self) -> tuple[str, ...]:
        """What holds the clocks down now, other than idleness and the settings of whoever runs the machine."""
        if self.handle is None:
            return ()
        names = {
            0x4: "power_cap",
            0x8: "hardware_slowdown",
            0x20: "thermal",
            0x40: "hardware_thermal",
            0x80: "power_brake",
        }
        with contextlib.suppress(Exception):
            bits = int(self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle))
            return tuple(name for bit, name in names.items() if bits & bit)
        return ()

    @contextlib.contextmanager
    def window(self) -> Iterator[PowerTrace]:
        """Samples power at 10 Hz on a thread of its own while the body runs; yields the trace."""
        trace = PowerTrace(start=time.perf_counter())
        if self.handle is None:
            yield trace
            trace.end = time.perf_counter()
            return
        stop = threading.Event()

        def sample() -> None:
            while True:
                watts = self.read("watts")
                if watts is not None:
                    trace.samples.append((time.perf_counter(), watts))
                if stop.wait(SAMPLE_S):
                    return

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        time.sleep(2 * SAMPLE_S)
        trace.counter_start, trace.start = self.read("joules"), time.perf_counter()
        yield trace
        trace.counter_end, trace.end = self.read("joules"), time.perf_counter()
        time.sleep(2 * SAMPLE_S)
        stop.set()
        thread.join(timeout=2)
