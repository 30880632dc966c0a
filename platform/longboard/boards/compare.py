"""Two to five Systems side by side on one hardware: paired differences, costs, settings; and where one overtakes another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import numpy as np
from django.db.models import Q
from django.urls import reverse

from longboard.boards import figures
from longboard.boards.board_rows import model_url, run_url
from longboard.boards.exports import Table
from longboard.boards.figures import LengthSeries, Mark, mark_of
from longboard.boards.lengths import crossover
from longboard.boards.models import Cell
from longboard.boards.paired import Difference, paired_difference, separate_difference
from longboard.boards.queries import Choice
from longboard.errors import BadRequest
from longboard.fleet.models import Hardware
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import Suite, System
from longboard.results.models import Bundle
from longboard_tasks.catalogue import METRICS, MetricInfo

MOST = 5
LEAST_SHARED = 5  # samples: with fewer, two shares are compared as separate


@dataclass(frozen=True, slots=True)
class Side:
    """One of the compared Systems."""

    slug: str
    label: str
    url: str
    mark: Mark
    without_url: str  # the comparison without it; empty where that would leave one


@dataclass(frozen=True, slots=True)
class CompareCell:
    quantity: Quantity | None
    run_url: str
    difference: str  # to the first System, "+0.12 (0.03–0.21)"
    verdict: str  # better, worse, unclear; empty for the first
    says: str  # how it was compared


@dataclass(frozen=True, slots=True)
class CompareLine:
    metric: str
    task: str
    length: str
    cells: tuple[CompareCell, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where the second System overtakes the first in one metric."""

    metric: str
    task: str
    text: str
    interval: str
    share: str
    n: str  # lengths that both have


@dataclass(frozen=True, slots=True)
class Chart:
    """One of the three pictures side by side: a metric by context length."""

    title: str
    figure: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ComparePage:
    sides: tuple[Side, ...]
    suites: tuple[Choice, ...]
    hardware: tuple[Choice, ...]
    hardware_title: str
    suite_title: str
    title: str
    accuracy: tuple[CompareLine, ...]
    efficiency: tuple[CompareLine, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]  # name, value of each; only those that differ
    same: int  # settings that do not differ
    charts: tuple[Chart, ...]  # accuracy, memory, speed
    crossover_url: str  # of the first two
    permalink: str
    exports: Mapping[str, str]
    table: Table


def compare_page(query: Any) -> ComparePage:
    """Seven statements. Raises BadRequest for fewer than two or more than five Systems, and for one that is not known."""
    systems = chosen_systems(query, most=MOST)
    cells = _cells(systems)
    hardware, suite = _place(query, cells)
    here = [c for c in cells if c.hardware_id == getattr(hardware, "pk", 0)]
    accuracy = [c for c in here if c.suite_id == getattr(suite, "pk", 0)]
    efficiency = [c for c in here if c.suite.kind == "efficiency"]
    where = {"suite": suite.label if suite else "", "hardware": hardware.slug if hardware else ""}
    slugs = [s.slug for s in systems]
    lines = _lines(accuracy, systems)
    settings, same = _settings(systems, here)
    return ComparePage(
        sides=tuple(
            Side(
                slug=s.slug,
                label=s.label,
                url=model_url(s.model.slug),
                mark=mark_of(s.pk),
                without_url=_url("compare", [x for x in slugs if x != s.slug], where) if len(slugs) > 2 else "",
            )
            for s in systems
        ),
        suites=_choices({(c.suite.label, c.suite.title) for c in cells if c.suite.kind == "accuracy"}, where["suite"]),
        hardware=_choices({(c.hardware.slug, c.hardware.title) for c in cells}, where["hardware"]),
        hardware_title=hardware.title if hardware else "",
        suite_title=suite.title if suite else "",
        title=_title(systems, lines, hardware),
        accuracy=lines,
        efficiency=_lines(efficiency, systems),
        settings=settings,
        same=same,
        charts=_charts(accuracy, efficiency, systems),
        crossover_url=_url("overtaking", slugs[:2], where),
        permalink=_url("compare", slugs, where),
        exports={kind: _url("compare-table", slugs, where, kind) for kind in ("csv", "json", "parquet")},
        table=_table(accuracy + efficiency, systems),
    )


