"""One launch: one System, its cells in order of worth, in a process of its own. Writes its part after every row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from longboard_tasks.suites.efficiency.bench import Bench
from longboard_tasks.suites.efficiency.capacity import measure_limits, measure_slope
from longboard_tasks.suites.efficiency.ceilings import measure_ceilings
from longboard_tasks.suites.efficiency.cells import measure_batch, measure_cells, measure_energy, measure_full_logits
from longboard_tasks.suites.efficiency.operators import measure_breakdowns
from longboard_tasks.suites.efficiency.report import Report
from longboard_tasks.suites.efficiency.request import Part, Request
from longboard_tasks.suites.efficiency.subject import free_memory

PARTS: dict[Part, Callable[[Bench], None]] = {
    "slope": measure_slope,
    "cells": measure_cells,
    "limits": measure_limits,
    "full_logits": measure_full_logits,
    "breakdown": measure_breakdowns,
    "energy": measure_energy,
    "batch": measure_batch,
}


def measure_system(request: Request, out: Path, *, models_dir: Path | None = None, device: str | None = None) -> Report:
    """Every part that was asked for, in the order of the request, until the time is over.

    After every row `out` holds the report so far. What goes wrong in one part is a note, and the parts that follow are measured.
    """
    bench = Bench(request, out, models_dir=models_dir, device=device)
    bench.write()
    if request.ceilings:
        bench.ceilings = measure_ceilings(bench.device, idle_w=bench.idle_w)
    for part in request.parts:
        try:
            PARTS[part](bench)
        except Exception as error:  # the parts that follow still count
            text = f"{request.name}, {part}: {type(error).__name__}: {' '.join(str(error).split())}"
            error.__traceback__ = None
            bench.notes.append(text[:500])
            free_memory(bench.device)
        bench.write()
    return bench.report()
