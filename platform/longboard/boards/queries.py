"""Reads behind the boards. A board costs six SQL statements, however many Systems it shows, and one more without a length:

suites and versions, where there are numbers, the numbers of both axes, the stored front, Runs that gave none, and the
numbers at all lengths of the Systems on this page. The Systems themselves are held in the process (`systems`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from django.db.models import Q
from django.urls import reverse

from longboard.boards import figures, plotly
from longboard.boards.aggregates import tasks_at
from longboard.boards.board_rows import MatrixRow, Row, matrix_of, points_of, rows_of
from longboard.boards.board_view import ROWS_PER_PAGE, SORTS, BoardView, find_task
from longboard.boards.choices import Choice, choose_hardware, choose_length, controls, sort_link, step, tells_apart
from longboard.boards.emptiness import Emptiness, explain
from longboard.boards.figures import FrontPoint
from longboard.boards.finding import Found
from longboard.boards.metrics import METRICS, default_metric, stored_cost
from longboard.boards.pictures import draw_wide_and_narrow
from longboard.boards.prices import Price, priced
from longboard.boards.reasons import Partial, Reasons, StoppedRuns, runs_of_page, stopped_runs
from longboard.boards.reported import source_for
from longboard.boards.selection import Selection, checked, part, select
from longboard.boards.sources import Held, key_of
from longboard.boards.systems import Catalogue, catalogue, short_names
from longboard.boards.takeaway import takeaway
from longboard.quantities import length_label, many_text
from longboard.registry.models import Suite
from longboard_tasks.catalogue.metrics import MetricInfo
from longboard_tasks.catalogue.suites import TaskInfo

DRAWN = 60  # points of a chart with mark, link and whiskers; the other contenders are dots
ALL_LENGTHS_UP_TO = 1_000  # Systems: up to here the reasons at every length are read at once


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
    emptiness: Emptiness | None  # of a board without a number: why, and how to fill it
    today_url: str  # of a board as of an earlier moment
    trains: bool  # each number is a training's
    is_whole: bool  # the accuracy is a mean over the suite's tasks


def board(found: Found, view: BoardView) -> Board:
    """Everything that the page of `view` shows. Five statements after `find_board`."""
    known = catalogue(found.systems_version)
    source = source_for(view.trust, view.moment)
    task = find_task(found.info, view.task)
    metric = METRICS[view.metric or default_metric(found.info, task)]
    key = key_of(found.suite.pk, found.info, task.name, metric.name)
    cost_place = found.cost_place(task.name)
    suite_ids = (found.suite.pk, cost_place.suite_id)
    trained = cost_place.task if found.info.trains else ""  # Runs are of one task each, and each tells of its own

    places = source.places(key)
    view, here = choose_hardware(view, places)
    counts = {p.length: p.count for p in places if here and p.hardware_id == here.hardware_id}
    hardware_id = here.hardware_id if here else 0
    stopped: StoppedRuns = {}
    large = max(counts.values(), default=0) > ALL_LENGTHS_UP_TO
    if not large:  # lengths at which every Run failed are offered too
        stopped = stopped_runs(hardware_id, suite_ids, task=trained)
        counts = {at: 0 for _, suite, at in stopped if suite == found.suite.pk} | counts
    view = checked(view, known)
    rate = stored_cost(view.cost)
    both: Mapping[int, int] = {}
    if view.length not in counts:
        both = source.both(key, cost=rate, cost_place=cost_place, hardware_id=hardware_id)

    @cache
    def held_at(length: int) -> Held:
        return source.held(key, cost=rate, cost_place=cost_place, hardware_id=hardware_id, length=length)

    view, length = choose_length(view, counts, both, lambda length: tells_apart(held_at(length).gains.numbers))

    price, is_money = here.price if here else None, rate != view.cost
    held = held_at(length)
    held = replace(held, costs=priced(view.cost, held.costs, price))
    stored = source.front(key, cost=rate, hardware_id=hardware_id, length=length) if price or not is_money else None
    partial = source.partial(key, hardware_id=hardware_id) if key.is_whole else Partial()
    shown = None
    if large:
        shown = select(view, held, known, np.zeros(0, np.int64), stored)
        page = part(shown, _rows_of_page(view.page))
        everyone = Q(context_length=length) | Q(system__in=page.systems.tolist())
        only = everyone if key.is_whole else runs_of_page(*suite_ids, length, page.systems)
        stopped = stopped_runs(hardware_id, suite_ids, task=trained, only=only)
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
    marked = _marked(shown)
    drawn = part(shown, marked)
    shorts = short_names([known[pk] for pk in sorted({*map(int, page.systems), *map(int, drawn.systems)})])
    reasons = Reasons(
        *suite_ids,
        stopped,
        partial=partial,
        complete={n: len(tasks_at(found.info, n)) for n in counts} if key.is_whole else {},
        unpriced=is_money and price is None,
        unmeasured="not measured" if METRICS[rate].unit == "J" or found.info.trains else "not run",
    )
    words: dict[str, Any] = {
        "metric": metric,
        "cost": view.cost_metric,
        "length": length,
        "reasons": reasons,
        "chance": task.chance if metric.unit == "share" else 0.0,
    }
    rows = tuple(rows_of(page, known, shorts, numbers=numbers, **words))

    def every_row() -> Iterator[Row]:
        if not large:
            return _every_row(shown, known, words)
        all_here = stopped_runs(hardware_id, suite_ids, task=trained, only=Q(context_length=length))
        return _every_row(shown, known, words | {"reasons": replace(reasons, stopped=all_here)})

    points = tuple(points_of(drawn, known, shorts, metric=metric, cost=view.cost_metric))
    # By id: to sort the table anew must not draw the figure anew.
    drawn_points = sorted(points, key=lambda p: p.system_id)
    wide, narrow = draw_wide_and_narrow(drawn_points, gain=metric, cost=view.cost_metric, rest=_rest(shown, marked))
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
            points,
            tied=_tied(shown, points),
            metric=metric,
            cost=view.cost_metric,
            length=length,
            hardware=hardware,
            beaten=bool(points) and float(np.nanmax(shown.gains["value"])) > max(p.gain.number for p in points),
        ),
        summary=_summary(shown),
        lengths=tuple(Choice(str(n), length_label(n), n == length, counts[n], view.url(length=n)) for n in ordered),
        shorter=step(view, [n for n in ordered if n < length][-1:]),
        longer=step(view, [n for n in ordered if n > length][:1]),
        controls=controls(found.info, view, task, metric, places, hardware_id, shown.facets, known),
        wide=wide,
        narrow=narrow,
        points=points,
        total=len(shown),
        every_row=every_row,
        rows=rows,
        matrix=matrix_of(rows, known, numbers, reasons, ordered, length),
        first_rank=(view.page - 1) * ROWS_PER_PAGE + 1,
        previous_page=view.url(page=view.page - 1) if view.page > 1 else "",
        next_page=view.url(page=view.page + 1) if view.page < pages else "",
        sorts={name: sort_link(view, name) for name in SORTS},
        permalink=replace(view, suite=found.suite.label).url(**pinned, page=view.page),
        exports={kind: view.url("board-table", args=(kind,), **pinned) for kind in ("csv", "json", "parquet")},
        figure_url=view.url("board-figure", **pinned),
        plotly_url=reverse("plotly", args=[plotly.VERSION]),
        cite_url=view.url("board-cite", **pinned),
        lengths_url=view.url("board-lengths", hardware=pinned["hardware"], length=0),
        updated=f"{held.changed_at:%Y-%m-%d %H:%M} UTC" if held.changed_at else "",
        emptiness=None if any(counts.values()) else explain(view, found.suite, found.info, task, metric),
        today_url=view.url(as_of="") if view.moment else "",
        trains=found.info.trains,
        is_whole=key.is_whole,
        chance_text=f"{task.chance:.2g}",
        price=price if is_money else None,
    )


def _rows_of_page(page: int) -> slice:
    return slice((page - 1) * ROWS_PER_PAGE, page * ROWS_PER_PAGE)


def _every_row(shown: Selection, known: Catalogue, words: Mapping[str, Any]) -> Iterator[Row]:
    for start in range(0, len(shown), 500):
        yield from rows_of(part(shown, slice(start, start + 500)), known, {}, numbers={}, **words)


def _marked(shown: Selection) -> np.ndarray:
    """Rows with a mark in the chart, rising: the front, then the likeliest and most accurate; all of them in a small board."""
    both = np.flatnonzero(shown.has_both)
    if len(both) <= figures.WIDE.crowd:
        return both
    likely = both[(shown.on_front | (shown.probability > 0))[both]]
    pool = likely if len(likely) >= DRAWN else both  # the others come after them all
    # Equals by id, so that the order of the table does not choose among them.
    keys = shown.systems, -shown.gains["value"], -shown.probability, ~shown.on_front
    order = np.lexsort([key[pool] for key in keys])
    # The domains of both axes.
    ends = [
        both[_first(sign * axis["value"][both], shown.systems[both])]
        for axis in (shown.gains, shown.costs)
        for sign in (1, -1)
    ]
    return np.unique(np.concatenate([pool[order[:DRAWN]], ends]))


def _first(values: np.ndarray, systems: np.ndarray) -> int:
    """Where the least value is; of several the one with the smallest id."""
    least = np.flatnonzero(values == values.min())
    return int(least[systems[least].argmin()])


def _rest(shown: Selection, marked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(gains, costs) of the Systems with both numbers that get no mark of their own, by rising id."""
    rest = shown.has_both
    rest[marked] = False
    rows = np.flatnonzero(rest)
    place = np.full(int(shown.systems.max(initial=0)) + 1, -1, np.int64)  # ids are dense: a tenth of a sort
    place[shown.systems[rows]] = rows
    rows = place[place >= 0]
    return shown.gains["value"][rows], shown.costs["value"][rows]


def _tied(shown: Selection, points: Sequence[FrontPoint]) -> int:
    """How many others may equal the most accurate: its rank range reaches to them, whether they have a cost or not."""
    if not points:
        return 0
    best = max(points, key=lambda p: p.gain.number)
    return int((shown.has_gain & (shown.gains["high"] >= best.gain.low)).sum()) - 1


def _summary(shown: Selection) -> str:
    on, both = int(shown.on_front.sum()), int(shown.has_both.sum())
    hidden = shown.everyone - len(shown)
    words = f"{many_text(len(shown), 'system')}, {on} on the front"
    if without := len(shown) - both:
        words += f", {without} without both numbers"
    return words + (f"; {hidden} hidden by the filters, and the front is that of the ones shown" if hidden else "")
