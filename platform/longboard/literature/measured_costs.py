"""Claims that a formula predicts a time: bounds, models of prefill, and how time grows."""

from __future__ import annotations

import math
from statistics import median

from longboard.literature.catalogue import Claim
from longboard.literature.claim_figures import (
    measured,
)
from longboard.literature.measurements import Table, main_stat
from longboard.literature.verdicts import Evidence


def decode_over_bound(claim: Claim, table: Table) -> Evidence | None:
    """Host-timed steps; beside them the device's busy time, which does not wait for Python."""
    wall, busy = [], []
    for system in table.systems:
        shape = table.architecture(system)
        if shape is None:
            continue
        for length in table.lengths(system, "decode"):
            cell = table.find(system, "decode", length)
            if cell and 4_096 <= length <= 131_072:
                bound = shape.decode_bytes(length) / table.sheet().bandwidth
                wall.append(main_stat(cell).value / 1_000 / bound)
        for b in table.breakdowns(system, "decode"):
            if b.context_length >= 4_096:
                busy.append(b.busy_ms / 1_000 * table.sheet().bandwidth / shape.decode_bytes(b.context_length))
    if not wall:
        return None
    says = f"Largest measured / bound over {len(wall)} cells is {max(wall):.0f}, by the host's clock (median {median(wall):.0f})."
    if busy:
        says += f" The device itself was busy {min(busy):.1f} to {max(busy):.1f} times the bound: the rest is Python's launches."
    return measured(claim, table, (max(wall), min(wall), max(wall)), says)


def prefill_model_error(claim: Claim, table: Table) -> Evidence | None:
    """One-pass prefill of the Transformers at 16K and more against FLOPs over the reached matrix rate."""
    errors = []
    for system in table.systems:
        shape = table.architecture(system)
        if shape is None or shape.kind != "attention":
            continue
        for length in table.lengths(system, "prefill"):
            cell = table.find(system, "prefill", length)
            if cell and length >= 16_384:
                seconds = main_stat(cell).value / 1_000
                errors.append(abs(seconds - shape.prefill_flops(length) / table.sheet().flops) / seconds)
    if not errors:
        return None
    says = (
        f"{len(errors)} cells; median error {median(errors):.0%}: attention reaches less than the matrix product's rate"
    )
    return measured(claim, table, (max(errors), min(errors), max(errors)), says)


def utilisation_error(claim: Claim, table: Table) -> Evidence | None:
    """Every System from 4K to 64K: predicted bound against measured time, median of the relative error."""
    errors = []
    for system in table.systems:
        shape = table.architecture(system)
        for length in table.lengths(system, "prefill") if shape else ():
            cell = table.find(system, "prefill", length)
            if cell and shape and 4_096 <= length <= 65_536:
                seconds = main_stat(cell).value / 1_000
                errors.append(abs(seconds - shape.prefill_flops(length) / table.sheet().flops) / seconds)
    if len(errors) < 6:
        return None
    middle = median(errors)
    says = f"{len(errors)} cells of {len(table.systems)} Systems"
    outcome = "holds" if middle <= float(claim.expected) else "fails"
    return measured(claim, table, (middle, min(errors), max(errors)), says, outcome=outcome)


def cost_follows_cache(claim: Claim, table: Table) -> Evidence | None:
    """Device time of a decode step beyond 4K against cache bytes beyond 4K: R squared of the line through the origin."""
    for system in ("llama-8b", "llama-1b"):
        shape = table.architecture(system) if system in table.systems else None
        found = [b for b in table.breakdowns(system, "decode") if b.context_length >= 4_096] if shape else []
        if shape is None or len(found) < 3:
            continue
        xs = [shape.cache_bytes(b.context_length) - shape.cache_bytes(found[0].context_length) for b in found]
        ys = [b.busy_ms - found[0].busy_ms for b in found]
        slope = sum(x * y for x, y in zip(xs, ys, strict=True)) / sum(x * x for x in xs)
        mean = sum(ys) / len(ys)
        spread = sum((y - mean) ** 2 for y in ys)
        missed = sum((y - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
        r2 = 1 - missed / spread if spread else 0.0
        lengths = ", ".join(f"{b.context_length:,}" for b in found)
        return measured(claim, table, (r2, r2, r2), f"{system}, the device's busy time of a step at {lengths}")
    return None


def linear_prefill(claim: Claim, table: Table) -> Evidence | None:
    """Least-squares slope of log time over log length for the Mamba-1 shape at hand."""
    for system in ("mamba-130m", "mamba-1.4b"):
        if system not in table.systems:
            continue
        lengths = table.lengths(system, "prefill")
        cells = [table.find(system, "prefill", length) for length in lengths]
        if len(lengths) < 2:
            continue
        xs = [math.log(length) for length in lengths]
        ys = [math.log(main_stat(cell).value) for cell in cells if cell]
        mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
        slope = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs)
        span = f"{lengths[0]:,} to {lengths[-1]:,}"
        return measured(
            claim, table, (slope, slope, slope), f"{system}, {span} tokens, one pass, stock code: a Python loop over the tokens",
            scaled=True,
        )  # fmt: skip
    return None
