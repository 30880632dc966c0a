"""What to measure: the short list for any System, and the table of one large GPU. No torch here, save in `system`."""

from __future__ import annotations

from collections.abc import Sequence

from longboard_tasks.contract import ModelRef, Runtime, SystemSpec
from longboard_tasks.suites.efficiency.request import Request

K = 1_024
GIB = 2**30
QUARTERS = (K, 4 * K, 16 * K, 64 * K, 256 * K)  # read
DECODED = (K, 4 * K, 16 * K, 64 * K, 128 * K, 256 * K, K * K)
FOUR = (K, 4 * K, 16 * K, 64 * K)
PAPER = 57_344  # the length of the characterisation paper


def config_system(shape_id: str, dtype: str = "bfloat16", kernels: str = "stock") -> SystemSpec:
    runtime = Runtime.model_validate({"dtype": dtype, "kernels": kernels})
    return SystemSpec(model=ModelRef(source="config", id=shape_id), runtime=runtime)


def name_of(system: SystemSpec) -> str:
    """What reports call it: the model, and our kernels where they are asked for."""
    name = system.model.id.lower().replace("/", "-")
    return name if system.runtime.kernels == "stock" else f"{name}-{system.runtime.kernels}"


def plain_plan(
    systems: Sequence[tuple[str, SystemSpec]], *, lengths: Sequence[int], budget_s: float, launches: int = 1
) -> list[Request]:
    """Every part for each System at the given lengths; launches in turn, so that drift falls on all alike."""
    share = budget_s / max(1, len(systems) * launches)
    rising = tuple(sorted(lengths))
    return [
        Request(
            name=name, system=system, launch=launch, lengths=rising, breakdown_lengths=rising[:4] if launch == 1 else (),
            full_lengths=rising if launch == 1 else (), budget_s=share, ceilings=launch == 1 and not index,
            parts=("slope", "cells", "full_logits", "breakdown", "energy") if launch == 1 else ("cells",),
        )
        for launch in range(1, launches + 1)
        for index, (name, system) in enumerate(systems)
    ]  # fmt: skip


def table_plan() -> list[Request]:
    """One 80 GB GPU, twelve random-weight Systems, and six of them with our kernels: what the Efficiency and Claims pages show.
    Most valuable first.

    Budgets are weights: with more time each launch gets more, with less each is cut. Mamba-1's stock code has a Python loop over
    the tokens, hence its short lengths. Limits come last: they take what time is left.
    """
    common = {
        "prefix_mode": "shared", "chunk": 4 * K, "decode_lengths": DECODED, "breakdown_lengths": FOUR, "cell_s": 4.5,
        "limit_s": 12, "longest_profiled_s": 6.0,
        "parts": ("slope", "cells", "batch", "energy", "full_logits", "breakdown", "limits"),
    }  # fmt: skip
    all_limits = [(reading, logits, 24 * GIB) for logits in ("full", "last") for reading in ("one_shot", "chunked")]
    limits = {"limits": [("chunked", "last", None), ("chunked", "last", 24 * GIB), ("one_shot", "last", 24 * GIB)]}

    def request(shape_id: str, budget_s: float, lengths: Sequence[int], **options: object) -> Request:
        return Request.model_validate(
            {"name": shape_id, "system": config_system(shape_id), "budget_s": budget_s, "lengths": lengths}
            | common
            | options
        )

    def accelerated(shape_id: str, *lengths: int) -> Request:
        system = config_system(shape_id, kernels="longboard")
        parts = ("cells", "batch", "energy", "breakdown", "slope", "limits")
        return request(shape_id, 30, lengths, name=name_of(system), system=system, parts=parts, **limits)

    paper = (K, 4 * K, 8 * K, 16 * K, 32 * K, PAPER)
    # The pair of the characterisation paper: its limits are what is compared, so they come early.
    pair = {
        "parts": ("slope", "cells", "limits", "energy", "full_logits", "batch", "breakdown"),
        "energy_length": PAPER,
    }
    hybrid = (K, 4 * K, 16 * K, 64 * K)
    return [
        request(
            "llama-1b", 80, (*QUARTERS[:4], 128 * K, 256 * K), full_lengths=FOUR, ceilings=True,
            limits=[("chunked", "last", None), *all_limits],
        ),
        request(
            "mamba2-780m", 75, (K, 4 * K, 16 * K, PAPER), full_lengths=(K, 4 * K), **pair, limits=all_limits,
            longest_pass_s=60,
        ),
        request("qwen2.5-0.5b", 65, (*paper, 128 * K), full_lengths=paper, **pair, limits=all_limits),
        request("mamba2-1b", 50, (K, 4 * K, 16 * K), full_lengths=(4 * K, 16 * K), **limits),
        request(
            "llama-8b", 55, (K, 4 * K, 16 * K, 64 * K, 128 * K), full_lengths=(16 * K, 64 * K),
            limits=[("chunked", "last", None), ("one_shot", "full", None)],
        ),
        request(
            "mamba-1.4b", 45, (K, 2 * K), prefix_mode="step", decode_lengths=FOUR, breakdown_lengths=(256, K),
            full_lengths=(K,), batch_length=K, energy_length=K, limits=[("one_shot", "last", 24 * GIB)],
        ),
        request("falcon-h1-1.5b", 50, hybrid, full_lengths=(4 * K, 16 * K), **limits),
        request("granite-h-1b", 50, hybrid, full_lengths=(4 * K, 16 * K), **limits),
        request("zamba2-1.2b", 50, hybrid, full_lengths=(4 * K, 16 * K), **limits),
        request("lfm2-1.2b", 45, QUARTERS, full_lengths=(4 * K, 64 * K), **limits),
        request("qwen3-next-0.7b", 45, hybrid, full_lengths=(4 * K,), **limits),
        request("recurrentgemma-2b", 40, hybrid, prefix_mode="step", full_lengths=(4 * K,), **limits),
        accelerated("llama-1b", *FOUR, 128 * K),
        accelerated("mamba2-1b", *FOUR, 128 * K),
        accelerated("mamba-1.4b", *FOUR, 128 * K),
        accelerated("falcon-h1-1.5b", *FOUR),
        accelerated("granite-h-1b", *FOUR),
        accelerated("zamba2-1.2b", *FOUR),
        request("llama-1b", 12, (K, 16 * K), launch=2, decode_lengths=(K, 16 * K), parts=("cells",)),
        request("mamba2-1b", 12, (K, 16 * K), launch=2, decode_lengths=(K, 16 * K), parts=("cells",)),
    ]  # fmt: skip
