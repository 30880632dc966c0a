"""What one launch measures with: the loaded System, its device, the time that is left, and the part that is written so far.

Nothing here decides what a number means; it says what a pass is expected to take, and keeps every row at once.
"""

from __future__ import annotations

import math
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from longboard_tasks.architectures import Architecture
from longboard_tasks.engine.kernels import use_kernels
from longboard_tasks.engine.loading import LoadedModel, load_system
from longboard_tasks.engine.machine import report_hardware, report_software
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.selftest import run_self_test
from longboard_tasks.families import knows, read_architecture
from longboard_tasks.shapes import load_shapes
from longboard_tasks.suites.efficiency.energy import Meter
from longboard_tasks.suites.efficiency.report import Ceilings, Cell, Failure, Report, SystemFacts
from longboard_tasks.suites.efficiency.request import Request
from longboard_tasks.suites.efficiency.subject import TorchSubject, failure_of, free_memory


class Bench:
    """A launch's loaded System and device, the time it has left, and its part as it stands."""

    def __init__(
        self, request: Request, out: Path, *, models_dir: Path | None = None, device: str | None = None
    ) -> None:
        self.request, self.out = request, out
        self.began = time.perf_counter()
        self.rows: dict[str, list[Any]] = {"cells": [], "limits": [], "slopes": [], "breakdowns": []}
        self.ceilings: Ceilings | None = None
        self.notes: list[str] = []
        self.paces: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
        self.meter = Meter.of_this_process()
        self.idle_w = self.meter.read("watts")
        self.loaded: LoadedModel = load_system(request.system, models_dir=models_dir, device=device)
        self.kernels = use_kernels(self.loaded) if request.system.runtime.kernels == "longboard" else {}
        self.device = self.loaded.device
        self.on_cuda = self.device.type == "cuda"
        reader = open_reader(self.loaded.model, chunk=request.chunk)
        if request.prefix_mode == "auto":
            outcome = run_self_test(reader)
            mode, reason = outcome.mode, outcome.reason
        else:
            mode, reason = request.prefix_mode, "given with the request; tested on the CPU with the same libraries"
        # A cache that may not be continued can still be decoded from: its speed is measured, step by step.
        self.reader = reader.with_(mode="step" if mode == "off" else mode)
        config = self.loaded.model.config
        self.architecture: Architecture | None = None
        if knows(type(config).__name__):
            self.architecture = read_architecture(type(config).__name__, config.to_dict(), name=request.name)
        shape = load_shapes().get(request.system.model.id) if request.system.model.source == "config" else None
        self.positions = shape.positions if shape else self.loaded.max_positions
        self.facts = SystemFacts(
            spec=request.system,
            title=(shape.title if shape else request.system.model.id) + (", our kernels" if self.kernels else ""),
            architecture=self.loaded.architecture,
            parameters=self.loaded.parameters,
            weights_bytes=self.loaded.weights_bytes,
            prefix_mode=mode,
            prefix_reason=reason,
            chunk=request.chunk,
            attention=str(getattr(config, "_attn_implementation", "")),
            load_s=time.perf_counter() - self.began,
            published_positions=self.positions,
            kernels=self.kernels,
        )
        self.software = report_software()
        self.head = min(self.reader.chunk, 256) if self.reader.mode == "step" else self.reader.chunk
        self.ends = time.perf_counter() + request.budget_s

    @property
    def left_s(self) -> float:
        return self.ends - time.perf_counter()

    def device_bytes(self) -> int:
        if self.on_cuda:
            return torch.cuda.get_device_properties(self.device).total_memory
        return report_hardware(self.device).memory_bytes

    def expect(self, reading: str, logits: str, batch: int, length: int) -> float:
        """Seconds that one pass will take, from the shorter ones that were measured; 0 when there is none."""
        seen = self.paces.get((reading, logits, batch)) or self.paces.get((reading, "last", 1))
        if not seen:
            return 0.0
        seen = sorted(seen)
        power = 1.0
        if len(seen) > 1 and seen[-1][0] > seen[-2][0]:
            power = math.log(seen[-1][1] / seen[-2][1]) / math.log(seen[-1][0] / seen[-2][0])
        return seen[-1][1] * batch * (length / seen[-1][0]) ** min(max(power, 1.0), 2.0)

    def note_pace(self, reading: str, logits: str, batch: int, length: int, seconds: float) -> None:
        self.paces.setdefault((reading, logits, batch), []).append((length, seconds))

    def fail(self, error: Exception, subject: TorchSubject | None, key: dict[str, Any]) -> None:
        found = failure_of(error)
        if subject is not None:
            subject.drop()
        error.__traceback__ = None  # it holds the tensors of the pass
        free_memory(self.device)
        if found is None:
            found = Failure(kind="error", says=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        self.add_cell(failure=found, **key)

    def add_cell(self, **values: Any) -> None:
        self.rows["cells"].append(Cell(system=self.request.name, launch=self.request.launch, **values))
        self.write()

    def report(self) -> Report:
        return Report(
            measured_at=datetime.now(UTC),
            elapsed_s=time.perf_counter() - self.began,
            hardware=report_hardware(self.device),
            software=self.software,
            ceilings=self.ceilings,
            systems={self.request.name: self.facts},
            cells=tuple(self.rows["cells"]),
            limits=tuple(self.rows["limits"]),
            slopes=tuple(self.rows["slopes"]),
            breakdowns=tuple(self.rows["breakdowns"]),
            notes=tuple(self.notes),
        )

    def write(self) -> None:
        """The part so far, whole or not at all."""
        beside = self.out.with_suffix(".new")
        beside.write_text(self.report().model_dump_json())
        os.replace(beside, self.out)
