"""Our figure for each claim that we can measure: one function a claim, in the claim's own unit, from one device's table.

A function returns None while the numbers that it needs are not there. The shapes stand for the models of the papers; a
figure of another shape, length or batch than the claim's is marked `scaled`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from longboard.literature.catalogue import Claim
from longboard.literature.crossover import Point, find_crossover
from longboard.literature.measurements import Table, main_stat
from longboard.literature.verdicts import Evidence
from longboard_tasks.architectures import architecture_of
from longboard_tasks.costmodel import SHEETS, estimate
from longboard_tasks.shapes import load_shapes
from longboard_tasks.suites.efficiency.report import Cell, Limit, Stat

GIB = 2**30
CAP = 24 * GIB
PAPER_LENGTH = 57_344
SSM, TRANSFORMER = "mamba2-780m", "qwen2.5-0.5b"  # the pair of the characterisation paper
CLASSES = ("H100", "A100", "4090", "H200", "Orin")  # hardware classes that papers name

Measure = Callable[[Claim, Table], Evidence | None]


def _measured(
    claim: Claim, table: Table, stat: tuple[float, float, float], basis: str, *, scaled: bool = False,
    outcome: str | None = None,
) -> Evidence:  # fmt: skip
    value, low, high = stat
    return Evidence(
        value=value,
        low=min(low, high),
        high=max(low, high),
        basis=basis,
        hardware=table.device,
        measured_on=table.measured_on,
        same_class=any(name in table.device and name in claim.paper_hardware for name in CLASSES),
        scaled=scaled,
        outcome=outcome,  # type: ignore[arg-type]  # one of its words
        url=f"/efficiency/{table.slug}/",
    )


def _ratio(a: Stat, b: Stat) -> tuple[float, float, float]:
    """a / b with the widest interval of both."""
    return a.value / b.value, a.low / b.high, a.high / b.low


def _prefill(table: Table, system: str, length: int, logits: str = "last") -> Cell | None:
    cell = table.find(system, "prefill", length, logits=logits)  # type: ignore[arg-type]  # one of its words
    return cell if cell and not cell.failure else None


def one_pass_edge(table: Table, system: str, logits: str) -> tuple[int, str] | None:
    """(tokens of one pass under the cap, how that is known): measured to the failure, or by a straight line through the
    peaks of the two longest passes where the search ran out of time. The line is for last-token logits, whose peak is the
    scan's: a lower bound on memory, so an upper bound on tokens with full ones."""
    found = table.limit(system, "one_shot", logits, CAP)  # type: ignore[arg-type]  # one of its words
    if found and found.ended == "out_of_memory":
        return found.tokens, "measured"
    if found and logits == "full":  # the line below would leave the logits out
        return found.tokens, "at least: the search ran out of time"
    cells = [table.find(system, "prefill", n, reading="one_shot") for n in table.lengths(system, "prefill")]
    peaks = [(c.context_length, c.memory.peak) for c in cells if c and c.memory and not c.failure]
    if len(peaks) < 2 or peaks[-1][1] < 0.25 * CAP:
        return None
    (n0, p0), (n1, p1) = peaks[-2:]
    return int(n1 + (CAP - p1) / ((p1 - p0) / (n1 - n0))), "by a line through measured peaks"


def _in_chunks(table: Table, system: str, logits: str) -> Limit | None:
    return table.limit(system, "chunked", logits, CAP)  # type: ignore[arg-type]  # one of its words


def _limit_words(table: Table, system: str, logits: str) -> str:
    """One pass and chunks of one System under the cap, in words."""
    parts = []
    one, chunks = one_pass_edge(table, system, logits), _in_chunks(table, system, logits)
    if one:
        parts.append(f"one pass {one[0]:,} tokens ({one[1]})")
    if chunks:
        more = "at least " if chunks.ended in ("position_limit", "no_time") else ""
        note = f" ({chunks.says})" if chunks.says and chunks.says.startswith("the logits") else ""
        parts.append(f"in chunks {more}{chunks.tokens:,}{note}")
    return f"{system}, {logits} logits: " + "; ".join(parts) if parts else ""


