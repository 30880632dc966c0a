"""Reads of models and suites, ready for templates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Count, Q
from django.urls import reverse

from longboard.boards import figures
from longboard.boards.figures import LengthSeries
from longboard.boards.marks import Mark, mark_of
from longboard.boards.models import Cell
from longboard.fleet.models import Hardware
from longboard.quantities import Quantity, count_text, length_label, percent_text, quantity
from longboard.registry.models import Model, Suite, System
from longboard.registry.suites import suite_info
from longboard.results.models import Measurement
from longboard.submissions.models import Run
from longboard.submissions.queries import FAILURE_WORDS
from longboard_tasks.catalogue.metrics import METRICS, MetricInfo
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo
from longboard_tasks.intervals import wilson

# --- Models ----------------------------------------------------------------------------------------------------------


M = TypeVar("M", bound=Model)  # with its annotations, if any
# What a model can be asked for, most useful to a newcomer first: lists and forms keep this order.
MODEL_GROUPS = {
    "Trained weights": (Model.Source.ZOO, Model.Source.HUB, Model.Source.UPLOAD),
    "Random weights: efficiency alone": (Model.Source.CONFIG,),
    "Architectures: trained in a run of the Long Range Arena": (Model.Source.ARCHITECTURE,),
}


@dataclass(frozen=True, slots=True)
class ModelLine:
    url: str
    slug: str
    title: str
    family: str
    parameters: str
    positions: str
    licence: str
    systems: int
    numbers: int


def model_groups(rows: Iterable[M]) -> list[tuple[str, list[M]]]:
    """Models by what they can be asked for, by name within; groups without a model are left out."""
    ordered = sorted(rows, key=lambda row: (row.title, row.slug))
    groups = [(title, [row for row in ordered if row.source in sources]) for title, sources in MODEL_GROUPS.items()]
    return [(title, found) for title, found in groups if found]


def model_lines(search: str = "") -> list[tuple[str, list[ModelLine]]]:
    """Every registered model that matches, by group; one statement."""
    rows = Model.objects.annotate(
        system_count=Count("systems", distinct=True), cell_count=Count("systems__cells", distinct=True)
    )
    if search:
        rows = rows.filter(
            Q(title__icontains=search)
            | Q(slug__icontains=search)
            | Q(family__icontains=search)
            | Q(ref__icontains=search)
        )
    return [
        (
            group,
            [
                ModelLine(
                    url=reverse("model", args=[row.slug]),
                    slug=row.slug,
                    title=row.title,
                    family=row.family,
                    parameters=count_text(row.parameters) if row.parameters else "",
                    positions=position_text(row.max_positions),
                    licence=row.licence,
                    systems=row.system_count,
                    numbers=row.cell_count,
                )
                for row in found
            ],
        )
        for group, found in model_groups(rows)
    ]


def position_text(positions: int | None) -> str:
    return "no limit stated" if positions is None else f"up to {length_label(positions)}"


@dataclass(frozen=True, slots=True)
class ChartSystem:
    label: str
    mark: Mark
    cells: tuple[tuple[str, Quantity | None, str], ...]  # (length, number, its run's address)


@dataclass(frozen=True, slots=True)
class HeatCell:
    text: str
    detail: str
    url: str
    heat: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    lengths: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell | None, ...]], ...]  # by depth


@dataclass(frozen=True, slots=True)
class EfficiencyLine:
    system: str
    mark: Mark
    length: str
    cells: tuple[tuple[Quantity | None, str], ...]


# Of what was trained from scratch, and of the clock of the same suite, which trains nothing.
TRAINED_METRICS = (
    "accuracy", "train_tokens_per_s", "train_peak_memory_bytes", "forward_tokens_per_s", "forward_peak_memory_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainedLine:
    """One task of a suite that trains. `cells`: number and its run's address, in the order of TRAINED_METRICS."""

    system: str
    mark: Mark
    task: str
    length: str
    note: str  # what the number is no part of
    failure: str  # of the latest Run, where no number came of any
    failure_url: str
    cells: tuple[tuple[Quantity | None, str], ...]


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    text: str
    selected: bool


@dataclass(frozen=True, slots=True)
class ModelPage:
    model: Model
    facts: tuple[tuple[str, str], ...]
    hardware: tuple[Option, ...]
    systems: tuple[Option, ...]
    suites: tuple[Option, ...]
    tasks: tuple[Option, ...]
    hardware_title: str
    metric: MetricInfo
    suite_title: str
    task_title: str
    lengths: tuple[str, ...]
    chart_title: str
    chart_wide: dict[str, Any]
    chart_narrow: dict[str, Any]
    chart_rows: tuple[ChartSystem, ...]
    heat_system: str
    heat: HeatMap | None
    efficiency_metrics: tuple[MetricInfo, ...]
    efficiency: tuple[EfficiencyLine, ...]
    trained: tuple[TrainedLine, ...]
    trained_titles: tuple[str, ...]


