"""What a System costs on paper: parameters, FLOPs, bytes, and bounds on time and memory. Pure Python, no torch.

    architecture = architecture_of(load_shapes()["llama-1b"])
    estimate(architecture, SHEETS["h100-80gb"], context_length=131_072)      # times, memory, concurrency, swaps
    price(architecture, sheet, context_length=8_192, samples=20)             # what a Run will take, before it runs

Sources: Fu 2024 (challenges in deploying long-context transformers, arXiv:2405.08944) for the four costs; Pope et al. 2022
(efficiently scaling transformer inference, arXiv:2211.05102) for model FLOPs. Counting is closed form over the layers:

    prefill     2 x parameters used + 4 x heads x head size x keys seen, for each token (causal: half of the square)
    decode      bytes of the weights used + keys, values and states read (states also written), over the bandwidth
    swap        keys, values and states over the host link, out and in

A bound is the time of perfect hardware. What stock code takes is that times a factor, which we measured (`EXPECTED`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from longboard_tasks.architectures import SIZES, Architecture, Layer
from longboard_tasks.sizes import bytes_text


@dataclass(frozen=True, slots=True)
class HardwareSheet:
    """Dense bf16 FLOP/s, bytes/s of memory and of the link to the host, seconds of host time for one small kernel."""

    name: str
    kind: Literal["cuda", "cpu"]
    memory_bytes: int
    flops: float
    bandwidth: float
    link: float = 25e9
    launch_s: float = 7e-6


GIB = 2**30
SHEETS = {
    sheet.name: sheet
    for sheet in (
        HardwareSheet("h100-80gb", "cuda", 80 * 10**9, 989e12, 3.35e12, 55e9),
        HardwareSheet("h200", "cuda", 141 * 10**9, 989e12, 4.8e12, 55e9),
        HardwareSheet("a100-80gb", "cuda", 80 * 10**9, 312e12, 2.0e12, 20e9),
        HardwareSheet("l40s", "cuda", 48 * 10**9, 362e12, 0.864e12, 25e9),
        HardwareSheet("rtx-4090", "cuda", 24 * GIB, 165e12, 1.008e12, 25e9),
        HardwareSheet("cpu", "cpu", 16 * GIB, 0.16e12, 20e9, 10e9, 4e-6),  # two cores of a server, fp32
    )
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bounds of one row set: seconds and bytes. `decode_s` is one step of the whole batch."""

    context_length: int
    batch: int
    weight_bytes: int
    cache_bytes: int
    logits_bytes: int
    passing_bytes: int  # short-lived tensors of one pass, as far as its logits do not take their place
    prefill_s: float
    decode_s: float
    concurrency: int  # rows of this length that fit beside the weights and one pass
    swap_s: float  # one row's cache out to the host and another's in
    fits: bool

    @property
    def memory_bytes(self) -> int:
        return self.weight_bytes + self.cache_bytes + self.logits_bytes + self.passing_bytes


