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


def config_system(shape_id: str, dtype: str = "bfloat16") -> SystemSpec:
    return SystemSpec(model=ModelRef(source="config", id=shape_id), runtime=Runtime.model_validate({"dtype": dtype}))


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
    """One 80 GB GPU, eleven random-weight Systems: what the Efficiency and Claims pages show. Most valuable first.

    Budgets are weights: with more time each launch gets more, with less each is cut. Mamba-1's stock code has a Python loop over
    the tokens, hence its short lengths. (The table that ships was read in chunks of 512 where there is a scan.)
    """
    attention = {"prefix_mode": "shared", "chunk": 4 * K, "decode_lengths": DECODED, "breakdown_lengths": FOUR}
    scan = {"prefix_mode": "shared", "chunk": 4 * K, "decode_lengths": DECODED, "breakdown_lengths": FOUR}
    all_limits = [(reading, logits, 24 * GIB) for logits in ("full", "last") for reading in ("one_shot", "chunked")]
    limits = {"limits": [("chunked", "last", None), ("chunked", "last", 24 * GIB), ("one_shot", "last", 24 * GIB)]}

    def request(shape_id: str, budget_s: float, lengths: Sequence[int], **options: object) -> Request:
        return Request.model_validate(
            {"name": shape_id, "system": config_system(shape_id), "budget_s": budget_s, "lengths": lengths} | options
        )

    paper = (K, 4 * K, 8 * K, 16 * K, 32 * K, PAPER)
    pair = {"parts": ("slope", "cells", "limits", "full_logits", "energy", "breakdown"), "energy_length": PAPER}
    hybrid = (K, 4 * K, 16 * K, 64 * K)
    return [
        request(
            "llama-1b", 115, (*QUARTERS[:4], 128 * K, 256 * K), full_lengths=FOUR, ceilings=True,
            **attention, limits=[("chunked", "last", None), *all_limits],
        ),
        request("mamba2-1b", 65, (K, 4 * K, 16 * K), full_lengths=(4 * K,), **scan, **limits),
        request("qwen2.5-0.5b", 85, (*paper, 128 * K), full_lengths=paper, **attention, **pair, limits=all_limits),
        request(
            "mamba2-780m", 120, (K, 4 * K, 16 * K, PAPER), full_lengths=(K, 4 * K), **scan, **pair, limits=all_limits,
            longest_pass_s=60,
        ),
        request(
            "llama-8b", 80, (K, 4 * K, 16 * K, 64 * K, 128 * K), full_lengths=(16 * K, 64 * K), **attention,
            limits=[("chunked", "last", None), ("one_shot", "full", None)],
        ),
        request(
            "llama-1b", 20, (K, 16 * K), launch=2, prefix_mode="shared", chunk=4 * K, decode_lengths=(K, 16 * K),
            parts=("cells",),
        ),
        request(
            "mamba2-1b", 15, (K,), launch=2, prefix_mode="shared", chunk=512, decode_lengths=(K, 16 * K),
            parts=("cells",),
        ),
        request("lfm2-1.2b", 70, QUARTERS, full_lengths=(4 * K, 64 * K), **attention, **limits),
        request("falcon-h1-1.5b", 75, hybrid, full_lengths=(4 * K,), **scan, **limits),
        request("zamba2-1.2b", 65, hybrid, full_lengths=(4 * K,), **scan, **limits),
        request("granite-h-1b", 65, hybrid, full_lengths=(4 * K,), **scan, **limits),
        request("qwen3-next-0.7b", 65, QUARTERS, full_lengths=(4 * K,), **attention, **limits),
        request(
            "mamba-1.4b", 55, (K, 2 * K, 4 * K), prefix_mode="step", decode_lengths=DECODED, breakdown_lengths=(256, K),
            full_lengths=(K,), batch_length=K, limits=[("one_shot", "last", 24 * GIB)],
        ),
    ]  # fmt: skip
