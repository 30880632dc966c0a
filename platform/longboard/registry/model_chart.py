"""A model's accuracy by context length, and by length and depth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse

from longboard.boards.figures import LengthSeries
from longboard.boards.marks import Mark, mark_of
from longboard.boards.models import Cell
from longboard.quantities import Quantity, length_label, percent_text, quantity
from longboard.registry.model_tables import quantity_of
from longboard.registry.models import System
from longboard.results.models import Measurement
from longboard_tasks.catalogue.metrics import MetricInfo
from longboard_tasks.intervals import wilson


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


def length_series(cells: Iterable[Cell], systems: Mapping[int, System]) -> list[LengthSeries]:
    points: dict[int, list[tuple[int, Quantity]]] = defaultdict(list)
    for cell in sorted(cells, key=lambda c: c.context_length):
        points[cell.system_id].append((cell.context_length, quantity_of(cell)))
    return [LengthSeries(pk, systems[pk].label, tuple(points[pk])) for pk in sorted(points)]


def chart_title(series: list[LengthSeries], metric: MetricInfo) -> str:
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


def chart_rows(cells: Iterable[Cell], systems: Mapping[int, System], lengths: list[int]) -> tuple[ChartSystem, ...]:
    found = {(c.system_id, c.context_length): c for c in cells}
    return tuple(
        ChartSystem(
            label=systems[pk].label,
            mark=mark_of(pk),
            cells=tuple(
                (length_label(n), quantity_of(c), reverse("run", args=[c.last_run_id]))
                if (c := found.get((pk, n)))
                else (length_label(n), None, "")
                for n in lengths
            ),
        )
        for pk in sorted({pk for pk, _ in found})
    )


def heat_map(system: System, hardware_id: int, suite_id: int, task: str) -> HeatMap | None:
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
            detail=f"{number.interval} n={number.count}",
            url=f"{run_url}?depth={depth:g}#samples",
            heat=f"h{min(9, int(share * 10))}",
        )

    depths = sorted({depth for depth, _ in asked})
    return HeatMap(
        lengths=tuple(length_label(n) for n in lengths),
        rows=tuple((percent_text(depth), tuple(cell(depth, n) for n in lengths)) for depth in depths),
    )