def chosen_systems(query: Any, *, most: int) -> list[System]:
    """The Systems of the address, in its order. Raises BadRequest."""
    slugs = list(dict.fromkeys(slug.replace("\x00", "")[:200] for slug in query.getlist("system") if slug))
    if not 2 <= len(slugs) <= most:
        raise BadRequest(f"Choose 2 to {most} systems to compare, not {len(slugs)}: tick them on a board.")
    found = {s.slug: s for s in System.objects.filter(slug__in=slugs).select_related("model", "method")}
    for slug in slugs:
        if slug not in found:
            raise BadRequest(f'There is no system "{slug[:80]}". Its address may have been cut short.')
    return [found[slug] for slug in slugs]


def _cells(systems: Sequence[System]) -> list[Cell]:
    cells = Cell.objects.filter(system__in=systems).filter(Q(metric="accuracy") | Q(suite__kind="efficiency"))
    order = ("suite__name", "-suite__version", "task", "metric", "context_length")
    return list(cells.select_related("suite", "hardware", "scores").order_by(*order))


def _place(query: Any, cells: Sequence[Cell]) -> tuple[Hardware | None, Suite | None]:
    """As asked; else the hardware, then the suite, where most numbers of two Systems or more meet."""
    met: dict[tuple[Any, ...], int] = defaultdict(int)
    for c in cells:
        met[c.hardware.slug, c.suite.label, c.task, c.metric, c.context_length] += 1
    hardware = {c.hardware.slug: c.hardware for c in cells}
    shared = {slug: sum(n > 1 for key, n in met.items() if key[0] == slug) for slug in hardware}
    device = hardware.get(query.get("hardware", "")) or (
        hardware[min(shared, key=lambda slug: (-shared[slug], slug))] if shared else None
    )
    suites = {
        c.suite.label: c.suite
        for c in cells
        if c.suite.kind == "accuracy" and device is not None and c.hardware_id == device.pk
    }
    common = {
        label: sum(n > 1 for key, n in met.items() if device is not None and key[:2] == (device.slug, label))
        for label in suites
    }
    suite = suites.get(query.get("suite", "")) or (
        suites[min(common, key=lambda label: (-common[label], label))] if common else None
    )
    return device, suite


def _lines(cells: Sequence[Cell], systems: Sequence[System]) -> tuple[CompareLine, ...]:
    groups: dict[tuple[str, str, int], dict[int, Cell]] = defaultdict(dict)
    for cell in cells:
        groups[cell.task, cell.metric, cell.context_length][cell.system_id] = cell
    lines = []
    for (task, metric, length), by_system in groups.items():
        first = by_system.get(systems[0].pk)
        lines.append(
            CompareLine(
                metric=METRICS[metric].title,
                task=task,
                length=length_label(length),
                cells=tuple(_cell(by_system.get(s.pk), first, METRICS[metric]) for s in systems),
            )
        )
    return tuple(lines)


def _cell(cell: Cell | None, first: Cell | None, metric: MetricInfo) -> CompareCell:
    if cell is None:
        return CompareCell(None, "", "", "", "")
    number = quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit)
    if first is None or cell.pk == first.pk:
        return CompareCell(number, run_url(cell.last_run_id), "", "", "")
    if metric.unit == "share":
        delta = difference_of(first, cell)
        kind = f"paired on {delta.n} samples" if delta.paired else f"separate samples, n={delta.n}"
        verdict = "unclear" if not delta.is_sure else "better" if delta.value > 0 else "worse"
        return CompareCell(number, run_url(cell.last_run_id), _signed(delta), verdict, kind)
    low, ratio, high = _ratio(first, cell)
    faster = (low > 1, high < 1) if metric.higher_is_better else (high < 1, low > 1)
    verdict = "better" if faster[0] else "worse" if faster[1] else "unclear"
    return CompareCell(number, run_url(cell.last_run_id), f"×{ratio:.3g} ({low:.3g}–{high:.3g})", verdict, "ratio")


