"""Reads behind the boards. A board costs six SQL statements, however many Systems it shows:

suites and versions, where there are numbers, the numbers of both axes, the stored front, Runs that gave none, and the
numbers at all lengths of the Systems on this page. The Systems themselves are held in the process (`systems`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from django.db.models import OuterRef, Q, Subquery
from django.urls import reverse

from longboard.boards import figures, plotly
from longboard.boards.aggregates import tasks_at
from longboard.boards.board_rows import MatrixRow, Row, matrix_of, model_url, rows_of
from longboard.boards.board_view import ROWS_PER_PAGE, SORTS, BoardView, find_task, rankable_metrics
from longboard.boards.figures import FrontPoint
from longboard.boards.metrics import COSTS, METRICS, board_info, default_metric, stored_cost
from longboard.boards.models import Cell, Column
from longboard.boards.prices import Price, priced
from longboard.boards.reasons import Partial, Reasons, StoppedRuns, stopped_runs
from longboard.boards.reported import source_for
from longboard.boards.selection import Selection, checked, part, select
from longboard.boards.sources import Key, Place
from longboard.boards.systems import SIZES, Catalogue, catalogue, short_names, version_of, version_subqueries
from longboard.boards.takeaway import takeaway
from longboard.fleet.models import Hardware
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import Suite
from longboard.registry.suites import suite_info
from longboard.reports.models import Report
from longboard.results.models import Trust
from longboard.submissions.models import Run
from longboard_tasks.catalogue import MetricInfo, SuiteInfo, TaskInfo

DRAWN = 60  # points of a chart with mark, link and whiskers; the other contenders are dots
ALL_LENGTHS_UP_TO = 1_000  # Systems: up to here the reasons at every length are read at once

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
    systems_version: str
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
        info=board_info(suite_info(wanted)),
        efficiency_id=efficiency.pk if efficiency else 0,
        suites=tuple(
            Choice(s.name, s.title, s == wanted, url=reverse("board", args=[s.name]))
            for s in rows
            if s.kind == "accuracy" and s.is_current
        ),
        systems_version=version_of(wanted),
        version="/".join(f"{s.last_column}/{s.last_queued}/{s.last_ended}" for s in (wanted, efficiency or wanted))
        + f"/{wanted.last_price}/{wanted.last_report}/{wanted.last_withdrawn}/{version_of(wanted)}",
    )


def first_board() -> Found | None:
    """The board that the home page shows."""
    first = Suite.objects.filter(kind="accuracy", is_current=True).order_by("pk").values_list("name", flat=True).first()
    return find_board(first) if first else None


def _suites() -> Any:
    """With what tells whether anything of a board may have changed: its newest Column, the newest Run and the last to end."""
    runs = Run.objects.filter(suite=OuterRef("pk"))
    return Suite.objects.annotate(
        last_column=Subquery(
            Column.objects.filter(suite=OuterRef("pk")).order_by("-updated_at").values("updated_at")[:1]
        ),
        last_queued=Subquery(runs.order_by("-queued_at").values("queued_at")[:1]),
        last_ended=Subquery(runs.filter(finished_at__isnull=False).order_by("-finished_at").values("finished_at")[:1]),
        last_report=Subquery(Report.objects.order_by("-created_at").values("created_at")[:1]),
        last_withdrawn=Subquery(
            Report.objects.filter(withdrawn_at__isnull=False).order_by("-withdrawn_at").values("withdrawn_at")[:1]
        ),
        last_price=Subquery(Hardware.objects.order_by("-updated_at").values("updated_at")[:1]),
        **version_subqueries(),
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
    total: int  # Systems shown, on all pages
    every_row: Callable[[], Iterator[Row]]  # for exports
    rows: tuple[Row, ...]  # this page's
    matrix: tuple[MatrixRow, ...]
    first_rank: int
    previous_page: str
    next_page: str
    sorts: Mapping[str, tuple[str, str]]  # column -> (url, aria-sort)
    updated: str
    chance_text: str
    price: Price | None  # of an hour of the hardware, when the cost is money
    permalink: str  # suite version, length and hardware pinned: it shows the same board when defaults move on
    exports: Mapping[str, str]  # format -> address
    figure_url: str
    plotly_url: str
    lengths_url: str
    cite_url: str
    is_past: bool
    is_whole: bool  # the accuracy is a mean over the suite's tasks


def board(found: Found, view: BoardView) -> Board:
    """Everything that the page of `view` shows. Five statements after `find_board`."""
    known = catalogue(found.systems_version)
    source = source_for(view.trust, view.moment)
    task = find_task(found.info, view.task)
    metric = METRICS[view.metric or default_metric(found.info, task)]
    key = Key(found.suite.pk, task.name, metric.name)
    suite_ids = (found.suite.pk, found.efficiency_id)

    places = source.places(key)
    view, here = choose_hardware(view, places)
    counts = {p.length: p.count for p in places if here and p.hardware_id == here.hardware_id}
    hardware_id = here.hardware_id if here else 0
    stopped: StoppedRuns = {}
    large = max(counts.values(), default=0) > ALL_LENGTHS_UP_TO
    if not large:  # lengths at which every Run failed are offered too
        stopped = stopped_runs(hardware_id, suite_ids, 0, None)
        counts = {at: 0 for _, suite, at in stopped if suite == found.suite.pk} | counts
    view = checked(view, known)
    view, length = _choose_length(view, counts)

    rate = stored_cost(view.cost)
    price, is_money = here.price if here else None, rate != view.cost
    held = source.held(key, cost=rate, efficiency_id=found.efficiency_id, hardware_id=hardware_id, length=length)
    held = replace(held, costs=priced(view.cost, held.costs, price))
    stored = source.front(key, cost=rate, hardware_id=hardware_id, length=length) if price or not is_money else None
    partial = source.partial(key, hardware_id=hardware_id) if key.is_whole else Partial()
    shown = None
    if large:
        shown = select(view, held, known, np.zeros(0, np.int64), stored)
        page = part(shown, _rows_of_page(view.page))
        stopped = stopped_runs(hardware_id, suite_ids, length, page.systems)
    without = {system for system, suite, at in stopped if suite == found.suite.pk and (at == length or not large)}
    extra = np.union1d(np.array(sorted(without), np.int64), partial.systems(length if large else None))
    unseen = extra[~(np.isin(extra, held.gains.systems) | np.isin(extra, held.elsewhere))]
    if shown is None or len(unseen):
        shown = select(view, held, known, unseen, stored)

    pages = max(1, -(-len(shown) // ROWS_PER_PAGE))
    if view.page > pages:
        view = view.with_notice(f"There are {pages} pages; showing the last.", page=pages)
    page = part(shown, _rows_of_page(view.page))
    numbers = source.numbers(key, hardware_id=hardware_id, systems=[int(pk) for pk in page.systems])
    drawn = part(shown, _drawn(shown))  # type: ignore[arg-type]  # rows with both numbers
    shorts = short_names([known[pk] for pk in sorted({*map(int, page.systems), *map(int, drawn.systems)})])
    reasons = Reasons(
        *suite_ids,
        stopped,
        partial=partial,
        complete={n: len(tasks_at(found.info, n)) for n in counts} if key.is_whole else {},
        unpriced=is_money and price is None,
        unmeasured="not measured" if METRICS[rate].unit == "J" else "not run",
    )
    words: dict[str, Any] = {
        "metric": metric,
        "cost": view.cost_metric,
        "length": length,
        "reasons": reasons,
        "chance": task.chance if metric.unit == "share" else 0.0,
    }
    rows = tuple(rows_of(page, known, shorts, numbers=numbers, **words))
    points = tuple(_point(row) for row in rows_of(drawn, known, shorts, numbers={}, **words))
    figure: dict[str, Any] = {"gain": metric, "cost": view.cost_metric, "rest": _rest(shown, drawn)}
    hardware = here.title if here else ""
    ordered = sorted(counts)
    pinned: dict[str, Any] = {"length": length, "hardware": here.slug if here else ""}
    return Board(
        view=view,
        suite=found.suite,
        task=task,
        metric=metric,
        cost=view.cost_metric,
        hardware=hardware,
        length=length,
        length_text=length_label(length) if length else "",
        title=takeaway(
            points, tied=_tied(shown, points), metric=metric, cost=view.cost_metric, length=length, hardware=hardware
        ),
        summary=_summary(shown),
        lengths=tuple(Choice(str(n), length_label(n), n == length, counts[n], view.url(length=n)) for n in ordered),
        shorter=_step(view, [n for n in ordered if n < length][-1:]),
        longer=_step(view, [n for n in ordered if n > length][:1]),
        controls=controls(found, view, task, metric, places, hardware_id, shown.facets, known),
        wide=figures.draw_front(points, **figure),
        narrow=figures.draw_front(points, **figure, size=figures.NARROW),
        points=points,
        total=len(shown),
        every_row=lambda: _every_row(shown, known, words),
        rows=rows,
        matrix=matrix_of(rows, known, numbers, reasons, ordered, length),
        first_rank=(view.page - 1) * ROWS_PER_PAGE + 1,
        previous_page=view.url(page=view.page - 1) if view.page > 1 else "",
        next_page=view.url(page=view.page + 1) if view.page < pages else "",
        sorts={name: _sort_link(view, name) for name in SORTS},
        permalink=replace(view, suite=found.suite.label).url(**pinned, page=view.page),
        exports={kind: view.url("board-table", args=(kind,), **pinned) for kind in ("csv", "json", "parquet")},
        figure_url=view.url("board-figure", **pinned),
        plotly_url=reverse("plotly", args=[plotly.VERSION]),
        cite_url=view.url("board-cite", **pinned),
        lengths_url=view.url("board-lengths", hardware=pinned["hardware"], length=0),
        updated=f"{held.changed_at:%Y-%m-%d %H:%M} UTC" if held.changed_at else "",
        is_past=view.moment is not None,
        is_whole=key.is_whole,
        chance_text=f"{task.chance:.2g}",
        price=price if is_money else None,
    )


def _rows_of_page(page: int) -> slice:
    return slice((page - 1) * ROWS_PER_PAGE, page * ROWS_PER_PAGE)


def _every_row(shown: Selection, known: Catalogue, words: Mapping[str, Any]) -> Iterator[Row]:
    for start in range(0, len(shown), 500):
        yield from rows_of(part(shown, slice(start, start + 500)), known, {}, numbers={}, **words)


def _drawn(shown: Selection) -> np.ndarray:
    """Which points get a mark: the front, then the likeliest and the most accurate; all of them in a small board."""
    both = np.flatnonzero(shown.has_both)
    order = np.lexsort((-shown.gains["value"][both], -shown.probability[both], ~shown.on_front[both]))
    most = len(both) if len(both) <= figures.WIDE.crowd else DRAWN
    chosen = both[order[:most]]
    ends = both[np.argsort(shown.costs["value"][both], kind="stable")[[0, -1]]] if len(both) else both
    tops = both[np.argsort(-shown.gains["value"][both], kind="stable")[[0, -1]]] if len(both) else both
    return np.unique(np.concatenate([chosen, ends, tops]))  # with the ends of both axes, whose domain they set


def _rest(shown: Selection, drawn: Selection) -> tuple[np.ndarray, np.ndarray]:
    """(gains, costs) of the Systems with both numbers that get no mark of their own."""
    rest = shown.has_both & ~np.isin(shown.systems, drawn.systems)
    return shown.gains["value"][rest], shown.costs["value"][rest]


def _tied(shown: Selection, points: Sequence[FrontPoint]) -> int:
    """How many others may equal the most accurate: its rank range reaches to them."""
    if not points:
        return 0
    best = max(points, key=lambda p: p.gain.number)
    both = shown.has_both
    return int((both & (shown.gains["high"] >= best.gain.low)).sum()) - 1


def _point(row: Row) -> FrontPoint:
    if row.gain is None or row.cost is None:
        raise ValueError(f"System {row.system_id} lacks a number: it is no point of a chart.")
    label = f"{row.short}, {Trust.SELF_REPORTED}" if row.is_claimed else row.short
    return FrontPoint(row.system_id, label, row.url, row.gain, row.cost, row.on_front, row.probability or 0.0)


def _summary(shown: Selection) -> str:
    on, both = int(shown.on_front.sum()), int(shown.has_both.sum())
    hidden = shown.everyone - len(shown)
    words = f"{_many(len(shown), 'system')}, {on} on the front"
    if without := len(shown) - both:
        words += f", {without} without both numbers"
    return words + (f"; {hidden} hidden by the filters, and the front is that of the ones shown" if hidden else "")


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


# --- Choices ---------------------------------------------------------------------------------------------------------


def choose_hardware(view: BoardView, places: Sequence[Place]) -> tuple[BoardView, Place | None]:
    totals: Counter[tuple[str, str]] = Counter()
    for place in places:
        totals[place.slug, place.title] += place.count
    if not totals:
        return view, None
    default = min(totals, key=lambda key: (-totals[key], key))
    chosen = next((key for key in totals if key[0] == view.hardware), default)
    if view.hardware and chosen[0] != view.hardware:
        view = view.with_notice(
            f'There are no numbers on hardware "{view.hardware[:40]}"; showing {chosen[1]}.', hardware=""
        )
    return view, next(place for place in places if place.slug == chosen[0])


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


def controls(
    found: Found,
    view: BoardView,
    task: TaskInfo,
    metric: MetricInfo,
    places: Sequence[Place],
    hardware_id: int,
    facets: Mapping[str, Mapping[str, int]],
    known: Catalogue,
) -> dict[str, tuple[Choice, ...]]:
    """The options of every control, with the number of Systems that each leads to."""
    most: dict[str, Place] = {}
    for place in places:
        if place.slug not in most or place.count > most[place.slug].count:
            most[place.slug] = place
    sizes = {name: title for name, title, *_ in SIZES}

    def facet(control: str, chosen: str, titles: Mapping[str, str]) -> tuple[Choice, ...]:
        offered = facets.get(control, {})
        return tuple(Choice(name, titles.get(name, name), name == chosen, n) for name, n in offered.items() if name)

    return {
        "tasks": tuple(Choice(t.name, t.title, t == task) for t in found.info.tasks),
        "metrics": tuple(Choice(m, METRICS[m].title, m == metric.name) for m in rankable_metrics(task)),
        "costs": tuple(Choice(m, METRICS[m].title, m == view.cost) for m in COSTS),
        "hardware": tuple(Choice(p.slug, p.title, p.hardware_id == hardware_id, p.count) for p in most.values()),
        "families": facet("family", view.family, {}),
        "methods": facet("method", view.method, known.method_titles),
        "sizes": facet("size", view.size, sizes),
        "trusts": tuple(
            Choice(value, label if value == Trust.REPRODUCED else f"{label} and above", value == view.trust)
            for value, label in reversed(Trust.choices)
        ),
    }


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
            model_url=model_url(cell.system.model.slug),
            what=f"{METRICS[cell.metric].title}, {cell.suite.label} at {length_label(cell.context_length)}",
            quantity=quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit),
            run_url=reverse("run", args=[cell.last_run_id]),
            when=f"{cell.updated_at:%Y-%m-%d %H:%M}",
        )
        for cell in cells
    ]
