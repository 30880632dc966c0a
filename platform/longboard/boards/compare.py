"""Two to five Systems side by side on one hardware: paired differences, costs, settings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from django.urls import reverse

from longboard.boards import figures
from longboard.boards.board_rows import model_url
from longboard.boards.choices import Choice
from longboard.boards.differences import difference_of, ratio_of, signed
from longboard.boards.exports import Table
from longboard.boards.figures import LengthSeries
from longboard.boards.marks import Mark, mark_of
from longboard.boards.metrics import MEAN, MEAN_ABOVE_CHANCE, METRICS, WHOLE_SUITE
from longboard.boards.models import Cell
from longboard.boards.reasons import run_url
from longboard.errors import BadRequest
from longboard.fleet.models import Hardware
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import Suite, System
from longboard.results.models import Bundle
from longboard_tasks.catalogue.metrics import MetricInfo

MOST = 5


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
    verdict: str  # better, worse, unclear, equal; empty for the first
    says: str  # how it was compared


@dataclass(frozen=True, slots=True)
class CompareLine:
    metric: str
    task: str
    length: str
    cells: tuple[CompareCell, ...]


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
    cells = cells_of(systems)
    hardware, suite = place_of(query, cells)
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
                without_url=url_of("compare", [x for x in slugs if x != s.slug], where) if len(slugs) > 2 else "",
            )
            for s in systems
        ),
        suites=choices({(c.suite.label, c.suite.title) for c in cells if c.suite.kind == "accuracy"}, where["suite"]),
        hardware=choices({(c.hardware.slug, c.hardware.title) for c in cells}, where["hardware"]),
        hardware_title=hardware.title if hardware else "",
        suite_title=suite.title if suite else "",
        title=_title(systems, lines, hardware),
        accuracy=lines,
        efficiency=_lines(efficiency, systems),
        settings=settings,
        same=same,
        charts=_charts(accuracy, efficiency, systems),
        crossover_url=url_of("overtaking", slugs[:2], where),
        permalink=url_of("compare", slugs, where),
        exports={kind: url_of("compare-table", slugs, where, kind) for kind in ("csv", "json", "parquet")},
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


def cells_of(systems: Sequence[System]) -> list[Cell]:
    cells = Cell.objects.filter(system__in=systems).filter(
        Q(metric__in=("accuracy", MEAN, MEAN_ABOVE_CHANCE)) | Q(suite__kind="efficiency")
    )
    order = ("suite__name", "-suite__version", "task", "metric", "context_length")
    return list(cells.select_related("suite", "hardware", "scores").order_by(*order))


def place_of(query: Any, cells: Sequence[Cell]) -> tuple[Hardware | None, Suite | None]:
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
                task=METRICS[metric].title if task == WHOLE_SUITE else task,
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
        kind = f"paired on {delta.n:,} samples" if delta.paired else f"separate samples, n={delta.n:,}"
        verdict = "unclear" if not delta.is_sure else "better" if delta.value > 0 else "worse"
        return CompareCell(number, run_url(cell.last_run_id), signed(delta), verdict, kind)
    ratio, low, high = ratio_of(first, cell)
    faster = (low > 1, high < 1) if metric.higher_is_better else (high < 1, low > 1)
    verdict = "better" if faster[0] else "worse" if faster[1] else "unclear"
    if math.isnan(ratio):
        return CompareCell(number, run_url(cell.last_run_id), "no ratio", verdict, "one of them is not above 0")
    told = quantity(ratio, low, high, n=cell.n, unit="1")
    if not told.interval and told.number == 1:
        verdict = "equal"
    kind = "ratio" if told.interval else "ratio of numbers that did not vary: no interval"
    return CompareCell(number, run_url(cell.last_run_id), f"×{told.text}", verdict, kind)


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


def choices(pairs: set[tuple[str, str]], chosen: str) -> tuple[Choice, ...]:
    return tuple(Choice(value, f"{title}", value == chosen) for value, title in sorted(pairs))


def url_of(route: str, slugs: Sequence[str], where: Mapping[str, str], *args: str) -> str:
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
