"""`efficiency@1/generate`: prefill and decode at the context length, timed with the schedule that scores accuracy.

Each repeat reads `context_length` random prose tokens into an empty cache (TTFT: from the start of the first pass to the first
token on the host), then decodes at that length (TPOT over 16 steps, never by subtraction). One warm-up comes first. Batch 1.

A System with our kernels decodes by one CUDA graph where scoring does. It is captured after the first token and before the
clock of the TPOT starts: about two steps of Python, once a prompt.

A Method compresses after the last token but one of the prompt, inside the TTFT; what it does at every step is inside the TPOT.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from longboard_tasks.contract import Measurement
from longboard_tasks.engine.engine import Engine
from longboard_tasks.engine.graph import decoding
from longboard_tasks.engine.machine import PeakMemory, synchronize
from longboard_tasks.engine.stream import count_bytes
from longboard_tasks.intervals import median_interval
from longboard_tasks.suites.segments import prose_ids

STEPS = 16  # decoded after the first token
WARM_UP_CPU = 256  # tokens; on a CPU nothing is compiled for the length itself


@dataclass(frozen=True, slots=True)
class Repeat:
    """One timed prefill and decode. Seconds; bytes above what stood before, weights included in `peak_bytes`."""

    first_token_s: float
    decode_s: float
    cache_bytes: int
    peak_bytes: int
    tokens: int
    compress_s: float = 0.0  # of the first token's time


def measure(
    engine: Engine, *, context_length: int, repeats: int, seed: int, on_repeat: Callable[[int], None] | None = None
) -> list[Measurement]:
    """Medians over `repeats` with their order-statistics intervals. `on_repeat` gets the number of finished repeats."""
    rng = random.Random(f"efficiency/generate@1:{context_length}:{seed}")
    prose = prose_ids(engine.loaded.tokenizer)
    on_cuda = engine.loaded.device.type == "cuda"
    run_once(engine, draw_prompt(prose, context_length if on_cuda else min(context_length, WARM_UP_CPU), rng))
    done = []
    for number in range(1, repeats + 1):
        done.append(run_once(engine, draw_prompt(prose, context_length, rng)))
        if on_repeat:
            on_repeat(number)
    values: dict[str, tuple[str, list[float]]] = {
        "ttft_ms": ("ms", [r.first_token_s * 1_000 for r in done]),
        "tpot_ms": ("ms", [r.decode_s / STEPS * 1_000 for r in done]),
        "prefill_tokens_per_s": ("tokens/s", [r.tokens / r.first_token_s for r in done]),
        "decode_tokens_per_s": ("tokens/s", [STEPS / r.decode_s for r in done]),
        "peak_memory_bytes": ("bytes", [float(r.peak_bytes) for r in done]),
        "cache_bytes": ("bytes", [float(r.cache_bytes) for r in done]),
    }
    rows = []
    for metric, (unit, numbers) in values.items():
        value, low, high = median_interval(numbers)
        rows.append(
            Measurement(
                task="generate", metric=metric, context_length=context_length, value=value, ci_low=low, ci_high=high,
                n=len(numbers), unit=unit,
            )
        )  # fmt: skip
    return rows


def draw_prompt(prose: list[int], count: int, rng: random.Random) -> torch.Tensor:
    """`count` tokens of prose from a random place, [1, count]; the prose starts again where it ends."""
    start = rng.randrange(len(prose))
    return torch.tensor([[prose[(start + i) % len(prose)] for i in range(count)]])


def run_once(engine: Engine, ids: torch.Tensor, *, steps: int = STEPS) -> Repeat:
    """Read `ids` [1, T] into an empty cache, under the engine's Method, and decode `steps` tokens after the first."""
    device, reader, method = engine.loaded.device, engine.reader.with_(chunk=engine.schedule.chunk), engine.method
    tokens = ids.shape[1]
    ids = ids.to(device)
    memory = PeakMemory(device)
    memory.start()
    synchronize(device)
    started = time.perf_counter()
    stream = reader.open(tokens + steps + 1)
    compress_s = 0.0
    if method is not None:
        method.prepare(stream)
        reader.read_last(stream, ids[:, :-1])
        synchronize(device)
        compressing = time.perf_counter()
        method.after_context(stream)
        synchronize(device)
        compress_s = time.perf_counter() - compressing
    token = int(reader.read_last(stream, ids[:, -1:] if method else ids).argmax())  # waits for the device
    first = time.perf_counter()
    held = sum(count_bytes(stream).values())
    with decoding(reader, stream, 0 if method else steps) as by_graph:  # as scoring does; captured outside the clock
        synchronize(device)
        decode_started = time.perf_counter()
        for number in range(steps):
            if by_graph is not None:
                logits = by_graph([token], number)
            elif reader.mode == "off":  # nothing may be continued, so every token reads everything again
                ids = torch.cat([ids, torch.tensor([[token]], device=device)], dim=1)
                logits = reader.read(reader.open(), ids, 1)[:, -1]
            else:
                logits = reader.read(stream, torch.tensor([[token]], device=device), 1)[:, -1]
                if method is not None:
                    method.after_step(stream)
            token = int(logits[0].argmax())
        decoded = time.perf_counter()
    peak = memory.above_start() + engine.loaded.weights_bytes
    return Repeat(first - started, decoded - decode_started, held, peak, tokens, compress_s)
