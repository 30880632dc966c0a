"""What the memory holds: bytes at four lengths and their slope, and the longest context that works."""

from __future__ import annotations

import time

import torch

from longboard_tasks.costmodel import longest_context
from longboard_tasks.suites.efficiency.bench import Bench
from longboard_tasks.suites.efficiency.limits import Stop, find_limit
from longboard_tasks.suites.efficiency.report import Limit, Logits, Reading, Slope
from longboard_tasks.suites.efficiency.subject import TorchSubject, check_finite, failure_of, free_memory

SLOPE_LENGTHS = (4_096, 8_192, 16_384, 32_768)


def measure_slope(bench: Bench) -> None:
    """Bytes held at four lengths. Filled caches hold what read ones hold: the tests compare."""
    held, lengths = [], []
    subject = None
    for length in SLOPE_LENGTHS:
        subject = TorchSubject(bench.reader, length=bench.head, steps=16)
        try:
            subject.stand_at(length, head=bench.head)
            lengths.append(length)
            held.append(sum(subject.held_bytes().values()))
        except Exception as error:
            if failure_of(error) is None:
                raise
            break
        finally:
            subject.drop()
            free_memory(bench.device)
    if len(held) < 4 or bench.architecture is None:
        return
    mean_l, mean_h = sum(lengths) / len(lengths), sum(held) / len(held)
    slope = sum((x - mean_l) * (y - mean_h) for x, y in zip(lengths, held, strict=True))
    slope /= sum((x - mean_l) ** 2 for x in lengths)
    dtype = bench.request.system.runtime.dtype
    bench.rows["slopes"].append(
        Slope(
            system=bench.request.name,
            lengths=tuple(lengths),
            held=tuple(held),
            per_token=slope,
            constant=mean_h - slope * mean_l,
            formula_per_token=bench.architecture.kv_bytes_per_token(dtype),
            formula_held=tuple(bench.architecture.cache_bytes(length, dtype) for length in lengths),
        )
    )
    bench.write()


def measure_limits(bench: Bench) -> None:
    for reading, logits, cap in bench.request.limits:
        if (reading == "one_shot" or bench.reader.mode == "shared") and bench.left_s > 5:
            limit(bench, reading, logits, cap)


def limit(bench: Bench, reading: Reading, logits: Logits, cap: int | None) -> None:
    """The longest prompt plus 16 decoded tokens under `cap`. Chunked: the last pass on a filled cache, with the logits
    of all passes held; one shot: the whole pass."""
    dtype = bench.request.system.runtime.dtype
    room = cap or bench.device_bytes()
    predicted = 4_096
    if bench.architecture is not None:
        predicted = longest_context(
            bench.architecture,
            room,
            dtype=dtype,
            chunk=bench.reader.chunk if reading == "chunked" else None,
            full_logits=logits == "full",
            most=bench.request.longest,
        )
    deadline = time.perf_counter() + min(bench.left_s - 2, bench.request.limit_s)

    def attempt(tokens: int) -> Stop | None:
        subject = TorchSubject(
            bench.reader,
            length=tokens if reading == "one_shot" else bench.reader.chunk,
            reading=reading,
            logits=logits,
            steps=32,
        )
        begun = time.perf_counter()
        expected = bench.expect(reading, logits, 1, tokens) if reading == "one_shot" else 0.0
        if expected > min(bench.request.longest_pass_s, deadline - begun):
            return Stop("no_time", f"one pass of {tokens} tokens was expected to take {expected:.0f} s")
        held = None
        try:
            if reading == "one_shot":
                taken = subject.read_prompt(time.perf_counter)
                bench.note_pace(reading, logits, 1, tokens, taken["ttft"])
            else:
                last = min(bench.reader.chunk, tokens)
                subject.stand_at(max(tokens - last, 16), head=min(bench.head, max(tokens - last, 16)))
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
            waste = torch.cuda.memory_reserved() - torch.cuda.memory_allocated() if bench.on_cuda else None
            return Stop(found.kind, found.says, found.needed_bytes, waste)
        finally:
            del held
            subject.drop()
            free_memory(bench.device)
        return None

    if cap and bench.on_cuda:
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / bench.device_bytes()), bench.device)
    try:
        found = find_limit(
            attempt, predicted=predicted, most=bench.request.longest, is_over=lambda: time.perf_counter() > deadline
        )
    finally:
        if cap and bench.on_cuda:
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    ended = found.stop
    bench.rows["limits"].append(
        Limit(
            system=bench.request.name,
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
            published_positions=bench.positions,
            says=ended.says[:500],
        )
    )
    bench.write()