def model_page(slug: str, query: Mapping[str, Any]) -> ModelPage | None:
    """A model with all its Systems on one hardware. Four statements; of an architecture six."""
    model = Model.objects.filter(slug=slug).select_related("owner").first()
    if model is None:
        return None
    systems = {s.pk: s for s in model.systems.select_related("model", "method")}
    cells = list(Cell.objects.filter(system__in=systems).select_related("suite", "hardware"))
    hardware = {c.hardware.slug: c.hardware for c in sorted(cells, key=lambda c: c.hardware.slug)}
    chosen_hw = hardware.get(query.get("hardware", "")) or _fullest(hardware, cells)
    here = [c for c in cells if chosen_hw and c.hardware_id == chosen_hw.pk]
    infos = {c.suite_id: suite_info(c.suite) for c in here}
    failures: list[Any] = []
    if model.source == Model.Source.ARCHITECTURE:
        ended = Run.objects.filter(system__in=systems, state__in=(Run.State.FAILED, Run.State.REJECTED))
        if chosen_hw:
            ended = ended.filter(pool__hardware=chosen_hw)
        failures = list(
            ended.order_by("finished_at").values_list(
                "system_id", "suite_id", "tasks", "context_length", "pk", "failure_class"
            )
        )
        infos |= {s.pk: suite_info(s) for s in Suite.objects.filter(pk__in={row[1] for row in failures})}
    accuracy = [
        c
        for c in here
        if c.suite.kind == "accuracy" and c.metric == infos[c.suite_id].headline_metric and not infos[c.suite_id].trains
    ]
    suites = {c.suite.label: c.suite for c in sorted(accuracy, key=lambda c: c.suite.label)}
    lengths_of = {label: {c.context_length for c in accuracy if c.suite.label == label} for label in suites}
    suite = suites.get(query.get("suite", "")) or next(
        (suites[label] for label in sorted(suites, key=lambda label: -len(lengths_of[label]))), None
    )
    of_suite = [c for c in accuracy if suite and c.suite_id == suite.pk]
    tasks = [t for t in suite_info(suite).tasks if any(c.task == t.name for c in of_suite)] if suite else []
    task = next((t for t in tasks if t.name == query.get("task", "")), tasks[0] if tasks else None)
    shown = [c for c in of_suite if task and c.task == task.name]  # a line of a chart is of one task
    metric = METRICS[suite_info(suite).headline_metric] if suite else METRICS["accuracy"]
    lengths = sorted({c.context_length for c in shown})
    with_heat = {s.slug: s for s in systems.values() if any(c.system_id == s.pk for c in shown)}
    heat_system = with_heat.get(query.get("system", "")) or next(iter(with_heat.values()), None)
    series = _series(shown, systems)
    efficiency = [c for c in here if c.suite.kind == "efficiency"]
    metrics = tuple(METRICS[m] for m in METRICS if any(c.metric == m for c in efficiency))
    return ModelPage(
        model=model,
        facts=_facts(model),
        hardware=tuple(Option(s, h.title, h == chosen_hw) for s, h in hardware.items()),
        systems=tuple(Option(s.slug, s.label, s == heat_system) for s in with_heat.values()),
        suites=tuple(Option(label, s.title, s == suite) for label, s in suites.items()),
        tasks=tuple(Option(t.name, t.title, t == task) for t in tasks),
        hardware_title=chosen_hw.title if chosen_hw else "",
        metric=metric,
        suite_title=suite.title if suite else "",
        task_title=task.title if task else "",
        lengths=tuple(length_label(n) for n in lengths),
        chart_title=_chart_title(series, metric),
        chart_wide=figures.draw_lengths(series, gain=metric),
        chart_narrow=figures.draw_lengths(series, gain=metric, size=figures.NARROW),
        chart_rows=_chart_rows(shown, systems, lengths),
        heat_system=heat_system.label if heat_system else "",
        heat=_heat_map(heat_system, chosen_hw.pk, suite.pk, task.name)
        if heat_system and chosen_hw and suite and task
        else None,
        efficiency_metrics=metrics,
        efficiency=_efficiency(efficiency, systems, metrics),
        trained=_trained([c for c in here if infos[c.suite_id].trains], failures, systems, infos),
        trained_titles=tuple(METRICS[metric].title for metric in TRAINED_METRICS),
    )