def longest_of_the_ssm(claim: Claim, table: Table) -> Evidence | None:
    """The claim's own reading is one pass with the logits of the whole prompt."""
    one, chunks = one_pass_edge(table, SSM, "full"), _in_chunks(table, SSM, "full")
    if one is None:
        return None
    wanted = float(claim.expected) * (1 - float(claim.tolerance_rel))
    outcome = "in_part" if one[0] < wanted and chunks and chunks.tokens >= wanted else None
    return _measured(
        claim, table, (one[0], one[0], one[0]),
        f"Under 24 GiB, stock transformers without kernel packages. {_limit_words(table, SSM, 'full')}. What ends one pass is "
        "the memory of the scan in plain torch, not the state; what the figure rests on is whose logits are kept.",
        outcome=outcome,
    )  # fmt: skip


def longest_ratio(claim: Claim, table: Table) -> Evidence | None:
    """In chunks where both were measured so, else in one pass; the other reading stands beside it."""
    logits = "last" if claim.claim_type == "control" else "full"
    a, b = one_pass_edge(table, SSM, logits), one_pass_edge(table, TRANSFORMER, logits)
    x, y = _in_chunks(table, SSM, logits), _in_chunks(table, TRANSFORMER, logits)
    figures = []
    if x and y and y.tokens:
        figures.append((x.tokens / y.tokens, "in chunks"))
    if a and b:
        figures.append((a[0] / b[0], "in one pass"))
    if not figures:
        return None
    basis = "Under 24 GiB: " + ", ".join(f"{value:.2f}× {how}" for value, how in figures)
    basis += f". {_limit_words(table, SSM, logits)}. {_limit_words(table, TRANSFORMER, logits)}."
    value = figures[0][0]
    return _measured(claim, table, (value, value, value), basis)


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
        return _measured(
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
        a, b = _prefill(table, subject, length, logits), _prefill(table, base, length, logits)
        if a and b:
            found.append((_ratio(main_stat(b), main_stat(a)), length, a, b))
    return found


def ttft_crossing(claim: Claim, table: Table) -> Evidence | None:
    points = _points(table, SSM, TRANSFORMER, "prefill", PAPER_LENGTH)
    if len(points) < 3:
        return None
    found = find_crossover(SSM, TRANSFORMER, points)
    if found.crossings:
        first = found.crossings[0]
        return _measured(
            claim,
            table,
            (first.length, first.low or first.length, first.high or first.length),
            "first crossing of the medians",
        )
    worst = found.points[-1]
    return _measured(
        claim, table, (math.inf, math.inf, math.inf),
        f"No crossing up to {worst.length:,}: {found.better} is faster everywhere, {worst.ratio:.0f}× at the longest "
        "(stock code; with fast kernels on both sides a 1B pair met near 64K on this device: docs/efficiency.md)",
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
    return _measured(
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
    return _measured(
        claim, table, (saved, saved, saved),
        f"One pass of {PAPER_LENGTH:,} tokens: {a.memory.peak / GIB:.1f} GiB Mamba-2 780M, of which the scan in plain torch "
        f"takes {a.memory.activations / GIB:.1f}; {base / GIB:.1f} GiB Qwen2.5 0.5B with full logits ({how})",
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
            return _measured(
                claim, table, (best, min(shares), best), f"{system}, prefill at {lengths}: {how}",
                scaled=system != "mamba2-130m",
            )  # fmt: skip
        return None

    return measure


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
    return _measured(claim, table, (max(wall), min(wall), max(wall)), says)


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
    return _measured(claim, table, (max(errors), min(errors), max(errors)), says)


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
    return _measured(claim, table, (middle, min(errors), max(errors)), says, outcome=outcome)


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
        return _measured(claim, table, (r2, r2, r2), f"{system}, the device's busy time of a step at {lengths}")
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
        return _measured(
            claim, table, (slope, slope, slope), f"{system}, {span} tokens, one pass, stock code: a Python loop over the tokens",
            scaled=True,
        )  # fmt: skip
    return None


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


def _points(table: Table, a: str, b: str, phase: str, most: int = 2**30) -> list[Point]:
    """Common lengths of two Systems, each by its faster reading."""
    points = []
    common = set(table.lengths(a, phase)) & set(table.lengths(b, phase))  # type: ignore[arg-type]  # one of its words
    for length in sorted(common):
        x, y = table.find(a, phase, length), table.find(b, phase, length)  # type: ignore[arg-type]  # one of its words
        if x and y and length <= most:
            points.append(Point(length, main_stat(x), main_stat(y)))
    return points