def difference_of(first: Cell, second: Cell) -> Difference:
    """second - first: on the samples that both answered, or as separate shares where there are too few."""
    a, b = _score_map(first), _score_map(second)
    shared = sorted(a.keys() & b.keys())
    if len(shared) >= LEAST_SHARED and 2 * len(shared) >= max(len(a), len(b)):
        return paired_difference(np.array([a[k] for k in shared]), np.array([b[k] for k in shared]))
    return separate_difference((first.value, first.n), (second.value, second.n))


def _score_map(cell: Cell) -> dict[tuple[int, int], float]:
    """(seed, index) -> score of the samples behind a Cell."""
    if not hasattr(cell, "scores"):
        return {}
    found: dict[tuple[int, int], float] = {}
    scores, start = np.frombuffer(bytes(cell.scores.scores), "<f4"), 0
    for seed, size in cell.scores.seeds:
        found |= {(seed, i): float(scores[start + i]) for i in range(size)}
        start += size
    return found


def _signed(delta: Difference) -> str:
    number = quantity(
        abs(delta.value), 0, max(delta.high - delta.value, delta.value - delta.low, 0.01), n=delta.n, unit="share"
    )
    decimals = len(number.value.partition(".")[2])
    sign = "+" if delta.value > 0 else "−" if delta.value < 0 else "±"
    return f"{sign}{abs(delta.value):.{decimals}f} ({delta.low:.{decimals}f} to {delta.high:.{decimals}f})".replace(
        "-", "−"
    )


def _ratio(first: Cell, second: Cell) -> tuple[float, float, float]:
    """second / first with an interval from both relative intervals, which are independent."""
    if first.value <= 0 or second.value <= 0:
        return 0.0, float("nan"), float("inf")
    ratio = second.value / first.value
    below = np.hypot((second.value - second.ci_low) / second.value, (first.ci_high - first.value) / first.value)
    above = np.hypot((second.ci_high - second.value) / second.value, (first.value - first.ci_low) / first.value)
    return float(ratio * np.exp(-below)), float(ratio), float(ratio * np.exp(above))


def _charts(accuracy: Sequence[Cell], efficiency: Sequence[Cell], systems: Sequence[System]) -> tuple[Chart, ...]:
    """What one gets, what it takes to hold, how long one waits: each by context length, without those never measured."""
    found = []
    for name, cells in (("accuracy", accuracy), ("peak_memory_bytes", efficiency), ("ttft_ms", efficiency)):
        series = _series([c for c in cells if c.metric == name], systems)
        figure = figures.draw_lengths(series, gain=METRICS[name], size=figures.PANEL)
        if figure:
            found.append(Chart(METRICS[name].title, figure))
    return tuple(found)


def _series(cells: Sequence[Cell], systems: Sequence[System]) -> list[LengthSeries]:
    """Of the task with most numbers: its accuracy by length."""
    tasks: dict[str, int] = defaultdict(int)
    for cell in cells:
        tasks[cell.task] += 1
    if not tasks:
        return []
    task = min(tasks, key=lambda t: (-tasks[t], t))
    found = []
    for system in systems:
        points = sorted(
            (c.context_length, quantity(c.value, c.ci_low, c.ci_high, n=c.n, unit=c.unit))
            for c in cells
            if c.task == task and c.system_id == system.pk
        )
        if points:
            found.append(LengthSeries(system.pk, system.label, tuple(points)))
    return found


def _title(systems: Sequence[System], lines: Sequence[CompareLine], hardware: Hardware | None) -> str:
    where = f" on {hardware.title}" if hardware else ""
    if len(systems) > 2:
        sure = sum(cell.verdict in ("better", "worse") for line in lines for cell in line.cells)
        total = sum(bool(cell.verdict) for line in lines for cell in line.cells)
        return f"{sure} of {total} differences to {systems[0].label} are sure{where}"
    verdicts = [line.cells[1].verdict for line in lines if line.cells[1].verdict]
    if not verdicts:
        return f"Nothing was measured for both systems{where} yet"
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return (
        f"{systems[1].label} is surely more accurate than {systems[0].label} in {better} of {len(verdicts)} places, "
        f"surely less in {worse}, and the rest is open{where}"
    )


