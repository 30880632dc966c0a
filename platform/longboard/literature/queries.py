"""What the Efficiency, Claims and Literature pages show: frozen rows with finished text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from longboard.literature.catalogue import Claim, Paper, claims_of, load_claims, load_papers, papers_by_kind
from longboard.literature.charts import Series, draw
from longboard.literature.crossover import Crossover, Point, find_crossover
from longboard.literature.evidence import all_verdicts, verdict_of
from longboard.literature.measurements import Table, load_tables, main_stat
from longboard.literature.verdicts import WORDS, Verdict
from longboard.quantities import bytes_text, count_text, length_label, quantity
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
    note = " ".join(
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
    lengths: list[str]
    rows: list[tuple[str, str, list[Entry]]]  # (system id, title, entries)
    chart: dict[str, Any]


def metric_table(table: Table, metric: str) -> MetricTable:
    title, phase, unit = METRICS[metric]
    lengths = sorted(
        {c.context_length for c in table.cells if c.phase == phase and c.batch == 1 and c.logits == "last"}
    )
    rows, series = [], []
    for system in table.systems:
        cells = [table.find(system, phase, length) for length in lengths]
        rows.append((system, table.report.systems[system].title, [entry(cell, metric) for cell in cells]))
        points = []
        for length, cell in zip(lengths, cells, strict=True):
            stat = stat_of(cell, metric) if cell and not cell.failure else None
            if stat:
                scale = 2**20 if unit == "bytes" else 1
                points.append((float(length), stat.value / scale, stat.low / scale, stat.high / scale))
        series.append(Series(system, tuple(points)))
    chart = draw(series, x_title="Context length, tokens", y_title=f"{title}, {'MiB' if unit == 'bytes' else unit}")
    return MetricTable(title, [length_label(n) for n in lengths], rows, chart)


BUSY_TITLE = "Device time of one decode step"


def busy_stats(table: Table, system: str) -> dict[int, Stat]:
    """By length: ms that the device worked in one step, from the profiler. What a host that never waits would show."""
    return {
        b.context_length: Stat(value=b.busy_ms, low=b.busy_ms, high=b.busy_ms, n=1)
        for b in table.breakdowns(system, "decode")
    }


def busy_table(table: Table) -> MetricTable:
    found = {system: busy_stats(table, system) for system in table.systems}
    lengths = sorted({length for stats in found.values() for length in stats})
    rows, series = [], []
    for system, stats in found.items():
        entries = [Entry(f"{stats[n].value:.2f} ms" if n in stats else "–") for n in lengths]
        rows.append((system, table.report.systems[system].title, entries))
        series.append(Series(system, tuple((float(n), s.value, s.low, s.high) for n, s in sorted(stats.items()))))
    chart = draw(series, x_title="Context length, tokens", y_title=f"{BUSY_TITLE}, ms")
    return MetricTable(BUSY_TITLE, [length_label(n) for n in lengths], rows, chart)


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
    more = "≥ " if limit.ended in ("position_limit", "no_time") else ""
    return f"{more}{limit.tokens:,}" if limit.tokens else "not even the shortest"


def _ended(limit: Limit) -> str:
    if limit.ended == "position_limit":
        return "end of the grid"
    if limit.ended == "no_time":
        return "no time for more"
    text = FAILURES[limit.ended]
    return f"{text} at {limit.ended_at:,}" if limit.ended_at else text


@dataclass(frozen=True, slots=True)
class EfficiencyPage:
    table: Table
    tables: list[Table]
    metrics: list[tuple[str, MetricTable]]
    limits: list[LimitRow]
    ceilings: list[tuple[str, str]]
    energies: list[tuple[str, str, str, str, str, str]]
    batches: list[tuple[str, str, str, str]]


def efficiency_page(slug: str) -> EfficiencyPage | None:
    tables = load_tables()
    table = tables.get(slug) if slug else next(iter(tables.values()), None)
    return _efficiency_page(table.slug) if table else None


@cache
def _efficiency_page(slug: str) -> EfficiencyPage:
    table = load_tables()[slug]
    reached = table.report.ceilings
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
        batches=batch_rows(table),
    )


def energy_rows(table: Table, system: str = "") -> list[tuple[str, str, str, str, str, str]]:
    """(system, phase, length, J per token, joules and window, validity)"""
    rows: list[tuple[str, str, str, str, str, str]] = []
    for cell in table.report.cells:
        e = cell.energy
        if e is None or (system and cell.system != system):
            continue
        per = f"{e.per_token * 1_000:.3g} mJ" if e.per_token is not None else "–"
        window = f"{e.joules:,.0f} J in {e.window_s:.1f} s" if e.joules is not None else f"{e.window_s:.1f} s"
        valid = "valid" if e.is_valid else ", ".join(e.reasons).replace("_", " ")
        rows.append((cell.system, cell.phase, length_label(cell.context_length), per, window, valid))
    return rows


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
    for cell in sorted(
        (c for c in table.cells if c.system == system),
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


# Theory against measurement


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
    dots: dict[str, list[tuple[float, float, float, float]]] = {
        "prefill": [],
        "decode, host": [],
        "decode, device busy": [],
    }
    ratios: dict[str, list[float]] = {name: [] for name in dots}

    def add(kind: str, system: str, length: int, bound_ms: float, stat: Stat) -> None:
        ratio = stat.value / bound_ms
        ratios[kind].append(ratio)
        dots[kind].append((bound_ms, stat.value, stat.low, stat.high))
        rows.append(
            TheoryRow(
                system, kind, length_label(length), f"{bound_ms:,.3g} ms", f"{stat.value:,.3g} ms", f"{ratio:.3g}×"
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
    summary = [
        (kind, f"{median(found):.3g}× in the middle, {min(found):.3g}× to {max(found):.3g}× over {len(found)} rows")
        for kind, found in ratios.items()
        if found
    ]  # fmt: skip
    chart = draw(
        [Series(name, tuple(sorted(points))) for name, points in dots.items()],
        x_title="Bound from the cost model and the rates this machine reached, ms",
        y_title="Measured, ms",
        diagonal=True,
    )
    return TheoryPage(table, list(load_tables().values()), chart, rows, memory_rows, summary)


# Crossover


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
    a = a if a in table.systems else table.systems[0]
    if b not in table.systems or b == a:
        others = [s for s in table.systems if s != a]
        b = next((s for s in others if _kind(table, s) != _kind(table, a)), others[0])
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
                quantity(p.a.value, p.a.low, p.a.high, n=p.a.n, unit=unit).text,
                quantity(p.b.value, p.b.low, p.b.high, n=p.b.n, unit=unit).text,
                f"{p.ratio:.3g}×",
            )
            for p in points
        ]
        metrics.append((title, crossover_sentence(found, a, b), found, rows))
    return CrossoverPage(table, list(tables.values()), a, b, metrics)


def _kind(table: Table, system: str) -> str:
    shape = table.architecture(system)
    return shape.kind if shape else ""


def crossover_sentence(found: Crossover, a: str, b: str) -> str:
    if not found.points:
        return "No length was measured for both."
    parts = []
    for c in found.crossings:
        span = (
            f" ({c.low:,.0f} to {c.high:,.0f})"
            if c.low and c.high
            else " (interval reaches beyond the measured lengths)"
        )
        parts.append(f"{c.better_after} takes over from {c.better_before} at {c.length:,.0f} tokens{span}.")
    if not parts and found.better:
        widest = found.widest
        factor = max(widest.ratio, 1 / widest.ratio) if widest else 1.0
        first, last = found.points[0].length, found.points[-1].length
        parts.append(
            f"{found.better} is ahead from {length_label(first)} to {length_label(last)}, by up to {factor:.3g}× "
            f"at {length_label(widest.length if widest else first)}."
        )
    return " ".join(parts) or "No difference at any length."


# Claims and literature


@dataclass(frozen=True, slots=True)
class ClaimLine:
    verdict: Verdict
    paper: Paper | None
    ours: str
    interval: str

    @property
    def claim(self) -> Claim:
        return self.verdict.claim


def claim_line(verdict: Verdict) -> ClaimLine:
    ours = interval = ""
    e = verdict.evidence
    if e is not None:
        word = verdict.claim.unit_word
        ours = "none" if e.value == float("inf") else f"{_number(e.value)} {word}".rstrip()
        if e.low != e.high:
            interval = f"{_number(e.low)} to {_number(e.high)}"
    return ClaimLine(verdict, load_papers().get(verdict.claim.paper_id), ours, interval)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class ClaimsPage:
    lines: list[ClaimLine]
    counts: Sequence[tuple[str, str, int]]  # (outcome, words, number) over all claims
    outcome: str
    paper: str
    suite: str
    papers: list[Paper]
    suites: list[str]
    total: int


def claims_page(*, outcome: str = "", paper: str = "", suite: str = "") -> ClaimsPage:
    """Unknown filters count as none."""
    everything = _all_lines()
    outcome = outcome if outcome in WORDS else ""
    suites = sorted({line.claim.suite for line in everything if line.claim.suite != "-"})
    suite = suite if suite in suites else ""
    papers = [p for p in load_papers().values() if claims_of(p.id)]
    paper = paper if any(p.id == paper for p in papers) else ""
    lines = [
        line
        for line in everything
        if outcome in ("", line.verdict.outcome)
        and paper in ("", line.claim.paper_id)
        and suite in ("", line.claim.suite)
    ]
    order = {name: i for i, name in enumerate(WORDS)}
    lines.sort(key=lambda line: (order[line.verdict.outcome], line.claim.priority, line.claim.claim_id))
    counts = [(name, word, sum(x.verdict.outcome == name for x in everything)) for name, word in WORDS.items()]
    return ClaimsPage(
        lines, counts, outcome, paper, suite, sorted(papers, key=lambda p: p.title), suites, len(everything)
    )


@cache
def _all_lines() -> tuple[ClaimLine, ...]:
    return tuple(claim_line(verdict) for verdict in all_verdicts())


CSV_HEAD = (
    "claim", "paper", "statement", "rule", "expected", "unit", "recalled", "verdict", "ours", "low", "high", "hardware",
    "measured_on", "basis",
)  # fmt: skip


def claim_rows() -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for line in _all_lines():
        c, e = line.claim, line.verdict.evidence
        ours = (e.value, e.low, e.high, e.hardware, e.measured_on) if e else ("", "", "", "", "")
        expected = c.expected or f"{c.expected_low}..{c.expected_high}" if c.expected or c.expected_low else ""
        head = (c.claim_id, c.paper_id, c.statement, c.verdict_rule, expected, c.unit, c.is_recalled)
        rows.append((*head, line.verdict.word, *ours, line.verdict.says))
    return rows


def claim_detail(claim_id: str) -> tuple[ClaimLine, list[ClaimLine]] | None:
    """The claim, and the others of its paper."""
    claim = load_claims().get(claim_id)
    if claim is None:
        return None
    others = [claim_line(verdict_of(other)) for other in claims_of(claim.paper_id) if other.claim_id != claim_id]
    return claim_line(verdict_of(claim)), others


def literature_page(*, kind: str = "", search: str = "") -> tuple[list[tuple[str, list[tuple[Paper, str]]]], list[str]]:
    """(kinds with papers and their status, all kinds)."""
    papers = list(load_papers().values())
    kinds = [title for title, _ in papers_by_kind(papers)]
    wanted = search.lower()
    papers = [
        p
        for p in papers
        if (not kind or p.kind_title == kind)
        and (not wanted or wanted in f"{p.title} {p.family} {p.headline_claims}".lower())
    ]
    return [(title, [(p, paper_status(p)) for p in group]) for title, group in papers_by_kind(papers)], kinds


def paper_status(paper: Paper) -> str:
    """How its claims stand, in one phrase."""
    lines = [line for line in _all_lines() if line.claim.paper_id == paper.id]
    judged = [line for line in lines if line.verdict.outcome != "not_measured"]
    if judged:
        counts = {
            word: sum(x.verdict.word == word for x in judged) for word in dict.fromkeys(x.verdict.word for x in judged)
        }
        return f"{len(judged)} of {len(lines)} claims measured: " + ", ".join(
            f"{n} {word}" for word, n in counts.items()
        )
    if lines:
        return f"{len(lines)} claims, none measured yet"
    return paper.runnable


def stand_ins(paper: Paper) -> list[tuple[str, str]]:
    """(shape id, slug of the newest table that measured it or "") of the Systems that stand for a paper."""
    return [
        (name, next((slug for slug, table in load_tables().items() if name in table.systems), ""))
        for name in paper.stand_ins
    ]
