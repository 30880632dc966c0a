"""One launch: one System, its cells in order of worth, in a process of its own. Writes its part after every row.

Nothing here decides what a number means; it decides what is measured before the time is over. A cell that cannot be
measured is a row that says why.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from longboard_tasks.architectures import Architecture, knows, read_architecture
from longboard_tasks.costmodel import longest_context
from longboard_tasks.engine.loading import LoadedModel, load_system
from longboard_tasks.engine.machine import PeakMemory, peak_rss, report_hardware, report_software
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.selftest import run_self_test
from longboard_tasks.shapes import load_shapes
from longboard_tasks.suites.efficiency.breakdown import module_times, profile
from longboard_tasks.suites.efficiency.ceilings import measure_ceilings
from longboard_tasks.suites.efficiency.energy import Meter, judge
from longboard_tasks.suites.efficiency.limits import Stop, find_limit
from longboard_tasks.suites.efficiency.report import (
    Breakdown,
    Ceilings,
    Cell,
    Failure,
    Limit,
    Logits,
    Memory,
    Phase,
    Reading,
    Report,
    Slope,
    SystemFacts,
)
from longboard_tasks.suites.efficiency.request import Part, Request
from longboard_tasks.suites.efficiency.spread import noise_flags, summarise
from longboard_tasks.suites.efficiency.subject import TorchSubject, check_finite, failure_of, free_memory
from longboard_tasks.suites.efficiency.timing import time_decode, time_prefill, warm_decode

SLOPE_LENGTHS = (4_096, 8_192, 16_384, 32_768)


class Launch:
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
            title=shape.title if shape else request.system.model.id,
            architecture=self.loaded.architecture,
            parameters=self.loaded.parameters,
            weights_bytes=self.loaded.weights_bytes,
            prefix_mode=mode,
            prefix_reason=reason,
            chunk=request.chunk,
            attention=str(getattr(config, "_attn_implementation", "")),
            load_s=time.perf_counter() - self.began,
            published_positions=self.positions,
        )
        self.software = report_software()
        self.head = min(self.reader.chunk, 256) if self.reader.mode == "step" else self.reader.chunk
        self.ends = time.perf_counter() + request.budget_s

    @property
    def left_s(self) -> float:
        return self.ends - time.perf_counter()

    def run(self) -> Report:
        self.write()
        if self.request.ceilings:
            self.ceilings = measure_ceilings(self.device, idle_w=self.idle_w)
        work: dict[Part, Callable[[], None]] = {
            "slope": self.measure_slope,
            "cells": self.measure_cells,
            "limits": self.measure_limits,
            "full_logits": self.measure_full_logits,
            "breakdown": self.measure_breakdowns,
            "energy": self.measure_energy,
            "batch": self.measure_batch,
        }
        for part in self.request.parts:
            try:
                work[part]()
            except Exception as error:  # the parts that follow still count
                text = f"{self.request.name}, {part}: {type(error).__name__}: {' '.join(str(error).split())}"
                error.__traceback__ = None
                self.notes.append(text[:500])
                free_memory(self.device)
            self.write()
        return self.report()

    # Cells

    def measure_cells(self) -> None:
        decode_lengths = self.request.decode_lengths or self.request.lengths
        for length in sorted({*self.request.lengths, *decode_lengths}):
            read = None
            if length in self.request.lengths:
                if self.reader.mode == "shared":
                    read = self.prefill(length, "chunked", keep_stream=length in decode_lengths)
                else:
                    self.refuse(length, "chunked")
                if read is None:
                    read = self.prefill(length, "one_shot", keep_stream=length in decode_lengths)
                else:
                    self.decode(length, read)
                    read = None
                    self.prefill(length, "one_shot")
                    continue
            if length in decode_lengths:
                self.decode(length, read)

    def measure_full_logits(self) -> None:
        for length in self.request.full_lengths:
            if self.reader.mode == "shared":
                self.prefill(length, "chunked", logits="full")
            self.prefill(length, "one_shot", logits="full")

    def measure_batch(self) -> None:
        length, batch = self.request.batch_length, self.request.batch
        read = self.prefill(
            length, "chunked" if self.reader.mode == "shared" else "one_shot", batch=batch, keep_stream=True
        )
        self.decode(length, read, batch=batch)

    def measure_energy(self) -> None:
        """The cells of one length again, long enough for the energy counter to mean something."""
        if not self.on_cuda:
            return
        window, length = self.request.energy_window_s, self.request.energy_length
        if self.left_s > 1.3 * window:
            self.decode(length, None, window_s=window)
        if self.left_s > 1.3 * window:
            self.prefill(length, "chunked" if self.reader.mode == "shared" else "one_shot", window_s=window)

    def prefill(
        self, length: int, reading: Reading, *, logits: Logits = "last", batch: int = 1, keep_stream: bool = False,
        window_s: float = 0.0,
    ) -> TorchSubject | None:  # fmt: skip
        """Adds the cell; gives the subject back, with its prompt read, when asked for and it worked."""
        key: dict[str, Any] = {"phase": "prefill", "context_length": length, "batch": batch}
        key |= {"reading": reading, "logits": logits}
        expected = self.expect(reading, logits, batch, length)
        if expected > min(self.request.longest_pass_s, self.left_s):
            self.add_cell(
                failure=Failure(kind="no_time", says=f"one pass was expected to take {expected:.0f} s"), **key
            )
            return None
        subject = TorchSubject(
            self.reader, length=length, batch=batch, reading=reading, logits=logits, steps=self.request.steps + 64
        )
        memory = PeakMemory(self.device)
        try:
            memory.start()
            budget = min(self.request.cell_s, max(self.left_s, 0.1)) / 3
            with self.meter.window() if window_s else nullcontext() as trace:
                if expected > budget:  # long: one pass says it, and shorter ones have warmed everything up
                    parts = subject.read_prompt(time.perf_counter)
                    seconds = {name: [value] for name, value in parts.items()}
                    passes = 1
                else:
                    seconds = time_prefill(subject, most=self.request.repeats, budget_s=budget, window_s=window_s).parts
                    passes = len(seconds["ttft"]) + 1  # the warm-up is inside the window
            check_finite(subject)
        except Exception as error:
            self.fail(error, subject, key)
            return None
        energy = judge(trace, tokens=length * batch * passes, idle_w=self.idle_w) if trace else None
        self.note_pace(reading, logits, batch, length, min(seconds["ttft"]))
        kept = length if logits == "full" else 1
        self.add_cell(
            times={f"{name}_ms": summarise([s * 1_000 for s in values]) for name, values in seconds.items()},
            memory=self.memory(memory, subject, kept, standing=False),
            energy=energy,
            noise=noise_flags([seconds["ttft"]], throttled=self.meter.throttle_reasons()),
            **key,
        )
        if keep_stream:
            return subject
        subject.drop()
        free_memory(self.device)
        return None

    def decode(
        self, length: int, subject: TorchSubject | None, *, batch: int = 1, window_s: float = 0.0
    ) -> None:  # fmt: skip
        """Steps at the length: after the prompt where `subject` has read it, else after a filled cache."""
        filled = subject is None
        reading: Reading = "chunked" if self.reader.mode == "shared" else "one_shot"
        key: dict[str, Any] = {"phase": "decode", "context_length": length, "batch": batch, "reading": reading}
        key |= {"filled": filled}
        if self.left_s < 1:
            self.add_cell(failure=Failure(kind="no_time", says="the launch was over"), **key)
            return
        try:
            if subject is None:
                subject = TorchSubject(
                    self.reader, length=max(length, self.head), batch=batch, steps=2_048 if window_s else 128
                )
                subject.stand_at(length, head=self.head)
            memory = PeakMemory(self.device)
            memory.start()
            budget = min(self.request.cell_s, max(self.left_s, 0.5)) / 3
            warm_decode(subject, budget_s=budget / 3)
            with self.meter.window() if window_s else nullcontext() as trace:
                gaps = time_decode(
                    subject,
                    steps=self.request.steps if not window_s else 100_000,
                    budget_s=max(budget, window_s),
                    window_s=window_s,
                )
            check_finite(subject)
        except Exception as error:
            self.fail(error, subject, key)
            return
        ms = [gap * 1_000 for gap in gaps]
        energy = judge(trace, tokens=batch * len(gaps), idle_w=self.idle_w) if trace else None
        self.add_cell(
            times={"tpot_ms": summarise(ms)},
            memory=self.memory(memory, subject, 1, standing=True),
            energy=energy,
            noise=noise_flags([ms], throttled=self.meter.throttle_reasons()),
            **key,
        )
        subject.drop()
        free_memory(self.device)

    def refuse(self, length: int, reading: Reading) -> None:
        says = "this architecture's cache cannot be continued by more than one token in these libraries"
        self.add_cell(
            phase="prefill", context_length=length, reading=reading, failure=Failure(kind="unsupported", says=says)
        )

    # Memory

    def measure_slope(self) -> None:
        """Bytes held at four lengths. Filled caches hold what read ones hold: the tests compare."""
        held, lengths = [], []
        subject = None
        for length in SLOPE_LENGTHS:
            subject = TorchSubject(self.reader, length=self.head, steps=16)
            try:
                subject.stand_at(length, head=self.head)
                lengths.append(length)
                held.append(sum(subject.held_bytes().values()))
            except Exception as error:
                if failure_of(error) is None:
                    raise
                break
            finally:
                subject.drop()
                free_memory(self.device)
        if len(held) < 4 or self.architecture is None:
            return
        mean_l, mean_h = sum(lengths) / len(lengths), sum(held) / len(held)
        slope = sum((x - mean_l) * (y - mean_h) for x, y in zip(lengths, held, strict=True))
        slope /= sum((x - mean_l) ** 2 for x in lengths)
        dtype = self.request.system.runtime.dtype
        self.rows["slopes"].append(
            Slope(
                system=self.request.name,
                lengths=tuple(lengths),
                held=tuple(held),
                per_token=slope,
                constant=mean_h - slope * mean_l,
                formula_per_token=self.architecture.kv_bytes_per_token(dtype),
                formula_held=tuple(self.architecture.cache_bytes(length, dtype) for length in lengths),
            )
        )
        self.write()

    def measure_limits(self) -> None:
        for reading, logits, cap in self.request.limits:
            if (reading == "one_shot" or self.reader.mode == "shared") and self.left_s > 5:
                self.limit(reading, logits, cap)

    def limit(self, reading: Reading, logits: Logits, cap: int | None) -> None:
        """The longest prompt plus 16 decoded tokens under `cap`. Chunked: the last pass on a filled cache, with the logits
        of all passes held; one shot: the whole pass."""
        dtype = self.request.system.runtime.dtype
        room = cap or self.device_bytes()
        predicted = 4_096
        if self.architecture is not None:
            predicted = longest_context(
                self.architecture,
                room,
                dtype=dtype,
                chunk=self.reader.chunk if reading == "chunked" else None,
                full_logits=logits == "full",
                most=self.request.longest,
            )
        deadline = time.perf_counter() + min(self.left_s - 2, self.request.limit_s)

        def attempt(tokens: int) -> Stop | None:
            subject = TorchSubject(
                self.reader,
                length=tokens if reading == "one_shot" else self.reader.chunk,
                reading=reading,
                logits=logits,
                steps=32,
            )
            begun = time.perf_counter()
            expected = self.expect(reading, logits, 1, tokens) if reading == "one_shot" else 0.0
            if expected > min(self.request.longest_pass_s, deadline - begun):
                return Stop("no_time", f"one pass of {tokens} tokens was expected to take {expected:.0f} s")
            held = None
            try:
                if reading == "one_shot":
                    taken = subject.read_prompt(time.perf_counter)
                    self.note_pace(reading, logits, 1, tokens, taken["ttft"])
                else:
                    last = min(self.reader.chunk, tokens)
                    subject.stand_at(max(tokens - last, 16), head=min(self.head, max(tokens - last, 16)))
                    if logits == "full":
                        held = subject.room_for_logits(max(tokens - last, 1))
                    subject.read_last_pass(last)
                held = None
                for _ in range(16):
                    subject.decode_step()
                check_finite(subject)
            except Exception as error:
                found = failure_of(error)
                if found is None:
                    raise
                error.__traceback__ = None  # it holds the tensors of the pass
                waste = torch.cuda.memory_reserved() - torch.cuda.memory_allocated() if self.on_cuda else None
                return Stop(found.kind, found.says, found.needed_bytes, waste)
            finally:
                del held
                subject.drop()
                free_memory(self.device)
            return None

        if cap and self.on_cuda:
            torch.cuda.set_per_process_memory_fraction(min(1.0, cap / self.device_bytes()), self.device)
        try:
            found = find_limit(
                attempt, predicted=predicted, most=self.request.longest, is_over=lambda: time.perf_counter() > deadline
            )
        finally:
            if cap and self.on_cuda:
                torch.cuda.set_per_process_memory_fraction(1.0, self.device)
        ended = found.stop
        self.rows["limits"].append(
            Limit(
                system=self.request.name,
                reading=reading,
                logits=logits,
                cap_bytes=cap,
                tokens=found.tokens,
                predicted=predicted,
                ended=ended.kind,
                ended_at=found.stopped_at,
                needed_bytes=ended.needed_bytes,
                fragmentation_bytes=ended.fragmentation_bytes,
                confirmed=found.confirmed,
                published_positions=self.positions,
                says=ended.says[:500],
            )
        )
        self.write()

    # Operators

    def measure_breakdowns(self) -> None:
        reading: Reading = "chunked" if self.reader.mode == "shared" else "one_shot"
        for length in self.request.breakdown_lengths:
            for phase in ("decode", "prefill"):
                if self.left_s < 4:
                    return
                try:
                    self.break_down(length, phase, reading)
                except Exception as error:
                    if failure_of(error) is None:
                        raise
                    free_memory(self.device)

    def break_down(self, length: int, phase: Phase, reading: Reading) -> None:
        """A whole prompt where it takes under two seconds; decode steps on a filled cache."""
        subject = TorchSubject(self.reader, length=length, reading=reading, steps=64)
        if phase == "prefill":
            if self.expect(reading, "last", 1, length) > 2.0:
                return

            def work() -> None:
                subject.read_prompt(time.perf_counter)
        else:
            subject.stand_at(length, head=self.head)
            work = subject.decode_step
        groups, wall, busy, launches = profile(work, self.device)
        modules = module_times(self.loaded.model, work, self.device)
        self.rows["breakdowns"].append(
            Breakdown(
                system=self.request.name,
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
        free_memory(self.device)
        self.write()

    # Help

    def device_bytes(self) -> int:
        if self.on_cuda:
            return torch.cuda.get_device_properties(self.device).total_memory
        return report_hardware(self.device).memory_bytes

    def memory(self, peak: PeakMemory, subject: TorchSubject, kept: int, *, standing: bool) -> Memory:
        """`kept`: tokens of a row whose logits were held; `standing`: the cache was there before `peak` began."""
        last = subject.last  # in the dtype that the class gives: some cast to fp32
        logits = kept * last.numel() * last.element_size() if last is not None else 0
        held = sum(subject.held_bytes().values())
        weights = self.loaded.weights_bytes
        if self.on_cuda:
            total = peak.above_start() + peak.base
            reserved = torch.cuda.max_memory_reserved(self.device)
            process = int(self.meter.read("process_bytes") or 0)
        else:
            total = peak.above_start() + weights + (held if standing else 0)
            reserved = process = peak_rss()
        return Memory(
            weights=weights,
            cache=held,
            logits=logits,
            activations=max(0, total - weights - held - logits),
            peak=total,
            reserved=reserved,
            process=process,
        )

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
