"""Our figure for each claim that we can measure: one function a claim, in the claim's own unit, from one device's table.

A function returns None while the numbers that it needs are not there. The shapes stand for the models of the papers; a
figure of another shape, length or batch than the claim's is marked `scaled`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from longboard.literature.catalogue import Claim
from longboard.literature.claim_figures import (
    PAPER_LENGTH,
    SSM,
    TRANSFORMER,
    Measure,
    measured,
    prefill_cell,
    ratio_of,
)
from longboard.literature.crossover import Point, find_crossover
from longboard.literature.measured_costs import (
    cost_follows_cache,
    decode_over_bound,
    linear_prefill,
    prefill_model_error,
    utilisation_error,
)
from longboard.literature.measured_limits import (
    longest_of_the_ssm,
    longest_ratio,
)
from longboard.literature.measurements import Table, main_stat
from longboard.literature.verdicts import Evidence
from longboard_tasks.costmodel import SHEETS, estimate
from longboard_tasks.families import architecture_of
from longboard_tasks.shapes import load_shapes
from longboard_tasks.sizes import bytes_text
from longboard_tasks.suites.efficiency.report import Cell


def ttft_ratio(lengths: Sequence[int], logits: str) -> Measure:
    """The largest ratio over the lengths that both have."""

    def measure(claim: Claim, table: Table) -> Evidence | None:
        subject, base = (SSM, TRANSFORMER) if claim.subject.startswith("mamba") else (TRANSFORMER, SSM)
        found, kept = _pairs(table, subject, base, lengths, logits), logits
        if not found and logits == "full":  # the logits' own product is a small part of the time
            found, kept = _pairs(table, subject, base, lengths, "last"), "last"
        if not found:
            return None
        ratio, length, a, b = max(found, key=lambda item: item[0][0])
        return measured(
            claim, table, ratio,
            f"TTFT at {length:,} with {kept} logits: {main_stat(b).value:,.0f} ms against {main_stat(a).value:,.0f} ms "
            f"({b.system} over {a.system}; stock code, the Mamba-2 layer in plain torch)",
            scaled=kept != logits,
        )  # fmt: skip

    return measure


def _pairs(
    table: Table, subject: str, base: str, lengths: Sequence[int], logits: str
) -> list[tuple[tuple[float, float, float], int, Cell, Cell]]:
    """(base over subject with its interval, length, both cells) where both have a number."""
    found = []
    for length in lengths:
        a, b = prefill_cell(table, subject, length, logits), prefill_cell(table, base, length, logits)
        if a and b:
            found.append((ratio_of(main_stat(b), main_stat(a)), length, a, b))
    return found


def ttft_crossing(claim: Claim, table: Table) -> Evidence | None:
    points = _points(table, SSM, TRANSFORMER, "prefill", PAPER_LENGTH)
    if len(points) < 3:
        return None
    found = find_crossover(SSM, TRANSFORMER, points)
    if found.crossings:
        first = found.crossings[0]
        return measured(
            claim,
            table,
            (first.length, first.low or 0.0, first.high or math.inf),
            "first crossing of the medians",
        )
    worst = found.points[-1]
    return measured(
        claim, table, (math.inf, math.inf, math.inf),
        f"No crossing up to {worst.length:,}: {found.better} is faster everywhere, {worst.ratio:.0f}× at the longest "
        "(stock code; with our kernels on both sides a 1B pair meets between 4K and 16K on an H200: docs/efficiency.md)",
        outcome="fails",
    )  # fmt: skip


def energy_ratio(claim: Claim, table: Table) -> Evidence | None:
    joules = []
    for system in (TRANSFORMER, SSM):
        cells = [
            c for c in table.report.cells
            if (c.system, c.phase, c.context_length) == (system, "prefill", PAPER_LENGTH) and c.energy and c.energy.is_valid
        ]  # fmt: skip
        if not cells or cells[0].energy is None or cells[0].energy.per_token is None:
            return None
        joules.append(cells[0].energy.per_token * PAPER_LENGTH)
    ratio = joules[0] / joules[1]
    return measured(
        claim, table, (ratio, ratio, ratio),
        f"Energy of one prefill of {PAPER_LENGTH:,} tokens, NVML counter: {joules[0]:,.0f} J Qwen2.5 0.5B, {joules[1]:,.0f} J "
        "Mamba-2 780M (stock code)",
    )  # fmt: skip


def memory_reduction(claim: Claim, table: Table) -> Evidence | None:
    """Peak of one pass at the paper's length. The SSM's peak is its scan's, larger than its logits; the Transformer's is its
    logits, which the cost model adds to the measured peak with last-token logits where the full row is missing."""
    a = table.find(SSM, "prefill", PAPER_LENGTH, reading="one_shot")
    b = table.find(TRANSFORMER, "prefill", PAPER_LENGTH, logits="full", reading="one_shot")
    if not (a and a.memory):
        return None
    scaled = not (b and b.memory)
    base = b.memory.peak if b and b.memory else estimate(
        architecture_of(load_shapes()[TRANSFORMER]), SHEETS["h100-80gb"], context_length=PAPER_LENGTH, full_logits=True
    ).memory_bytes  # fmt: skip
    saved = 100 * (1 - a.memory.peak / base)
    how = "by the cost model, 6 % at most from this table" if scaled else "measured"
    return measured(
        claim, table, (saved, saved, saved),
        f"One pass of {PAPER_LENGTH:,} tokens: {bytes_text(a.memory.peak)} Mamba-2 780M, of which the scan in plain torch "
        f"takes {bytes_text(a.memory.activations)}; {bytes_text(base)} Qwen2.5 0.5B with full logits ({how})",
        scaled=scaled,
    )  # fmt: skip


def operator_share(module: bool) -> Measure:
    """Share of the state-space part: by module as the paper counts, or by kernel name."""

    def measure(claim: Claim, table: Table) -> Evidence | None:
        for system in ("mamba2-130m", "mamba2-780m", "mamba2-1b"):
            found = list(table.breakdowns(system, "prefill"))
            if not found:
                continue
            shares = []
            for b in found:
                if module:
                    shares.append(100 * b.module_share("state_space"))
                else:
                    shares.append(100 * b.groups.get("scan_and_conv", 0.0) / max(b.busy_ms, 1e-9))
            best = max(shares)
            how = "time inside the state-space modules, projections and convolution included" if module else (
                "kernels named as scan or convolution; the stock code's scan is matrix products and elementwise kernels"
            )  # fmt: skip
            lengths = ", ".join(f"{b.context_length:,}" for b in found)
            return measured(
                claim, table, (best, min(shares), best), f"{system}, prefill at {lengths}: {how}",
                scaled=system != "mamba2-130m",
            )  # fmt: skip
        return None

    return measure


def _points(table: Table, a: str, b: str, phase: str, most: int = 2**30) -> list[Point]:
    """Common lengths of two Systems, each by its faster reading."""
    points = []
    common = set(table.lengths(a, phase)) & set(table.lengths(b, phase))  # type: ignore[arg-type]  # one of its words
    for length in sorted(common):
        x, y = table.find(a, phase, length), table.find(b, phase, length)  # type: ignore[arg-type]  # one of its words
        if x and y and length <= most:
            points.append(Point(length, main_stat(x), main_stat(y)))
    return points


MEASURED: dict[str, Measure] = {
    "ssm-characterization-01": longest_of_the_ssm,
    "ssm-characterization-02": longest_ratio,
    "ssm-characterization-03": longest_ratio,
    "ssm-characterization-04": ttft_ratio((1_024, 4_096), "last"),
    "ssm-characterization-05": ttft_ratio((32_768, 57_344), "full"),
    "ssm-characterization-06": ttft_ratio((57_344,), "last"),
    "ssm-characterization-07": ttft_crossing,
    "ssm-characterization-08": operator_share(module=True),
    "ssm-characterization-09": operator_share(module=False),
    "ssm-characterization-10": energy_ratio,
    "ssm-characterization-11": memory_reduction,
    "challenges-deploying-02": cost_follows_cache,
    "challenges-deploying-04": decode_over_bound,
    "challenges-deploying-05": prefill_model_error,
    "efficiently-scaling-inference-03": utilisation_error,
    "mamba-02": linear_prefill,
}