def _fullest(hardware: Mapping[str, Hardware], cells: Iterable[Cell]) -> Hardware | None:
    """Where most of the model was measured, accuracy before anything else."""
    accuracies, numbers = Counter[int](), Counter[int]()
    for cell in cells:
        numbers[cell.hardware_id] += 1
        accuracies[cell.hardware_id] += cell.suite.kind == "accuracy"
    return max(hardware.values(), key=lambda row: (accuracies[row.pk], numbers[row.pk]), default=None)


def _facts(model: Model) -> tuple[tuple[str, str], ...]:
    facts = (
        ("Source", f"{model.get_source_display()}: {model.ref}"),
        ("Revision", model.revision),
        ("Family", model.family),
        ("Architecture", model.architecture),
        ("Parameters", f"{model.parameters:,}" if model.parameters else ""),
        ("Trained to", f"{model.trained_length:,} tokens" if model.trained_length else ""),
        ("Positions", f"{model.max_positions:,}" if model.max_positions else "no limit stated"),
        ("Licence", model.licence),
        ("Registered by", model.owner.username if model.owner else ""),
    )
    return tuple((name, value) for name, value in facts if value)


def _quantity(cell: Cell) -> Quantity:
    return quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit)


def _series(cells: Iterable[Cell], systems: Mapping[int, System]) -> list[LengthSeries]:
    points: dict[int, list[tuple[int, Quantity]]] = defaultdict(list)
    for cell in sorted(cells, key=lambda c: c.context_length):
        points[cell.system_id].append((cell.context_length, _quantity(cell)))
    return [LengthSeries(pk, systems[pk].label, tuple(points[pk])) for pk in sorted(points)]


def _chart_title(series: list[LengthSeries], metric: MetricInfo) -> str:
    """Where the best System starts to fall, in a sentence."""
    if not series:
        return "No accuracy has been measured yet"
    best = max(series, key=lambda s: max(q.number for _, q in s.points))
    length, top = max(best.points, key=lambda point: (point[1].number, point[0]))
    longest, last = best.points[-1]
    if length == longest:
        return f"{metric.title} is {last.text} at {length_label(longest)} tokens, the longest measured"
    if last.high < top.low:
        return f"{metric.title} falls from {top.text} at {length_label(length)} to {last.text} at {length_label(longest)} tokens"
    return f"{metric.title} is {top.text} at {length_label(length)} tokens, and {last.text} at the longest measured"


def _chart_rows(cells: Iterable[Cell], systems: Mapping[int, System], lengths: list[int]) -> tuple[ChartSystem, ...]:
    found = {(c.system_id, c.context_length): c for c in cells}
    return tuple(
        ChartSystem(
            label=systems[pk].label,
            mark=mark_of(pk),
            cells=tuple(
                (length_label(n), _quantity(c), reverse("run", args=[c.last_run_id]))
                if (c := found.get((pk, n)))
                else (length_label(n), None, "")
                for n in lengths
            ),
        )
        for pk in sorted({pk for pk, _ in found})
    )


def _heat_map(system: System, hardware_id: int, suite_id: int, task: str) -> HeatMap | None:
    """Depth x length, pooled over the accepted Runs; each cell leads to the samples of the latest of them."""
    rows = (
        Measurement.objects.filter(
            system=system,
            hardware=hardware_id,
            suite=suite_id,
            task=task,
            metric__endswith="_by_depth",
            depth__isnull=False,
        )
        .order_by("pk")
        .values_list("context_length", "depth", "value", "n", "run_id")
    )
    right: dict[tuple[float, int], float] = defaultdict(float)
    asked: dict[tuple[float, int], int] = defaultdict(int)
    latest: dict[tuple[float, int], UUID] = {}
    for length, depth, value, n, run_id in rows:
        where = depth or 0.0, length
        right[where] += value * n
        asked[where] += n
        latest[where] = run_id
    if not asked:
        return None
    lengths = sorted({length for _, length in asked})

    def cell(depth: float, length: int) -> HeatCell | None:
        n = asked.get((depth, length))
        if not n:
            return None
        share = min(1.0, right[depth, length] / n)
        run_url = reverse("run", args=[latest[depth, length]])
        number = quantity(share, *wilson(share, n), n=n, unit="share")
        return HeatCell(
            text=number.value,
            detail=f"{number.interval} n={n}",
            url=f"{run_url}?depth={depth:g}#samples",
            heat=f"h{min(9, int(share * 10))}",
        )

    depths = sorted({depth for depth, _ in asked})
    return HeatMap(
        lengths=tuple(length_label(n) for n in lengths),
        rows=tuple((percent_text(depth), tuple(cell(depth, n) for n in lengths)) for depth in depths),
    )


