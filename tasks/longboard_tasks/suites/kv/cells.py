"""What `measure` measures: cells in the order of their worth, and what came of each. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from longboard_tasks.catalogue.methods import METHODS

BUDGET = 0.25  # of methods that have more than one
CURVES = ("streaming_llm", "snapkv")  # at the shortest length also with the other budgets of the protocol
BUDGETS = (0.5, 0.125, 0.0625)
WHOLE_MATRIX = ("h2o", "observed_attention")  # every query's attention once more, unfused


@dataclass(frozen=True, slots=True)
class Cell:
    shape: str
    context_length: int
    method: str
    budget: float

    @property
    def name(self) -> str:
        return f"{self.context_length}-{self.method}-{self.budget:g}"


@dataclass(slots=True)
class Outcome:
    """Of one cell: medians over `n` repeats, or why there are none."""

    cell: Cell
    device: int
    n: int = 0
    values: dict[str, float] = field(default_factory=dict)
    compress_ms: float = 0.0
    failure: str = ""


def plan_cells(shapes: Sequence[str], lengths: Sequence[int]) -> list[Cell]:
    """Short before long, small shapes before large; within one, no method first, then the slowest, the oracle at the end."""
    cells = []
    for shape in shapes:
        for length in sorted(lengths):
            names = sorted(METHODS, key=lambda name: (name != "none", name != "h2o", name == "observed_attention"))
            for name in names:
                fixed = METHODS[name].budgets
                cells.append(Cell(shape, length, name, 1.0 if name == "none" else (*fixed, BUDGET)[0]))
            if length == min(lengths):
                cells += [Cell(shape, length, name, budget) for name in CURVES for budget in BUDGETS]
    return cells


def line_of(outcome: Outcome) -> str:
    """One line for a person."""
    cell, v = outcome.cell, outcome.values
    head = f"{cell.shape} {cell.context_length:>7} {cell.method:>18} {cell.budget:<6g}"
    if outcome.failure:
        return f"{head} {outcome.failure}"
    return (
        f"{head} TTFT {v['ttft_ms']:10.1f} ms (compressing {outcome.compress_ms:8.1f}), TPOT {v['tpot_ms']:7.2f} ms, "
        f"cache {v['cache_bytes'] / 1e6:9.2f} MB, peak {v['peak_memory_bytes'] / 1e9:6.2f} GB, n={outcome.n}"
    )


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a table for each shape and length, methods against no method."""
    lines: list[str] = []
    for shape, length in dict.fromkeys((o.cell.shape, o.cell.context_length) for o in outcomes):
        here = [o for o in outcomes if (o.cell.shape, o.cell.context_length) == (shape, length)]
        plain = next((o.values for o in here if o.cell.method == "none"), {})
        lines += [
            f"### {shape}, {length:,} tokens",
            "",
            "| method | budget | cache, MB | of the full cache | TTFT, ms | of it compressing | TPOT, ms | peak, GB | n |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for o in here:
            v, head = o.values, f"| {o.cell.method} | {o.cell.budget:g} "
            if o.failure:
                lines.append(f"{head}| {o.failure} | | | | | | |")
                continue
            share = f"{v['cache_bytes'] / plain['cache_bytes']:.3f}" if plain else ""
            lines.append(
                f"{head}| {v['cache_bytes'] / 1e6:,.1f} | {share} | {v['ttft_ms']:,.0f} | {o.compress_ms:,.0f} "
                f"| {v['tpot_ms']:.1f} | {v['peak_memory_bytes'] / 1e9:.2f} | {o.n} |"
            )
        lines.append("")
    return "\n".join(lines)
