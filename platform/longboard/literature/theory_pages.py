"""Theory against measurement, and which System overtakes which at what length. Frozen rows with finished text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from longboard.literature.charts import Series, draw
from longboard.literature.crossover import Crossover, Point, find_crossover
from longboard.literature.measurements import Table, load_tables, main_stat
from longboard.literature.metric_tables import BUSY_TITLE, METRICS, busy_stats, stat_of
from longboard.quantities import figure_text, length_label, quantity
from longboard_tasks.sizes import bytes_text
from longboard_tasks.suites.efficiency.report import Stat

OURS = ", ours"  # our kernels


@dataclass(frozen=True, slots=True)
class TheoryRow:
    system: str
    what: str
    length: str
    bound: str
    measured: str
    ratio: str


@dataclass(frozen=True, slots=True)
class TheoryPage:
    table: Table
    tables: list[Table]
    chart: dict[str, Any]
    rows: list[TheoryRow]
    memory_rows: list[TheoryRow]
    summary: list[tuple[str, str]]


def theory_page(slug: str) -> TheoryPage | None:
    tables = load_tables()
    table = tables.get(slug) if slug else next(iter(tables.values()), None)
    return _theory_page(table.slug) if table else None


@cache
def _theory_page(slug: str) -> TheoryPage:
    table = load_tables()[slug]
    sheet = table.sheet()
    rows, memory_rows = [], []
    kinds = ("prefill", "decode, host", "decode, device busy")
    dots: dict[str, list[tuple[float, float, float, float]]] = {
        name: [] for name in (*kinds, *(kind + OURS for kind in kinds))
    }
    ratios: dict[str, list[float]] = {name: [] for name in dots}

    def add(kind: str, system: str, length: int, bound_ms: float, stat: Stat) -> None:
        ratio = stat.value / bound_ms
        kind += OURS if table.is_ours(system) else ""
        ratios[kind].append(ratio)
        dots[kind].append((bound_ms, stat.value, stat.low, stat.high))
        rows.append(
            TheoryRow(
                system,
                kind,
                length_label(length),
                f"{figure_text(bound_ms)} ms",
                str(quantity(stat.value, stat.low, stat.high, n=stat.n, unit="ms")),
                f"{figure_text(ratio)}×",
            )
        )

    for system in table.systems:
        shape = table.architecture(system)
        if shape is None:
            continue
        for length in table.lengths(system, "prefill"):
            cell = table.find(system, "prefill", length)
            if cell:
                bound = max(shape.prefill_flops(length) / sheet.flops, shape.used * 2 / sheet.bandwidth)
                add("prefill", system, length, bound * 1_000, main_stat(cell))
        for length in table.lengths(system, "decode"):
            cell = table.find(system, "decode", length)
            if cell:
                add(
                    "decode, host",
                    system,
                    length,
                    shape.decode_bytes(length) / sheet.bandwidth * 1_000,
                    main_stat(cell),
                )
                if cell.memory:
                    held = shape.weight_bytes() + shape.cache_bytes(length)
                    parts = cell.memory.weights + cell.memory.cache
                    texts = (length_label(length), bytes_text(held), bytes_text(parts), f"{parts / held:.3f}×")
                    memory_rows.append(TheoryRow(system, "weights, cache and state", *texts))
        for b in table.breakdowns(system, "decode"):
            busy = Stat(value=b.busy_ms, low=b.busy_ms, high=b.busy_ms, n=1)
            bound = shape.decode_bytes(b.context_length) / sheet.bandwidth * 1_000
            add("decode, device busy", system, b.context_length, bound, busy)
    summary = [(kind, _ratios_text(found)) for kind, found in ratios.items() if found]
    chart = draw(
        [Series(name, tuple(sorted(points))) for name, points in dots.items() if points],
        x_title="Bound from the cost model and the rates this machine reached, ms",
        y_title="Measured, ms",
        diagonal=True,
    )
    return TheoryPage(table, list(load_tables().values()), chart, rows, memory_rows, summary)


def _ratios_text(ratios: list[float]) -> str:
    if len(ratios) == 1:
        return f"{figure_text(ratios[0])}×, one row"
    low, high = (figure_text(pick(ratios)) for pick in (min, max))
    if low == high:
        return f"{low}× over {len(ratios)} rows"
    return f"{figure_text(median(ratios))}× in the middle, {low}× to {high}× over {len(ratios)} rows"


@dataclass(frozen=True, slots=True)
class CrossoverPage:
    table: Table
    tables: list[Table]
    a: str
    b: str
    metrics: list[tuple[str, str, Crossover, list[tuple[str, str, str, str]]]]  # title, sentence, data, rows


def crossover_page(slug: str, a: str, b: str) -> CrossoverPage | None:
    tables = load_tables()
    table = tables.get(slug) if slug else next(iter(tables.values()), None)
    if table is None or len(table.systems) < 2:
        return None
    a, b = _pair(table, a, b)
    metrics = []
    curves: list[tuple[str, str, list[Point]]] = []
    for metric, (title, phase, unit) in METRICS.items():
        points = []
        for length in sorted(set(table.lengths(a, phase)) & set(table.lengths(b, phase))):
            cells = table.find(a, phase, length), table.find(b, phase, length)
            stats = [stat_of(cell, metric) if cell else None for cell in cells]
            if stats[0] and stats[1]:
                points.append(Point(length, stats[0], stats[1]))
        curves.append((title, unit, points))
    busy_a, busy_b = busy_stats(table, a), busy_stats(table, b)
    curves.append((BUSY_TITLE, "ms", [Point(n, busy_a[n], busy_b[n]) for n in sorted(busy_a.keys() & busy_b.keys())]))
    for title, unit, points in curves:
        found = find_crossover(a, b, points)
        rows = [
            (
                length_label(p.length),
                str(quantity(p.a.value, p.a.low, p.a.high, n=p.a.n, unit=unit)),
                str(quantity(p.b.value, p.b.low, p.b.high, n=p.b.n, unit=unit)),
                f"{figure_text(p.ratio)}×",
            )
            for p in points
        ]
        metrics.append((title, crossover_sentence(found, a, b), found, rows))
    return CrossoverPage(table, list(tables.values()), a, b, metrics)


def _pair(table: Table, a: str, b: str) -> tuple[str, str]:
    """As asked for; what is left open becomes two kinds of architecture, with our kernels where there are such, that were
    measured at most lengths in common; of those that tie, the two of most alike size."""
    known = table.systems
    firsts = [a] if a in known else known
    seconds = [b] if b in known and b != a else known

    def worth(pair: tuple[str, str]) -> tuple[bool, int, int, float]:
        ours = sum(map(table.is_ours, pair))
        x, y = ({*table.lengths(s, "prefill")} for s in pair)
        sizes = [table.report.systems[s].parameters for s in pair]
        return _kind(table, pair[0]) != _kind(table, pair[1]), ours, len(x & y), min(sizes) / max(sizes)

    return max(((x, y) for x in firsts for y in seconds if x != y), key=worth)


def _kind(table: Table, system: str) -> str:
    shape = table.architecture(system)
    return shape.kind if shape else ""


def crossover_sentence(found: Crossover, a: str, b: str) -> str:
    if not found.points:
        return "No length was measured for both."
    parts = []
    for c in found.crossings:
        low = f"{c.low:,.0f}" if c.low else f"under {length_label(found.points[0].length)}"
        high = f"{c.high:,.0f}" if c.high else f"over {length_label(found.points[-1].length)}"
        span = f" ({low} to {high})" if low != high else ""  # sizes that never varied cross at one length
        parts.append(f"{c.better_after} takes over from {c.better_before} at {c.length:,.0f} tokens{span}.")
    if not parts and found.better:
        widest = found.widest
        factor = max(widest.ratio, 1 / widest.ratio) if widest else 1.0
        first, last = found.points[0].length, found.points[-1].length
        parts.append(
            f"{found.better} is ahead from {length_label(first)} to {length_label(last)}, by up to {figure_text(factor)}× "
            f"at {length_label(widest.length if widest else first)}."
        )
    return " ".join(parts) or "No difference at any length."