def _efficiency(
    cells: Iterable[Cell], systems: Mapping[int, System], metrics: tuple[MetricInfo, ...]
) -> tuple[EfficiencyLine, ...]:
    found = {(c.system_id, c.context_length, c.metric): c for c in cells}
    return tuple(
        EfficiencyLine(
            system=systems[pk].label,
            mark=mark_of(pk),
            length=length_label(length),
            cells=tuple(
                (_quantity(c), reverse("run", args=[c.last_run_id]))
                if (c := found.get((pk, length, m.name)))
                else (None, "")
                for m in metrics
            ),
        )
        for pk, length in sorted({(pk, length) for pk, length, _ in found})
    )


ROLES = {"scored": "", "beside": "no part of the mean", "unranked": "never ranked"}


def _trained(
    cells: Iterable[Cell], failures: Iterable[Any], systems: Mapping[int, System], infos: Mapping[int, SuiteInfo]
) -> tuple[TrainedLine, ...]:
    """Task by task, in the suite's own order; the mean stands on its board. What failed and has no number says why."""
    found = {(c.system_id, c.suite_id, c.task, c.context_length, c.metric): c for c in cells}
    failed: dict[tuple[int, int, str, int], tuple[UUID, str]] = {}
    for system, suite, tasks, length, run, why in failures:
        failed[system, suite, tasks[0], length] = run, FAILURE_WORDS.get(why, "result rejected")
    lines = []
    for system, suite, task, length in sorted({key[:4] for key in found} | set(failed)):
        run, why = failed.get((system, suite, task, length), (None, ""))
        measured = any(key[:4] == (system, suite, task, length) for key in found)
        info = next((t for t in infos[suite].tasks if t.name == task), None)
        if info is None:
            continue
        own = [found.get((system, suite, task, length, metric)) for metric in TRAINED_METRICS]
        lines.append(
            (
                infos[suite].tasks.index(info),
                TrainedLine(
                    system=systems[system].label,
                    mark=mark_of(system),
                    task=info.title,
                    length=length_label(length),
                    note=ROLES[info.role],
                    failure="" if measured else why,
                    failure_url=reverse("run", args=[run]) if run and not measured else "",
                    cells=tuple((_quantity(c), reverse("run", args=[c.last_run_id])) if c else (None, "") for c in own),
                ),
            )
        )
    return tuple(line for _, line in sorted(lines, key=lambda pair: pair[0]))


# --- Suites ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SuitePage:
    suite: Suite
    info: SuiteInfo
    tasks: tuple[tuple[TaskInfo, tuple[MetricInfo, ...]], ...]
    least_length: str
    board_url: str
    versions: tuple[Suite, ...]
    places: tuple[tuple[str, str, str, int, str], ...]  # hardware, task of its own, length, Systems, board's address


def suite_lines() -> list[SuitePage]:
    return [_suite_page(suite, (), ()) for suite in Suite.objects.filter(is_current=True).order_by("kind", "name")]


def suite_page(name: str) -> SuitePage | None:
    """A suite by its name (current version) or name@version. Two statements."""
    versions = [s for s in Suite.objects.all() if name in (s.name, s.label)]
    suite = next((s for s in versions if s.is_current), versions[0] if versions else None)
    if suite is None:
        return None
    info = suite_info(suite)
    cells = Cell.objects.filter(suite=suite, metric=info.headline_metric)
    fields = ["hardware__title", "context_length", "hardware__slug"]
    if info.trains:  # each task has boards at its own length alone
        cells = cells.filter(task__in=[task.name for task in info.tasks if task.role != "unranked"])
        fields.append("task")
    places = cells.values_list(*fields).annotate(Count("system", distinct=True)).order_by(*fields)
    return _suite_page(suite, tuple(versions), tuple(places))


def _suite_page(suite: Suite, versions: tuple[Suite, ...], places: tuple[Any, ...]) -> SuitePage:
    info = suite_info(suite)
    board = reverse("board", args=[suite.name if suite.is_current else suite.label]) if suite.kind == "accuracy" else ""
    return SuitePage(
        suite=suite,
        info=info,
        tasks=tuple((task, tuple(METRICS[m] for m in task.metrics if m in METRICS)) for task in info.tasks),
        least_length=length_label(info.least_context_length),
        board_url=board,
        versions=versions,
        places=tuple(
            (
                title,
                info.task(task[0]).title if task else "",
                length_label(length),
                count,
                f"{board}?hardware={slug}&length={length}{f'&task={task[0]}' if task else ''}" if board else "",
            )
            for title, length, slug, *task, count in places
        ),
    )
