"""Cells of a measurement table as entries of a page: numbers with interval, or why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longboard.literature.charts import Series, draw
from longboard.literature.measurements import Table, main_stat
from longboard.quantities import figure_text, length_label, quantity
from longboard_tasks.sizes import bytes_text, unit_for
from longboard_tasks.suites.efficiency.report import Cell, Failure, Limit, Phase, Stat

FAILURES = {
    "out_of_memory": "out of memory",
    "no_time": "no time",
    "unsupported": "not supported",
    "position_limit": "position limit",
    "non_finite": "not finite",
    "error": "error",
}

METRICS: dict[str, tuple[str, Phase, str]] = {
    "ttft": ("Time to first token (TTFT)", "prefill", "ms"),
    "tpot": ("Time per output token (TPOT)", "decode", "ms"),
    "memory": ("Peak memory of the prefill", "prefill", "bytes"),
    "cache": ("Cache and state at the length", "decode", "bytes"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One number of a table, or why there is none."""

    text: str
    note: str = ""
    is_failure: bool = False


def entry(cell: Cell | None, metric: str) -> Entry:
    if cell is None:
        return Entry("–")
    if cell.failure:
        return failed(cell.failure)
    stat = stat_of(cell, metric)
    if stat is None:
        return Entry("–")
    note = ", ".join(
        mark
        for mark, holds in (
            ("in one pass" if cell.phase == "prefill" and cell.reading == "one_shot" else "", True),
            ("filled cache" if cell.filled else "", True),
            ("noisy" if cell.noise else "", metric in ("ttft", "tpot")),
        )
        if mark and holds
    )
    return Entry(str(quantity(stat.value, stat.low, stat.high, n=stat.n, unit=METRICS[metric][2])), note)


def failed(failure: Failure) -> Entry:
    return Entry(FAILURES[failure.kind], failure.says, is_failure=True)


def stat_of(cell: Cell, metric: str) -> Stat | None:
    """The number of `metric` in a cell that worked."""
    if metric in ("ttft", "tpot"):
        return main_stat(cell)
    if cell.memory is None:
        return None
    size = float(cell.memory.peak if metric == "memory" else cell.memory.cache)
    return Stat(value=size, low=size, high=size, n=1) if size else None


@dataclass(frozen=True, slots=True)
class MetricTable:
    title: str
    says: str  # what the table comes to, in one sentence
    lengths: list[str]
    rows: list[tuple[str, str, list[Entry]]]  # (system id, title, entries)
    chart: dict[str, Any]


def metric_table(table: Table, metric: str) -> MetricTable:
    title, phase, unit = METRICS[metric]
    lengths = sorted(
        {c.context_length for c in table.cells if c.phase == phase and c.batch == 1 and c.logits == "last"}
    )
    rows, series = [], []
    found: dict[str, dict[int, float]] = {}
    shown = (table.find(system, phase, length) for system in table.systems for length in lengths)
    stats = [stat_of(cell, metric) for cell in shown if cell and not cell.failure]
    scale, word = unit_for(max((stat.value for stat in stats if stat), default=0)) if unit == "bytes" else (1, unit)
    for system in table.systems:
        cells = [table.find(system, phase, length) for length in lengths]
        rows.append((system, table.report.systems[system].title, [entry(cell, metric) for cell in cells]))
        points = []
        found[system] = {}
        for length, cell in zip(lengths, cells, strict=True):
            stat = stat_of(cell, metric) if cell and not cell.failure else None
            if stat:
                found[system][length] = stat.value
                points.append((float(length), stat.value / scale, stat.low / scale, stat.high / scale))
        series.append(Series(system, tuple(points)))
    chart = draw(series, x_title="Context length, tokens", y_title=f"{title}, {word}")
    of_one_host = metric != "tpot" or table.machines == 1  # a stock step is mostly its host's time
    return MetricTable(title, takeaway(found, unit, grows=of_one_host), [length_label(n) for n in lengths], rows, chart)


MOST = 0.66  # of as many Systems as any length has


