"""Is a measured speed possible at all? Lower bounds of time from what has to be computed and read; no model is run.

A bound refuses only what no machine of that hardware can do, so every term errs on the lenient side: weights and cache that
fit the chip's own caches are free, a dense model works with at least DENSE_SHARE of its parameters on each token (the rest
may be an embedding table), a model with experts with as good as none, and an unknown CPU gets a ceiling that none has.

Source: Williams et al. 2009 (roofline); time = max(FLOP / peak, bytes / bandwidth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from longboard_tasks.architectures import Architecture
from longboard_tasks.contract import ResultBundle, RunSpec

DENSE_SHARE = 0.3
EXPERT_SHARE = 0.01
ON_CHIP_BYTES = 256e6  # more than any last-level cache of today
SLACK = 1.05
STEPS = 16  # decoded tokens of one repeat of efficiency@1
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
CPU_PEAK_FLOPS = 1e14
CPU_BANDWIDTH = 2e12
EXPERT_WORDS = ("moe", "mixtral", "deepseek", "jamba", "qwen2moe", "gptoss", "llama4", "dbrx")


class Sheet(Protocol):
    kind: str
    peak_flops: float | None
    bandwidth_bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class Roof:
    """FLOP/s and bytes/s that the hardware cannot exceed; None: not known, not checked.

    `parameters` as we registered them; `architecture` where the model's layout is known to us, which makes the bounds exact.
    """

    peak_flops: float | None
    bandwidth_bytes_per_s: float | None
    parameters: int | None = None
    architecture: Architecture | None = None

    @classmethod
    def of(cls, sheet: Sheet, *, parameters: int | None = None, architecture: Architecture | None = None) -> Roof:
        ceilings = (CPU_PEAK_FLOPS, CPU_BANDWIDTH) if sheet.kind == "cpu" else (None, None)
        return cls(
            sheet.peak_flops or ceilings[0], sheet.bandwidth_bytes_per_s or ceilings[1], parameters, architecture
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least possible times, ms, and memory, bytes."""

    ttft_ms: float
    tpot_ms: float
    peak_memory_bytes: float


def least(bundle: ResultBundle, run: RunSpec, roof: Roof) -> Bounds:
    """What the run costs at least on hardware under `roof`."""
    architecture = bundle.manifest.architecture.lower()
    share = EXPERT_SHARE if any(word in architecture for word in EXPERT_WORDS) else DENSE_SHARE
    parameters = roof.parameters or bundle.manifest.parameters
    size = BYTES[run.system.runtime.dtype]
    read = share * parameters * size
    stated = {m.metric: m.value for m in bundle.measurements}
    if run.system.method.name == "none":  # a method may hold more than it reads
        read += stated.get("cache_bytes", 0.0)
    flops, bandwidth = roof.peak_flops or float("inf"), roof.bandwidth_bytes_per_s or float("inf")
    if roof.architecture is not None and run.system.method.name == "none":
        dtype, length, layout = run.system.runtime.dtype, run.context_length, roof.architecture
        return Bounds(
            ttft_ms=1_000 * layout.prefill_flops(length) / flops / SLACK,
            tpot_ms=1_000 * max(0.0, layout.decode_bytes(length, dtype) - ON_CHIP_BYTES) / bandwidth / SLACK,
            peak_memory_bytes=(layout.weight_bytes(dtype) + layout.cache_bytes(length, dtype)) / SLACK,
        )
    return Bounds(
        ttft_ms=1_000 * 2 * share * parameters * run.context_length / flops / SLACK,
        tpot_ms=1_000 * max(0.0, read - ON_CHIP_BYTES) / bandwidth / SLACK,
        peak_memory_bytes=share * parameters * size,
    )


def too_fast(bundle: ResultBundle, run: RunSpec, roof: Roof) -> str:
    """Why the stated speeds cannot be; empty when they can."""
    stated = {m.metric: m for m in bundle.measurements}
    bounds = least(bundle, run, roof)
    for metric in ("ttft_ms", "tpot_ms", "peak_memory_bytes"):
        found, bound = stated.get(metric), getattr(bounds, metric)
        if found is not None and found.value < bound:
            return (
                f"{metric} of {found.value:.4g} is below {bound:.4g}, the least that this hardware allows (roofline)."
            )
    pairs = (("ttft_ms", "prefill_tokens_per_s", run.context_length), ("tpot_ms", "decode_tokens_per_s", 1))
    for time_metric, rate_metric, tokens in pairs:
        if time_metric in stated and rate_metric in stated:
            product = stated[time_metric].value / 1_000 * stated[rate_metric].value / tokens
            if not 0.8 <= product <= 1.25:
                return f"{time_metric} and {rate_metric} contradict each other: their product is {product:.3g}, not 1."
    if "ttft_ms" in stated and "tpot_ms" in stated:
        busy_s = run.samples * (stated["ttft_ms"].value + STEPS * stated["tpot_ms"].value) / 1_000
        if bundle.manifest.wall_s < 0.5 * busy_s:
            return f"the run says it took {bundle.manifest.wall_s:.3g} s, but its repeats take {busy_s:.3g} s."
    return ""
