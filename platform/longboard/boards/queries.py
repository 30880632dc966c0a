"""Reads behind the boards. A board costs six SQL statements, however many Systems it shows:

suites, where there are numbers, runs that gave none, numbers of both axes, the Systems, the stored front.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, F, Func, IntegerField, Q, Subquery
from django.urls import reverse
from plotly import __version__ as plotly_version

from longboard.boards import figures
from longboard.boards.board_rows import (
    MatrixRow,
    Number,
    Row,
    Stopped,
    filter_rows,
    front_of,
    matrix_of,
    rank,
    row_of,
    short_names,
    sort_rows,
    summarise,
)
from longboard.boards.board_view import ROWS_PER_PAGE, SORTS, BoardView, find_task, rankable_metrics
from longboard.boards.figures import FrontPoint
from longboard.boards.models import Cell, FrontEntry
from longboard.boards.takeaway import takeaway
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import Suite, System
from longboard.registry.queries import suite_info
from longboard.results.models import Bundle, Trust
from longboard.submissions.models import Run
from longboard_tasks.catalogue import COST_METRICS, COST_TASK, METRICS, MetricInfo, SuiteInfo, TaskInfo

# --- Which board -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a control. `count`: how many Systems it leads to."""

    value: str
    text: str
    selected: bool = False
    count: int | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A board's suite, what it can show, and a version that changes whenever its numbers may have changed."""

    suite: Suite
    info: SuiteInfo
    efficiency_id: int  # 0: there is none
    suites: tuple[Choice, ...]
    version: str


def find_board(name: str) -> Found | None:
    """The accuracy suite called `name` (its current version) or `name@version`; None when there is none. One statement."""
    rows = list(_suites())
    wanted = next((s for s in rows if name == s.label or (name == s.name and s.is_current)), None)
    if wanted is None or wanted.kind != "accuracy":
        return None
    efficiency = next((s for s in rows if s.kind == "efficiency" and s.is_current), None)
    return Found(
        suite=wanted,
        info=suite_info(wanted),
        efficiency_id=efficiency.pk if efficiency else 0,
        suites=tuple(
            Choice(s.name, s.title, s == wanted, url=reverse("board", args=[s.name]))
            for s in rows
            if s.kind == "accuracy" and s.is_current
        ),
        version=f"{wanted.last_cell}/{wanted.last_bundle}/{wanted.open_runs}/{wanted.stopped_runs}",
    )


def first_board() -> Found | None:
    """The board that the home page shows."""
    first = Suite.objects.filter(kind="accuracy", is_current=True).order_by("pk").values_list("name", flat=True).first()
    return find_board(first) if first else None


def _suites() -> Any:
    def count(*states: str) -> Subquery:
        # Func, not Count: an aggregate would group by the row and count ones.
        runs = Run.objects.order_by().filter(state__in=states)
        return Subquery(runs.annotate(c=Func(F("pk"), function="COUNT", output_field=IntegerField())).values("c"))

    return Suite.objects.annotate(
        last_cell=Subquery(Cell.objects.order_by("-updated_at").values("updated_at")[:1]),
        last_bundle=Subquery(Bundle.objects.order_by("-pk").values("pk")[:1]),
        open_runs=count(Run.State.QUEUED, *Run.HELD),
        stopped_runs=count(Run.State.FAILED, Run.State.REJECTED, Run.State.CANCELLED),
    )


# --- One board -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Board:
    view: BoardView
    suite: Suite
    task: TaskInfo
    metric: MetricInfo
    cost: MetricInfo
    hardware: str
    length: int
    length_text: str
    title: str  # the takeaway, one sentence
    summary: str  # how many Systems, how many on the front
    lengths: tuple[Choice, ...]
    shorter: Choice | None
    longer: Choice | None
    controls: Mapping[str, tuple[Choice, ...]]
    wide: dict[str, Any]
    narrow: dict[str, Any]
    points: tuple[FrontPoint, ...]
    ranked: tuple[Row, ...]  # every row, for exports
    rows: tuple[Row, ...]  # this page's
    matrix: tuple[MatrixRow, ...]
    first_rank: int
    previous_page: str
    next_page: str
    sorts: Mapping[str, tuple[str, str]]  # column -> (url, aria-sort)
    updated: str
    permalink: str  # suite version, length and hardware pinned: it shows the same board when defaults move on
    csv_url: str
    figure_url: str
    plotly_url: str