def _settings(systems: Sequence[System], cells: Sequence[Cell]) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], int]:
    """What differs between the Systems, and between the manifests of their latest Runs here."""
    latest: dict[int, UUID] = {}
    for cell in sorted(cells, key=lambda c: (c.updated_at, c.pk)):
        latest[cell.system_id] = cell.last_run_id
    accepted = Bundle.objects.filter(attempt__run__in=latest.values(), state=Bundle.State.ACCEPTED).order_by("pk")
    bundles = dict(accepted.values_list("attempt__run_id", "manifest"))
    told = [_flat(_own(s) | {"run": bundles.get(latest.get(s.pk, UUID(int=0)), {})}) for s in systems]
    names = sorted({name for settings in told for name in settings})
    rows = [(name, tuple(settings.get(name, "–") for settings in told)) for name in names]
    different = tuple((name, values) for name, values in rows if len(set(values)) > 1)
    return different, len(rows) - len(different)


def _own(system: System) -> dict[str, Any]:
    model = system.model
    return {
        "model": {"id": model.ref, "revision": model.revision, "family": model.family, "parameters": model.parameters},
        "method": {"name": system.method.name, "budget": system.budget, **system.settings},
        "runtime": {"dtype": system.dtype, "attention": system.attention, "kernels": system.kernels},
    }


TIMES = ("started_at", "wall_s")  # of one run, not of its settings


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif value not in (None, "", []) and name not in TIMES:
            found[f"{prefix}{name}"] = str(value)[:200]
    return found


def _choices(pairs: set[tuple[str, str]], chosen: str) -> tuple[Choice, ...]:
    return tuple(Choice(value, f"{title}", value == chosen) for value, title in sorted(pairs))


def _url(route: str, slugs: Sequence[str], where: Mapping[str, str], *args: str) -> str:
    query = [("system", slug) for slug in slugs] + [(k, v) for k, v in sorted(where.items()) if v]
    return f"{reverse(route, args=args)}?{urlencode(query)}"


def _table(cells: Sequence[Cell], systems: Sequence[System]) -> Table:
    columns = {
        "suite": "text", "task": "text", "metric": "text", "context_length": "whole", "system": "text", "value": "number",
        "ci_low": "number", "ci_high": "number", "n": "whole", "unit": "text", "trust": "text", "difference": "number",
        "difference_low": "number", "difference_high": "number", "paired_samples": "whole",
    }  # fmt: skip
    slugs = {s.pk: s.slug for s in systems}
    firsts = {(c.suite_id, c.task, c.metric, c.context_length): c for c in cells if c.system_id == systems[0].pk}

    def rows() -> Iterator[Sequence[Any]]:
        for c in cells:
            first = firsts.get((c.suite_id, c.task, c.metric, c.context_length))
            delta: list[Any] = [None] * 4
            if first is not None and first.pk != c.pk and METRICS[c.metric].unit == "share":
                d = difference_of(first, c)
                delta = [d.value, d.low, d.high, d.n if d.paired else None]
            yield (c.suite.label, c.task, c.metric, c.context_length, slugs[c.system_id], c.value, c.ci_low, c.ci_high, c.n,
                   c.unit, c.trust, *delta)  # fmt: skip

    return Table(columns, rows(), {"first": systems[0].slug})


# --- Crossover -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CrossoverPage:
    first: Side
    second: Side
    hardware: tuple[Choice, ...]
    suites: tuple[Choice, ...]
    hardware_title: str
    title: str
    crossings: tuple[Crossing, ...]
    wide: dict[str, Any]
    narrow: dict[str, Any]
    chart_title: str
    compare_url: str
    swapped_url: str
    permalink: str


