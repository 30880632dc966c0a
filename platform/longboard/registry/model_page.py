"""One model: what it is, its numbers by length, and where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from longboard.boards import figures
from longboard.boards.models import Cell
from longboard.fleet.models import Hardware
from longboard.quantities import length_label
from longboard.registry.model_chart import ChartSystem, HeatMap, chart_rows, chart_title, heat_map, length_series
from longboard.registry.model_tables import (
    TRAINED_METRICS,
    EfficiencyLine,
    TrainedLine,
    efficiency_lines,
    trained_lines,
)
from longboard.registry.models import Model, Suite
from longboard.registry.suites import suite_info
from longboard.submissions.models import Run
from longboard_tasks.catalogue.metrics import METRICS, MetricInfo


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
    series = length_series(shown, systems)
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
        chart_title=chart_title(series, metric),
        chart_wide=figures.draw_lengths(series, gain=metric),
        chart_narrow=figures.draw_lengths(series, gain=metric, size=figures.NARROW),
        chart_rows=chart_rows(shown, systems, lengths),
        heat_system=heat_system.label if heat_system else "",
        heat=heat_map(heat_system, chosen_hw.pk, suite.pk, task.name)
        if heat_system and chosen_hw and suite and task
        else None,
        efficiency_metrics=metrics,
        efficiency=efficiency_lines(efficiency, systems, metrics),
        trained=trained_lines([c for c in here if infos[c.suite_id].trains], failures, systems, infos),
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