def takeaway(found: Mapping[str, Mapping[int, float]], unit: str, *, grows: bool = True) -> str:
    """Who has least and most at the longest length that most Systems have, and how their numbers grew up to it if `grows`.

    `found`: by System, by length. Empty where fewer than two Systems share a length.
    """
    having = Counter(length for values in found.values() for length in values)
    shared = [length for length, n in having.items() if n >= max(2, MOST * max(having.values()))]
    if not shared:
        return ""
    at = max(shared)
    there = {system: values for system, values in found.items() if at in values}
    least, most = (pick(there, key=lambda system: there[system][at]) for pick in (min, max))

    def told(system: str) -> str:
        value = there[system][at]
        return f"{system} ({quantity(value, value, value, n=1, unit=unit).value})"

    says = f"At {length_label(at)} tokens {told(least)} has the least and {told(most)} the most"
    first = min(length for values in there.values() for length in values)
    growth = {system: values[at] / values[first] for system, values in there.items() if first in values}
    if first == at or len(growth) < 2 or not grows:
        return f"{says}."
    slow, fast = (pick(growth, key=lambda system: growth[system]) for pick in (min, max))
    return (
        f"{says}; since {length_label(first)} it went to {figure_text(growth[slow])} times its value for {slow} "
        f"and to {figure_text(growth[fast])} times for {fast}."
    )


BUSY_TITLE = "Device time of one decode step"


def busy_stats(table: Table, system: str) -> dict[int, Stat]:
    """By length: ms that the device worked in one step, from the profiler. What a host that never waits would show."""
    return {
        b.context_length: Stat(value=b.busy_ms, low=b.busy_ms, high=b.busy_ms, n=1)
        for b in table.breakdowns(system, "decode")
    }


def busy_table(table: Table) -> MetricTable:
    found = {system: stats for system in table.systems if (stats := busy_stats(table, system))}
    lengths = sorted({length for stats in found.values() for length in stats})
    rows, series = [], []
    for system, stats in found.items():
        entries = [Entry(f"{stats[n].value:.2f} ms" if n in stats else "–") for n in lengths]
        rows.append((system, table.report.systems[system].title, entries))
        series.append(Series(system, tuple((float(n), s.value, s.low, s.high) for n, s in sorted(stats.items()))))
    chart = draw(series, x_title="Context length, tokens", y_title=f"{BUSY_TITLE}, ms")
    says = takeaway({system: {n: s.value for n, s in stats.items()} for system, stats in found.items()}, "ms")
    return MetricTable(BUSY_TITLE, says, [length_label(n) for n in lengths], rows, chart)


@dataclass(frozen=True, slots=True)
class LimitRow:
    system: str
    title: str
    cap: str
    reading: str
    logits: str
    tokens: str
    predicted: str
    ended: str
    confirmed: int
    beyond_positions: bool
    says: str
    note: str  # what a reader has to know beside the figure


def limit_rows(table: Table, system: str = "") -> list[LimitRow]:
    return [
        LimitRow(
            system=x.system,
            title=table.report.systems[x.system].title,
            cap=bytes_text(x.cap_bytes) if x.cap_bytes else "all of the device",
            reading=x.reading.replace("_", " "),
            logits=x.logits,
            tokens=_limit_text(x),
            predicted=f"{x.predicted:,}",
            ended=_ended(x),
            confirmed=x.confirmed,
            beyond_positions=bool(x.published_positions and x.tokens > x.published_positions),
            says=x.says,
            note=x.says if x.says.startswith("the logits") else "",
        )
        for x in sorted(table.report.limits, key=lambda x: (x.system, x.cap_bytes or 2**60, x.logits, x.reading))
        if not system or x.system == system
    ]


def _limit_text(limit: Limit) -> str:
    if limit.is_open:
        return f"below {limit.ended_at:,}" if limit.ended != "no_time" else "not found in time"
    more = "≥ " if limit.ended in ("position_limit", "no_time") else ""
    return f"{more}{limit.tokens:,}" if limit.tokens else "not even the shortest"


def _ended(limit: Limit) -> str:
    if limit.ended == "position_limit":
        return "end of the grid"
    if limit.ended == "no_time":
        return "no time for more"
    text = FAILURES[limit.ended]
    return f"{text} at {limit.ended_at:,}" if limit.ended_at else text
