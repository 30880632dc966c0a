"""Where a pass spends its time: the profiler over a prompt and over decode steps, by operator and by module."""

from __future__ import annotations

import time

from longboard_tasks.suites.efficiency.bench import Bench
from longboard_tasks.suites.efficiency.breakdown import module_times, profile
from longboard_tasks.suites.efficiency.report import Breakdown, Phase, Reading
from longboard_tasks.suites.efficiency.subject import TorchSubject, failure_of, free_memory


def measure_breakdowns(bench: Bench) -> None:
    reading: Reading = "chunked" if bench.reader.mode == "shared" else "one_shot"
    for length in bench.request.breakdown_lengths:
        for phase in ("decode", "prefill"):
            if bench.left_s < 4:
                return
            try:
                break_down(bench, length, phase, reading)
            except Exception as error:
                if failure_of(error) is None:
                    raise
                free_memory(bench.device)


def break_down(bench: Bench, length: int, phase: Phase, reading: Reading) -> None:
    """A whole prompt where that is short enough; decode steps on a filled cache."""
    subject = TorchSubject(bench.reader, length=length, reading=reading, steps=64)
    if phase == "prefill":
        if bench.expect(reading, "last", 1, length) > bench.request.longest_profiled_s:
            return

        def work() -> None:
            subject.read_prompt(time.perf_counter)
    else:
        subject.stand_at(length, head=bench.head)
        work = subject.decode_step
    groups, wall, busy, launches = profile(work, bench.device)
    modules = module_times(bench.loaded.model, work, bench.device)
    bench.rows["breakdowns"].append(
        Breakdown(
            system=bench.request.name,
            phase=phase,
            context_length=length,
            reading=reading,
            wall_ms=wall,
            busy_ms=busy,
            launches=launches,
            groups=groups,
            modules=modules,
        )
    )
    subject.drop()
    free_memory(bench.device)
    bench.write()
