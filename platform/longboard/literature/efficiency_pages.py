"""The Efficiency pages: one table on one hardware, and one System of it. Frozen rows with finished text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from longboard.literature.measurements import Table, load_tables
from longboard.literature.metric_tables import (
    FAILURES,
    METRICS,
    Entry,
    LimitRow,
    MetricTable,
    busy_table,
    entry,
    limit_rows,
    metric_table,
)
from longboard.quantities import count_text, figure_text, length_label
from longboard_tasks.sizes import bytes_text


@dataclass(frozen=True, slots=True)
class EfficiencyPage:
    table: Table
    tables: list[Table]
    metrics: list[tuple[str, MetricTable]]
    limits: list[LimitRow]
    ceilings: list[tuple[str, str]]
    energies: list[tuple[str, str, str, str, str, str]]
    batches: list[tuple[str, str, str, str]]
    batches_left: str  # planned, with no time for either number


def efficiency_page(slug: str) -> EfficiencyPage | None:
    tables = load_tables()
    table = tables.get(slug) if slug else next(iter(tables.values()), None)
    return _efficiency_page(table.slug) if table else None


@cache
def _efficiency_page(slug: str) -> EfficiencyPage:
    table = load_tables()[slug]
    reached = table.report.ceilings
    batches = batch_rows(table)
    left = [row for row in batches if row[2] == row[3] == FAILURES["no_time"]]
    ceilings = []
    if reached:
        ceilings = [
            ("Copy, bytes read and written", f"{reached.copy_bytes_per_s / 1e12:.2f} TB/s"),
            ("Matrix product, random data", f"{reached.matmul_flops / 1e12:.0f} TFLOP/s"),
            ("Host time of one small kernel", f"{reached.launch_s * 1e6:.1f} µs"),
        ]
        if reached.link_bytes_per_s:
            ceilings.append(("Pinned host memory to device", f"{reached.link_bytes_per_s / 1e9:.0f} GB/s"))
        if reached.idle_w:
            ceilings.append(("Power before any work", f"{reached.idle_w:.0f} W"))
    return EfficiencyPage(
        table=table,
        tables=list(load_tables().values()),
        metrics=[*((name, metric_table(table, name)) for name in METRICS), ("busy", busy_table(table))],
        limits=limit_rows(table),
        ceilings=ceilings,
        energies=energy_rows(table),
        batches=[row for row in batches if row not in left],
        batches_left=", ".join(f"{system} at {what}" for system, what, *_ in left),
    )


def energy_rows(table: Table, system: str = "") -> list[tuple[str, str, str, str, str, str]]:
    """(system, phase, length, energy of one token, joules and window, validity), by System."""
    rows: list[tuple[str, str, str, str, str, str]] = []
    for cell in sorted(table.report.cells, key=lambda cell: (cell.system, cell.phase, cell.context_length)):
        e = cell.energy
        if e is None or (system and cell.system != system):
            continue
        per = _joules_text(e.per_token) if e.per_token is not None else "–"
        window = f"{e.joules:,.0f} J in {e.window_s:.1f} s" if e.joules is not None else f"{e.window_s:.1f} s"
        valid = "valid" if e.is_valid else ", ".join(e.reasons).replace("_", " ")
        rows.append((cell.system, cell.phase, length_label(cell.context_length), per, window, valid))
    return rows


def _joules_text(joules: float) -> str:
    return f"{figure_text(joules)} J" if joules >= 1 else f"{figure_text(joules * 1_000)} mJ"


def batch_rows(table: Table) -> list[tuple[str, str, str, str]]:
    """(system, batch and length, prefill, decode step of the batch) beyond batch 1."""
    rows = []
    keys = sorted({(c.system, c.batch, c.context_length) for c in table.cells if c.batch > 1})
    for system, batch, length in keys:
        prefill = table.find(system, "prefill", length, batch=batch)
        decode = table.find(system, "decode", length, batch=batch)
        rows.append(
            (system, f"{batch} × {length_label(length)}", entry(prefill, "ttft").text, entry(decode, "tpot").text)
        )
    return rows


@dataclass(frozen=True, slots=True)
class SystemPage:
    table: Table
    system: str
    title: str
    facts: list[tuple[str, str]]
    cells: list[tuple[str, list[Entry]]]
    limits: list[LimitRow]
    breakdowns: list[tuple[str, str, str, list[tuple[str, str]], list[tuple[str, str]]]]
    slope: list[tuple[str, str, str, str]]
    energies: list[tuple[str, str, str, str, str, str]]


def system_page(slug: str, system: str) -> SystemPage | None:
    table = load_tables().get(slug)
    if table is None or system not in table.report.systems:
        return None
    facts = table.report.systems[system]
    shape = table.architecture(system)
    rows = []
    # On a filled cache or not: what had no time elsewhere is no row.
    worked = {c.key for c in table.cells if c.failure is None}
    for cell in sorted(
        (
            c
            for c in table.cells
            if c.system == system and not (c.failure and c.failure.kind == "no_time" and c.key in worked)
        ),
        key=lambda c: (c.phase != "prefill", c.batch, c.logits, c.reading, c.context_length),
    ):
        metric = "ttft" if cell.phase == "prefill" else "tpot"
        m = cell.memory
        rows.append(
            (
                f"{cell.phase}, {length_label(cell.context_length)}"
                + (f", batch {cell.batch}" if cell.batch > 1 else ""),
                [
                    Entry(
                        f"{cell.reading.replace('_', ' ')}, {cell.logits} logits"
                        if cell.phase == "prefill"
                        else "step by step"
                    ),
                    entry(cell, metric),
                    *(
                        Entry(bytes_text(v))
                        for v in ((m.peak, m.weights, m.cache, m.logits, m.activations) if m else ())
                    ),
                ],
            )
        )
    breakdowns = []
    for phase in ("prefill", "decode"):
        for b in table.breakdowns(system, phase):
            whole = max(b.wall_ms, b.busy_ms)
            groups = sorted(b.groups.items(), key=lambda item: -item[1])
            breakdowns.append(
                (
                    f"{phase}, {length_label(b.context_length)}",
                    f"{b.wall_ms:,.1f} ms",
                    f"{b.launches:,}",
                    [(name.replace("_", " "), f"{100 * ms / whole:.0f} %") for name, ms in groups],
                    [(name.replace("_", " "), f"{100 * b.module_share(name):.0f} %") for name in b.modules],
                )
            )
    slopes = [
        (length_label(n), bytes_text(h), bytes_text(f), f"{h / f - 1:+.2%}" if f else "–")
        for s in table.report.slopes
        if s.system == system
        for n, h, f in zip(s.lengths, s.held, s.formula_held, strict=True)
    ]
    runtime = facts.spec.runtime
    continued = {"shared": f"continued in chunks of {facts.chunk:,}", "step": "continued token by token only"}
    positions = f"{facts.published_positions:,}" if facts.published_positions else "no such number"
    lines = [
        ("Architecture", facts.architecture),
        ("Parameters", count_text(facts.parameters)),
        ("Weights", bytes_text(facts.weights_bytes)),
        ("Runtime", f"{runtime.dtype}, {runtime.kernels} kernels, attention {facts.attention or 'none'}"),
        ("Prompt cache", continued.get(facts.prefix_mode, "not continued")),
        ("Positions as published", positions),
        ("Loading", f"{facts.load_s:.1f} s, random weights"),
    ]
    if shape:
        lines.append(("Keys and values, by formula", f"{bytes_text(shape.kv_bytes_per_token())} a token"))
        lines.append(("State, by formula", bytes_text(shape.state_bytes())))
    return SystemPage(
        table=table,
        system=system,
        title=facts.title,
        facts=lines,
        cells=rows,
        limits=limit_rows(table, system),
        breakdowns=breakdowns,
        slope=slopes,
        energies=energy_rows(table, system),
    )
