"""Cells: time, memory and energy of a prefill or of decode steps at one length. One that cannot be measured says why."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import torch

from longboard_tasks.engine.machine import PeakMemory, peak_rss
from longboard_tasks.suites.efficiency.bench import Bench
from longboard_tasks.suites.efficiency.energy import judge
from longboard_tasks.suites.efficiency.report import Failure, Logits, Memory, Reading
from longboard_tasks.suites.efficiency.spread import noise_flags, summarise
from longboard_tasks.suites.efficiency.subject import TorchSubject, check_finite, free_memory
from longboard_tasks.suites.efficiency.timing import time_decode, time_prefill, warm_decode


def measure_cells(bench: Bench) -> None:
    decode_lengths = bench.request.decode_lengths or bench.request.lengths
    for length in sorted({*bench.request.lengths, *decode_lengths}):
        read = None
        if length in bench.request.lengths:
            if bench.reader.mode == "shared":
                read = prefill(bench, length, "chunked", keep_stream=length in decode_lengths)
            else:
                refuse(bench, length, "chunked")
            if read is None:
                read = prefill(bench, length, "one_shot", keep_stream=length in decode_lengths)
            else:
                decode(bench, length, read)
                read = None
                prefill(bench, length, "one_shot")
                continue
        if length in decode_lengths:
            decode(bench, length, read)


def measure_full_logits(bench: Bench) -> None:
    for length in bench.request.full_lengths:
        if bench.reader.mode == "shared":
            prefill(bench, length, "chunked", logits="full")
        prefill(bench, length, "one_shot", logits="full")


def measure_batch(bench: Bench) -> None:
    length, batch = bench.request.batch_length, bench.request.batch
    read = prefill(
        bench, length, "chunked" if bench.reader.mode == "shared" else "one_shot", batch=batch, keep_stream=True
    )
    decode(bench, length, read, batch=batch)


def measure_energy(bench: Bench) -> None:
    """The cells of one length again, long enough for the energy counter to mean something."""
    if not bench.on_cuda:
        return
    window, length = bench.request.energy_window_s, bench.request.energy_length
    if bench.left_s > 1.3 * window:
        decode(bench, length, None, window_s=window)
    if bench.left_s > 1.3 * window:
        prefill(bench, length, "chunked" if bench.reader.mode == "shared" else "one_shot", window_s=window)


def prefill(
    bench: Bench, length: int, reading: Reading, *, logits: Logits = "last", batch: int = 1, keep_stream: bool = False,
    window_s: float = 0.0,
) -> TorchSubject | None:  # fmt: skip
    """Adds the cell; gives the subject back, with its prompt read, when asked for and it worked."""
    key: dict[str, Any] = {"phase": "prefill", "context_length": length, "batch": batch}
    key |= {"reading": reading, "logits": logits}
    expected = bench.expect(reading, logits, batch, length)
    if expected > min(bench.request.longest_pass_s, bench.left_s):
        bench.add_cell(failure=Failure(kind="no_time", says=f"one pass was expected to take {expected:.0f} s"), **key)
        return None
    subject = TorchSubject(
        bench.reader, length=length, batch=batch, reading=reading, logits=logits, steps=bench.request.steps + 64
    )
    memory = PeakMemory(bench.device)
    try:
        memory.start()
        budget = min(bench.request.cell_s, max(bench.left_s, 0.1)) / 3
        with bench.meter.window() if window_s else nullcontext() as trace:
            if expected > budget:  # long: one pass says it, and shorter ones have warmed everything up
                parts = subject.read_prompt(time.perf_counter)
                seconds = {name: [value] for name, value in parts.items()}
                passes = 1
            else:
                seconds = time_prefill(subject, most=bench.request.repeats, budget_s=budget, window_s=window_s).parts
                passes = len(seconds["ttft"]) + 1  # the warm-up is inside the window
        check_finite(subject)
    except Exception as error:
        bench.fail(error, subject, key)
        return None
    energy = judge(trace, tokens=length * batch * passes, idle_w=bench.idle_w) if trace else None
    bench.note_pace(reading, logits, batch, length, min(seconds["ttft"]))
    kept = length if logits == "full" else 1
    bench.add_cell(
        times={f"{name}_ms": summarise([s * 1_000 for s in values]) for name, values in seconds.items()},
        memory=memory_of(bench, memory, subject, kept, standing=False),
        energy=energy,
        noise=noise_flags([seconds["ttft"]], throttled=bench.meter.throttle_reasons()),
        **key,
    )
    if keep_stream:
        return subject
    subject.drop()
    free_memory(bench.device)
    return None


def decode(
    bench: Bench, length: int, subject: TorchSubject | None, *, batch: int = 1, window_s: float = 0.0
) -> None:  # fmt: skip
    """Steps at the length: after the prompt where `subject` has read it, else after a filled cache."""
    filled = subject is None
    reading: Reading = "chunked" if bench.reader.mode == "shared" else "one_shot"
    key: dict[str, Any] = {"phase": "decode", "context_length": length, "batch": batch, "reading": reading}
    key |= {"filled": filled}
    if bench.left_s < 1:
        bench.add_cell(failure=Failure(kind="no_time", says="the launch was over"), **key)
        return
    try:
        if subject is None:
            subject = TorchSubject(
                bench.reader, length=max(length, bench.head), batch=batch, steps=8_192 if window_s else 128
            )
            subject.stand_at(length, head=bench.head)
        memory = PeakMemory(bench.device)
        memory.start()
        budget = min(bench.request.cell_s, max(bench.left_s, 0.5)) / 3
        warm_decode(subject, budget_s=budget / 3)
        with bench.meter.window() if window_s else nullcontext() as trace:
            gaps = time_decode(
                subject,
                steps=bench.request.steps if not window_s else 100_000,
                budget_s=max(budget, window_s),
                window_s=window_s,
            )
        check_finite(subject)
    except Exception as error:
        bench.fail(error, subject, key)
        return
    ms = [gap * 1_000 for gap in gaps]
    energy = judge(trace, tokens=batch * len(gaps), idle_w=bench.idle_w) if trace else None
    bench.add_cell(
        times={"tpot_ms": summarise(ms)},
        memory=memory_of(bench, memory, subject, 1, standing=True),
        energy=energy,
        noise=noise_flags([ms], throttled=bench.meter.throttle_reasons()),
        **key,
    )
    subject.drop()
    free_memory(bench.device)


def refuse(bench: Bench, length: int, reading: Reading) -> None:
    says = "this architecture's cache cannot be continued by more than one token in these libraries"
    bench.add_cell(
        phase="prefill", context_length=length, reading=reading, failure=Failure(kind="unsupported", says=says)
    )


def memory_of(bench: Bench, peak: PeakMemory, subject: TorchSubject, kept: int, *, standing: bool) -> Memory:
    """`kept`: tokens of a row whose logits were held; `standing`: the cache was there before `peak` began."""
    last = subject.last  # in the dtype that the class gives: some cast to fp32
    logits = kept * last.numel() * last.element_size() if last is not None else 0
    held = sum(subject.held_bytes().values())
    weights = bench.loaded.weights_bytes
    if bench.on_cuda:
        total = peak.above_start() + peak.base
        reserved = torch.cuda.max_memory_reserved(bench.device)
        process = int(bench.meter.read("process_bytes") or 0)
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