def estimate(
    architecture: Architecture, sheet: HardwareSheet, *, context_length: int, batch: int = 1, dtype: str = "bfloat16",
    chunk: int | None = None, full_logits: bool = False,
) -> Estimate:  # fmt: skip
    """The four costs at one length. `chunk`: tokens in one pass; None reads the prompt in one."""
    size = SIZES[dtype]
    pass_tokens = min(chunk or context_length, context_length)
    weights = architecture.weight_bytes(dtype)
    cache = architecture.cache_bytes(context_length, dtype, batch)
    row_of_logits = batch * architecture.vocabulary * (architecture.logit_size or size)
    logits = row_of_logits * (context_length if full_logits else 1)
    # The logits of a pass are made when its short-lived tensors are gone.
    of_pass = row_of_logits * (pass_tokens if full_logits else 1)
    passing = max(0, batch * pass_bytes(architecture, pass_tokens, dtype) - of_pass)
    prefill = max(
        batch * architecture.prefill_flops(context_length, full_logits=full_logits) / sheet.flops,
        math.ceil(context_length / pass_tokens) * architecture.used * size / sheet.bandwidth,
    )
    decode = max(
        architecture.decode_bytes(context_length, dtype, batch) / sheet.bandwidth,
        batch * architecture.decode_flops(context_length) / sheet.flops,
    )
    row = architecture.cache_bytes(context_length, dtype)
    spare = sheet.memory_bytes - weights - passing / batch
    return Estimate(
        context_length=context_length,
        batch=batch,
        weight_bytes=weights,
        cache_bytes=cache,
        logits_bytes=logits,
        passing_bytes=passing,
        prefill_s=prefill,
        decode_s=decode,
        concurrency=max(0, int(spare // row)) if row else 0,
        swap_s=2 * row / sheet.link,
        fits=weights + cache + logits + passing <= sheet.memory_bytes,
    )


def pass_bytes(architecture: Architecture, tokens: int, dtype: str = "bfloat16") -> int:
    """The largest set of short-lived tensors in one pass of `tokens`.

    A gated MLP holds four tensors of the model's width and three of its own; a scan in plain torch what its `scan_bytes` say.
    Held to the H100 table: peaks within 5 % (tests/suites/efficiency).
    """
    per_token = SIZES[dtype] * (4 * architecture.hidden + 3 * architecture.inner)
    return tokens * max(per_token, *(layer.scan_bytes for layer in architecture.layers))


def longest_context(
    architecture: Architecture, memory_bytes: int, *, dtype: str = "bfloat16", chunk: int | None = None,
    full_logits: bool = False, most: int = 16 * 2**20,
) -> int:  # fmt: skip
    """Tokens of one row that fit `memory_bytes`; `most` where nothing grows. 0: not even the weights."""
    sheet = replace(SHEETS["h100-80gb"], memory_bytes=memory_bytes)

    def fits(tokens: int) -> bool:
        return estimate(
            architecture, sheet, context_length=tokens, dtype=dtype, chunk=chunk, full_logits=full_logits
        ).fits

    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@dataclass(frozen=True, slots=True)
class Range:
    """Measured over bound, on stock code: the middle and the ends that we saw."""

    low: float
    middle: float
    high: float


# Measured time over this module's bound at the vendor's rates, by kind of device and architecture. CUDA: the ends and the
# middle of the H100 table that ships with the suite, decode by the host's clock (tests/suites/efficiency holds the two
# together). CPU: the middles are process time of the zoo's models at 1K and 4K on one core; the ends are wide by hand.
EXPECTED: dict[tuple[str, str], tuple[Range, Range]] = {
    # (device, kind): (prefill, decode)
    ("cuda", "attention"): (Range(2.1, 3.1, 45.0), Range(2.2, 16.0, 110.0)),
    ("cuda", "state"): (Range(25.0, 65.0, 180.0), Range(45.0, 80.0, 140.0)),
    ("cuda", "hybrid"): (Range(7.9, 42.0, 175.0), Range(7.0, 52.0, 180.0)),
    ("cpu", "attention"): (Range(1.0, 1.2, 4.0), Range(1.0, 4.0, 8.0)),
    ("cpu", "state"): (Range(3.0, 4.5, 15.0), Range(3.0, 10.0, 20.0)),
    ("cpu", "hybrid"): (Range(2.0, 3.0, 10.0), Range(2.0, 7.0, 15.0)),
}
# How long the device itself is busy in a decode step of stock code, over the bound at the rates it reaches: the rest of the
# host's clock is Python launching kernels one by one.
BUSY = {"attention": 3.0, "hybrid": 6.0, "state": 6.0}


@dataclass(frozen=True, slots=True)
class Price:
    """What one Run will take on one device. Seconds are wide on purpose: `says` tells what they rest on."""

    seconds_low: float
    seconds: float
    seconds_high: float
    memory_bytes: int
    fits: bool
    says: str


def price(
    architecture: Architecture, sheet: HardwareSheet, *, context_length: int, samples: int, kind: str = "accuracy",
    dtype: str = "bfloat16", new_tokens: int = 16, chunk: int = 512,
) -> Price:  # fmt: skip
    """Time and memory of one Run: `samples` prompts of an accuracy suite, or repeats of the efficiency suite.

    Each prompt is priced alone: shared beginnings make it cheaper, which the low end allows for.
    """
    found = estimate(architecture, sheet, context_length=context_length, dtype=dtype, chunk=chunk)
    prefill, decode = EXPECTED[sheet.kind, architecture.kind]
    prompts = samples + (1 if kind == "efficiency" else 0)
    least = 0.25 if kind == "accuracy" else 1.0
    bound = (found.prefill_s, new_tokens * found.decode_s)
    seconds = [prompts * (bound[0] * p + bound[1] * d) for p, d in zip(_ends(prefill), _ends(decode), strict=True)]
    basis = "a typical layout of this many parameters" if architecture.is_guess else "this architecture"
    needs, has = bytes_text(found.memory_bytes), bytes_text(sheet.memory_bytes)
    says = f"{needs} of {has}, from {basis}"
    if not found.fits:
        says = (
            f"Needs about {needs} at context {context_length} (weights {bytes_text(found.weight_bytes)}, cache "
            f"{bytes_text(found.cache_bytes)}, rest {bytes_text(found.logits_bytes + found.passing_bytes)}); "
            f"{sheet.name} has {has}."
        )
    return Price(least * seconds[0], seconds[1], seconds[2], found.memory_bytes, found.fits, says)


def sheet_for(
    *, name: str, kind: str, memory_bytes: int, flops: float | None, bandwidth: float | None
) -> HardwareSheet:
    """A sheet from what a registered machine says of itself; what it does not say is taken from the nearest of SHEETS."""
    known = SHEETS["cpu"]
    if kind == "cuda":
        known = min(
            (sheet for sheet in SHEETS.values() if sheet.kind == "cuda"),
            key=lambda sheet: abs(math.log(sheet.memory_bytes / max(memory_bytes, 1))),
        )
    return replace(
        known,
        name=name,
        memory_bytes=memory_bytes or known.memory_bytes,
        flops=flops or known.flops,
        bandwidth=bandwidth or known.bandwidth,
    )


def guess_architecture(parameters: int) -> Architecture:
    """A dense Transformer of this size with grouped keys, for models whose configuration is not at hand.

    Depth rises as the parameters to the 0.29 (12 layers at 100M, 80 at 70B); a quarter of the heads for keys and values.
    """
    layers = max(2, round(12 * (parameters / 10**8) ** 0.29))
    hidden = max(64, int(math.sqrt(parameters / (12 * layers))) // 64 * 64)
    block = Layer(
        "attention", stored=parameters // layers, used=parameters // layers, kv_width=hidden // 2, score_width=hidden
    )
    return Architecture(
        name=f"guess of {parameters}",
        vocabulary=32_000,
        hidden=hidden,
        inner=4 * hidden,
        layers=(block,) * layers,
        stored=parameters,
        head_used=0,
        is_guess=True,
    )


def _ends(found: Range) -> tuple[float, float, float]:
    return found.low, found.middle, found.high