def board(found: Found, view: BoardView) -> Board:
    """Everything that the page of `view` shows. Five statements after `find_board`."""
    task = find_task(found.info, view.task)
    metric = METRICS[view.metric or found.info.headline_metric]
    slice_ = Q(suite=found.suite, task=task.name, metric=metric.name)

    places = _places(slice_)
    view, hardware_id, slug, hardware = _choose_hardware(view, places)
    suite_ids = (found.suite.pk, found.efficiency_id)
    stopped = _stopped_runs(hardware_id, suite_ids)
    counts = {length: count for (hw, length), (count, _, _) in places.items() if hw == hardware_id}
    counts = {n: 0 for key in stopped if key[1] == found.suite.pk for n in [key[2]]} | counts
    view, length = _choose_length(view, counts)

    gains, costs = _numbers(slice_, found.efficiency_id, view.cost, hardware_id, length)
    ids = {system for system, _ in gains} | {system for system, _, _ in stopped}
    systems = _systems(ids)
    shorts = short_names(systems.values())
    everyone = [
        row_of(systems[pk], shorts[pk], gains.get((pk, length)), costs.get(pk), stopped, suite_ids, length)
        for pk in systems
    ]
    families = Counter(row.family for row in everyone)
    view, shown = filter_rows(view, everyone, families)
    ranked = rank(shown)
    ranked, points = _place_on_front(ranked, everyone, found, view, metric, hardware_id, length)
    ranked = sort_rows(ranked, view)

    pages = max(1, -(-len(ranked) // ROWS_PER_PAGE))
    if view.page > pages:
        view = view.with_notice(f"There are {pages} pages; showing the last.", page=pages)
    start = (view.page - 1) * ROWS_PER_PAGE
    rows = ranked[start : start + ROWS_PER_PAGE]
    ordered = sorted(counts)
    return Board(
        view=view,
        suite=found.suite,
        task=task,
        metric=metric,
        cost=view.cost_metric,
        hardware=hardware,
        length=length,
        length_text=length_label(length) if length else "",
        title=takeaway(points, metric=metric, cost=view.cost_metric, length=length, hardware=hardware),
        summary=summarise(ranked, points, everyone),
        lengths=tuple(Choice(str(n), length_label(n), n == length, counts[n], view.url(length=n)) for n in ordered),
        shorter=_step(view, [n for n in ordered if n < length][-1:]),
        longer=_step(view, [n for n in ordered if n > length][:1]),
        controls=_controls(found, view, task, metric, places, hardware_id, families),
        wide=figures.draw_front(points, gain=metric, cost=view.cost_metric),
        narrow=figures.draw_front(points, gain=metric, cost=view.cost_metric, size=figures.NARROW),
        points=tuple(points),
        ranked=tuple(ranked),
        rows=tuple(rows),
        matrix=matrix_of(rows, systems, gains, stopped, found.suite.pk, ordered, length),
        first_rank=start + 1,
        previous_page=view.url(page=view.page - 1) if view.page > 1 else "",
        next_page=view.url(page=view.page + 1) if view.page < pages else "",
        sorts={name: _sort_link(view, name) for name in SORTS},
        permalink=replace(view, suite=found.suite.label).url(length=length, hardware=slug, page=view.page),
        csv_url=view.url("board-csv", length=length, hardware=slug),
        figure_url=view.url("board-figure", length=length, hardware=slug),
        plotly_url=reverse("plotly", args=[plotly_version]),
        updated=f"{max(n.updated_at for n in gains.values()):%Y-%m-%d %H:%M} UTC" if gains else "",
    )


# --- The five statements ---------------------------------------------------------------------------------------------


def _places(slice_: Q) -> dict[tuple[int, int], tuple[int, str, str]]:
    """(hardware, context length) -> (Systems with a number there, hardware's slug, its title)."""
    rows = Cell.objects.filter(slice_).values_list("hardware_id", "context_length", "hardware__slug", "hardware__title")
    return {
        (hw, length): (count, slug, title) for hw, length, slug, title, count in rows.annotate(Count("pk")).order_by()
    }


def _stopped_runs(hardware_id: int, suite_ids: Iterable[int]) -> dict[tuple[int, int, int], Stopped]:
    """(System, suite, context length) -> its latest Run without a result."""
    runs = (
        Run.objects.filter(pool__hardware=hardware_id, suite__in=suite_ids)
        .exclude(state=Run.State.ACCEPTED)
        .order_by("created_at")
        .values_list("system_id", "suite_id", "context_length", "pk", "state", "failure_class")
    )
    return {(system, suite, length): Stopped(pk, state, why) for system, suite, length, pk, state, why in runs}


def _numbers(
    slice_: Q, efficiency_id: int, cost: str, hardware_id: int, length: int
) -> tuple[dict[tuple[int, int], Number], dict[int, Number]]:
    """The gains at every length (the matrix needs them), and the costs at this one."""
    cost_slice = Q(suite=efficiency_id, task=COST_TASK, metric=cost, context_length=length)
    rows = (
        Cell.objects.filter(slice_ | cost_slice, hardware=hardware_id)
        .values_list(
            "metric", "system_id", "context_length", "value", "ci_low", "ci_high", "n", "unit", "trust", "last_run_id",
            "updated_at",
        )
        .order_by()
    )  # fmt: skip
    gains: dict[tuple[int, int], Number] = {}
    costs: dict[int, Number] = {}
    for name, system, at, value, low, high, n, unit, trust, run, updated_at in rows:
        number = Number(system, at, (value, low, high, n, unit), trust, run, updated_at)
        if name == cost:
            costs[system] = number
        else:
            gains[system, at] = number
    return gains, costs


def _systems(ids: Iterable[int]) -> dict[int, System]:
    rows = System.objects.filter(pk__in=list(ids)).select_related("model", "method").order_by("slug")
    return {system.pk: system for system in rows}


def _stored_front(
    found: Found, view: BoardView, metric: MetricInfo, hardware_id: int, length: int
) -> dict[int, tuple[bool, float]]:
    rows = FrontEntry.objects.filter(
        suite=found.suite,
        task=find_task(found.info, view.task).name,
        metric=metric.name,
        cost_metric=view.cost,
        context_length=length,
        hardware=hardware_id,
    )
    return {pk: (on, p) for pk, on, p in rows.values_list("system_id", "on_front", "probability")}


# --- Choices ---------------------------------------------------------------------------------------------------------


def _choose_hardware(
    view: BoardView, places: Mapping[tuple[int, int], tuple[int, str, str]]
) -> tuple[BoardView, int, str, str]:
    totals: Counter[tuple[str, int, str]] = Counter()
    for (pk, _), (count, slug, title) in places.items():
        totals[slug, pk, title] += count
    if not totals:
        return view, 0, "", ""
    default = min(totals, key=lambda key: (-totals[key], key))
    chosen = next((key for key in totals if key[0] == view.hardware), default)
    if view.hardware and chosen[0] != view.hardware:
        view = view.with_notice(
            f'There are no numbers on hardware "{view.hardware[:40]}"; showing {chosen[2]}.', hardware=""
        )
    return view, chosen[1], chosen[0], chosen[2]


def _choose_length(view: BoardView, counts: Mapping[int, int]) -> tuple[BoardView, int]:
    if not counts:
        return view, view.length
    default = max(counts, key=lambda n: (counts[n], n))
    if view.length in counts:
        return view, view.length
    if view.length:
        measured = ", ".join(length_label(n) for n in sorted(counts))
        view = view.with_notice(
            f"Nothing was measured at {length_label(view.length)} tokens here; showing {length_label(default)}. "
            f"There is {measured}.",
            length=0,
        )
    return view, default


def _sort_link(view: BoardView, column: str) -> tuple[str, str]:
    rising = column == "cost" and not view.cost_metric.higher_is_better
    return view.url(sort=column), ("ascending" if rising else "descending") if view.sort == column else ""


def _step(view: BoardView, lengths: Sequence[int]) -> Choice | None:
    return Choice(str(lengths[0]), length_label(lengths[0]), url=view.url(length=lengths[0])) if lengths else None


def _controls(
    found: Found,
    view: BoardView,
    task: TaskInfo,
    metric: MetricInfo,
    places: Mapping[tuple[int, int], tuple[int, str, str]],
    hardware_id: int,
    families: Counter[str],
) -> dict[str, tuple[Choice, ...]]:
    hardware: dict[str, Choice] = {}
    for (pk, _), (count, slug, title) in sorted(places.items(), key=lambda item: item[1][2]):
        best = max(count, hardware[slug].count or 0) if slug in hardware else count
        hardware[slug] = Choice(slug, title, pk == hardware_id, best)
    return {
        "tasks": tuple(Choice(t.name, t.title, t == task) for t in found.info.tasks),
        "metrics": tuple(Choice(m, METRICS[m].title, m == metric.name) for m in rankable_metrics(task)),
        "costs": tuple(Choice(m, METRICS[m].title, m == view.cost) for m in COST_METRICS),
        "hardware": tuple(hardware.values()),
        "families": tuple(
            Choice(name, name, name == view.family, count) for name, count in sorted(families.items()) if name
        ),
        "trusts": tuple(
            Choice(value, label if value == Trust.REPRODUCED else f"{label} and above", value == view.trust)
            for value, label in reversed(Trust.choices)
        ),
    }


def _place_on_front(
    ranked: Sequence[Row],
    everyone: Sequence[Row],
    found: Found,
    view: BoardView,
    metric: MetricInfo,
    hardware_id: int,
    length: int,
) -> tuple[list[Row], list[FrontPoint]]:
    """The stored front when every System is shown; a front among the shown ones when a filter leaves some out."""
    stored = _stored_front(found, view, metric, hardware_id, length)
    both = {row.system_id: (row.system_id, row.gain, row.cost) for row in ranked if row.gain and row.cost}
    all_of_them = {row.system_id for row in everyone if row.gain and row.cost}
    is_stored = set(both) == all_of_them <= set(stored)
    places: Mapping[Any, tuple[bool, float]] = stored if is_stored else front_of(both.values(), view.cost_metric)
    rows = [
        replace(row, on_front=places[row.system_id][0], probability=places[row.system_id][1])
        if row.system_id in both
        else row
        for row in ranked
    ]
    points = [
        FrontPoint(row.system_id, row.short, row.url, row.gain, row.cost, row.on_front, row.probability or 0.0)
        for row in rows
        if row.gain and row.cost
    ]
    return rows, points


# --- The home page ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LatestResult:
    system: str
    model_url: str
    what: str
    quantity: Quantity
    run_url: str
    when: str


def latest_results(*, most: int = 8) -> list[LatestResult]:
    """The newest headline numbers. One statement."""
    cells = (
        Cell.objects.filter(Q(metric="accuracy") | Q(metric="ttft_ms"))
        .select_related("system__model", "system__method", "suite")
        .order_by("-updated_at", "-pk")[:most]
    )
    return [
        LatestResult(
            system=cell.system.label,
            model_url=reverse("model", args=[cell.system.model.slug]),
            what=f"{METRICS[cell.metric].title}, {cell.suite.label} at {length_label(cell.context_length)}",
            quantity=quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit),
            run_url=reverse("run", args=[cell.last_run_id]),
            when=f"{cell.updated_at:%Y-%m-%d %H:%M}",
        )
        for cell in cells
    ]