def crossover_page(query: Any) -> CrossoverPage:
    """At which length the second System overtakes the first, by metric. Raises BadRequest unless it is given two."""
    systems = chosen_systems(query, most=2)
    cells = _cells(systems)
    hardware, suite = _place(query, cells)
    here = [
        c
        for c in cells
        if hardware and c.hardware_id == hardware.pk and (c.suite.kind == "efficiency" or c.suite == suite)
    ]
    where = {"suite": suite.label if suite else "", "hardware": hardware.slug if hardware else ""}
    groups: dict[tuple[str, str, str], dict[int, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for c in here:
        groups[c.suite.label, c.task, c.metric][c.context_length][c.system_id] = c
    crossings, drawn = [], None
    for (label, task, metric), by_length in groups.items():
        both = sorted(n for n, pair in by_length.items() if len(pair) == 2)
        if len(both) < 2:
            continue
        info = METRICS[metric]
        axes = [_axis([by_length[n][s.pk] for n in both], info) for s in systems]
        crossings.append(_crossing(info, f"{label} {task}", both, *crossover(np.array(both), *axes)))
        if drawn is None or (metric == "ttft_ms" and not drawn[1].higher_is_better):
            drawn = (by_length, info)
    slugs = [s.slug for s in systems]
    series = _length_series(drawn[0], systems) if drawn else []
    sides = [Side(s.slug, s.label, model_url(s.model.slug), mark_of(s.pk), "") for s in systems]
    overtaken = [c for c in crossings if c.text != "–"]
    place = f" on {hardware.title}" if hardware else ""
    title = (
        f"{systems[1].label} overtakes {systems[0].label} in {len(overtaken)} of {len(crossings)} metrics{place}"
        + (f", first in {overtaken[0].metric.lower()} at about {overtaken[0].text} tokens" if overtaken else "")
        if crossings
        else f"No metric has both systems at two lengths{place} yet"
    )
    return CrossoverPage(
        first=sides[0],
        second=sides[1],
        hardware=_choices({(c.hardware.slug, c.hardware.title) for c in cells}, where["hardware"]),
        suites=_choices({(c.suite.label, c.suite.title) for c in cells if c.suite.kind == "accuracy"}, where["suite"]),
        hardware_title=hardware.title if hardware else "",
        title=title,
        crossings=tuple(crossings),
        wide=figures.draw_lengths(series, gain=drawn[1]) if drawn else {},
        narrow=figures.draw_lengths(series, gain=drawn[1], size=figures.NARROW) if drawn else {},
        chart_title=f"{drawn[1].title} by context length" if drawn else "",
        compare_url=_url("compare", slugs, where),
        swapped_url=_url("overtaking", slugs[::-1], where),
        permalink=_url("overtaking", slugs, where),
    )


def _axis(cells: Sequence[Cell], metric: MetricInfo) -> np.ndarray:
    """[lengths, 3] with more being better."""
    rows = np.array([(c.value, c.ci_low, c.ci_high) for c in cells])
    return rows if metric.higher_is_better else -rows[:, [0, 2, 1]]


def _crossing(
    metric: MetricInfo,
    task: str,
    lengths: Sequence[int],
    at: float | None,
    low: float | None,
    high: float | None,
    share: float,
) -> Crossing:
    seen = low is not None and high is not None and share >= 0.05
    return Crossing(
        metric=metric.title,
        task=task,
        text=_about(at) if at is not None else "–",
        interval=f"{_about(low)}–{_about(high)}" if seen and low is not None and high is not None else "",
        share=f"{share:.0%}",
        n=f"{len(lengths)} ({length_label(lengths[0])} to {length_label(lengths[-1])})",
    )


def _about(tokens: float) -> str:
    """An interpolated length, to two digits: nothing was measured there."""
    digits = 10 ** max(0, len(str(int(tokens))) - 2)
    return f"{round(tokens / digits) * digits:,}"


def _length_series(by_length: Mapping[int, Mapping[int, Cell]], systems: Sequence[System]) -> list[LengthSeries]:
    found = []
    for s in systems:
        points = [
            (n, quantity(c.value, c.ci_low, c.ci_high, n=c.n, unit=c.unit))
            for n in sorted(by_length)
            if (c := by_length[n].get(s.pk)) is not None
        ]
        if points:
            found.append(LengthSeries(s.pk, s.label, tuple(points)))
    return found
