"""The length matrix of a suite: every System at every context length, its effective length and the area under its curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from django.db.models import Q
from django.utils.safestring import SafeString, mark_safe

from longboard.boards import figures
from longboard.boards.aggregates import tasks_at
from longboard.boards.board_rows import heat_of, model_url, number_cell, rank_text
from longboard.boards.board_view import LENGTH_SORTS, ROWS_PER_PAGE, BoardView, find_task
from longboard.boards.choices import Choice, choose_hardware, controls
from longboard.boards.columns import NUMBER, TRUSTS, Numbers
from longboard.boards.exports import Table
from longboard.boards.figures import LengthSeries
from longboard.boards.finding import Found
from longboard.boards.lengths import effective_length, effective_range, length_area
from longboard.boards.marks import Mark, mark_of
from longboard.boards.metrics import METRICS, default_metric
from longboard.boards.paired import interval_ranks
from longboard.boards.reasons import Partial, Reasons, missing_html, stopped_runs
from longboard.boards.reported import source_for
from longboard.boards.selection import checked, facets_of, masks_of
from longboard.boards.sources import Number, key_of
from longboard.boards.systems import Catalogue, catalogue, short_names
from longboard.quantities import Quantity, length_label, many_text, quantity
from longboard_tasks.catalogue.metrics import MetricInfo

CURVES = 8  # one for each colour


@dataclass(frozen=True, slots=True)
class LengthRow:
    label: str
    short: str
    url: str
    system_id: int
    mark: Mark
    effective: str  # "4K"; with its range where the intervals leave one
    area: Quantity | None
    partial: str  # "6 of 8 lengths"; empty when complete
    rank: str
    cells: SafeString


@dataclass(frozen=True, slots=True)
class LengthPage:
    view: BoardView
    found: Found
    metric: MetricInfo
    hardware: str
    lengths: tuple[str, ...]
    title: str
    summary: str
    rows: tuple[LengthRow, ...]
    controls: Mapping[str, tuple[Choice, ...]]
    sorts: Mapping[str, tuple[str, str]]  # column -> (url, aria-sort)
    wide: dict[str, Any]
    narrow: dict[str, Any]
    previous_page: str
    next_page: str
    permalink: str
    board_url: str
    exports: Mapping[str, str]
    table: Table


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Arrays over the shown Systems, in the order of the table, and lengths."""

    systems: np.ndarray  # [N]
    lengths: np.ndarray  # [L]
    numbers: Numbers  # [N, L]
    area: np.ndarray  # [N, 3]
    complete: np.ndarray
    effective: np.ndarray  # [N, 3]: by the value, surely (lower ends), possibly (upper ends)
    facets: Mapping[str, Mapping[str, int]]


def length_page(found: Found, view: BoardView) -> LengthPage:
    """Four statements after `find_board`."""
    known = catalogue(found.systems_version)
    source = source_for(view.trust, view.moment)
    task = find_task(found.info, view.task)
    metric = METRICS[view.metric or default_metric(found.info, task)]
    key = key_of(found.suite.pk, found.info, task.name, metric.name)
    places = source.places(key)
    view, here = choose_hardware(checked(view, known), places)
    hardware_id = here.hardware_id if here else 0
    matrix = _matrix(view, known, source.matrix(key, hardware_id=hardware_id))

    pages = max(1, -(-len(matrix.systems) // ROWS_PER_PAGE))
    if view.page > pages:
        view = view.with_notice(f"There are {pages} pages; showing the last.", page=pages)
    start = (view.page - 1) * ROWS_PER_PAGE
    page = [int(pk) for pk in matrix.systems[start : start + ROWS_PER_PAGE]]
    numbers = source.numbers(key, hardware_id=hardware_id, systems=page)
    reasons = Reasons(
        found.suite.pk,
        0,
        stopped_runs(
            hardware_id, (found.suite.pk,), task=task.name if found.info.trains else "", only=Q(system__in=page)
        ),
        partial=source.partial(key, hardware_id=hardware_id) if key.is_whole else Partial(),
        complete={n: len(tasks_at(found.info, n)) for n in map(int, matrix.lengths)} if key.is_whole else {},
    )
    shorts = short_names([known[pk] for pk in {*page, *map(int, matrix.systems[:CURVES])}])
    ranks = _ranks(matrix, start, len(page))
    rows = tuple(
        _row(matrix, start + i, known, shorts, numbers, reasons, ranks.get(start + i)) for i in range(len(page))
    )
    series = _series(matrix, shorts, metric)
    pinned: dict[str, Any] = {"hardware": here.slug if here else ""}
    return LengthPage(
        view=view,
        found=found,
        metric=metric,
        hardware=here.title if here else "",
        lengths=tuple(length_label(int(n)) for n in matrix.lengths),
        title=_title(matrix, shorts, view, metric, here.title if here else ""),
        summary=_summary(matrix),
        rows=rows,
        controls=controls(found.info, view, task, metric, places, hardware_id, matrix.facets, known),
        sorts={
            name: (view.url("board-lengths", order=name), "descending" if view.order == name else "")
            for name in LENGTH_SORTS
        },
        wide=figures.draw_lengths(series, gain=metric),
        narrow=figures.draw_lengths(series, gain=metric, size=figures.NARROW),
        previous_page=view.url("board-lengths", page=view.page - 1) if view.page > 1 else "",
        next_page=view.url("board-lengths", page=view.page + 1) if view.page < pages else "",
        permalink=replace(view, suite=found.suite.label).url("board-lengths", **pinned, page=view.page),
        board_url=view.url("board", **pinned),
        exports={kind: view.url("lengths-table", args=(kind,), **pinned) for kind in ("csv", "json", "parquet")},
        table=_table(matrix, known, found, task.name, metric, here.title if here else "", view),
    )  # fmt: skip


def _matrix(view: BoardView, known: Catalogue, slices: Mapping[int, Any]) -> _Matrix:
    lengths = np.array(sorted(slices), np.int64)
    systems = np.unique(np.concatenate([s.systems for s in slices.values()])) if slices else np.zeros(0, np.int64)
    systems = systems[known.known(systems)]
    numbers = np.stack([slices[int(n)].at(systems) for n in lengths], axis=1) if slices else np.zeros((0, 0), NUMBER)
    least = TRUSTS.index(view.trust)
    for field in ("value", "low", "high"):
        numbers[field][numbers["trust"] < least] = np.nan
    at = known.places(systems)
    present = ~np.isnan(numbers["value"])
    masks = masks_of(view, known, at, trusted=present.any(axis=1))
    shown = np.logical_and.reduce(list(masks.values()))
    facets = facets_of(known, at, masks)
    systems, numbers, at = systems[shown], numbers[shown], at[shown]
    area, low, high, complete = length_area(numbers["value"], numbers["low"], numbers["high"], lengths)
    value, threshold = numbers["value"], float(view.threshold)
    reached = effective_length(value, lengths, threshold)
    effective = np.stack(
        [reached, *effective_range(value, numbers["low"], numbers["high"], lengths, threshold)], axis=1
    )
    label = known.label_order[at]
    if view.order == "effective":
        order = np.lexsort((label, -np.nan_to_num(area, nan=-1), -effective[:, 1], -effective[:, 0]))
    elif view.order == "name":
        order = np.argsort(label, kind="stable")
    else:
        order = np.lexsort((label, -np.nan_to_num(area, nan=-1), ~complete))
    return _Matrix(
        systems[order], lengths, numbers[order], np.stack([area, low, high], 1)[order], complete[order],
        effective[order], facets,
    )  # fmt: skip


def _ranks(matrix: _Matrix, start: int, count: int) -> dict[int, tuple[int, int]]:
    """Row of the table -> best and worst rank of its area, for the complete ones of a page."""
    ranked = np.flatnonzero(matrix.complete)
    here = slice(*np.searchsorted(ranked, [start, start + count]))
    area, low, high = matrix.area[ranked].T
    best, worst = interval_ranks(area, low, high, here)
    return dict(zip(map(int, ranked[here]), zip(map(int, best), map(int, worst), strict=True), strict=True))


def _row(
    matrix: _Matrix,
    at: int,
    known: Catalogue,
    shorts: Mapping[int, str],
    numbers: Mapping[tuple[int, int], Number],
    reasons: Reasons,
    rank: tuple[int, int] | None,
) -> LengthRow:
    pk = int(matrix.systems[at])
    facts = known[pk]
    cells = []
    for column, length in enumerate(map(int, matrix.lengths)):
        number = numbers.get((pk, length))
        if number is None or np.isnan(matrix.numbers["value"][at, column]):
            cells.append(f'<td class="num">{missing_html(reasons.gain(facts, length))}</td>')
        else:
            cells.append(number_cell(number, heat_of(number.value, number.unit)))
    has = int((~np.isnan(matrix.numbers["value"][at])).sum())
    n = int(matrix.numbers["n"][at][~np.isnan(matrix.numbers["value"][at])].sum())
    value, low, high = (float(x) for x in matrix.area[at])
    return LengthRow(
        label=facts.label,
        short=shorts[pk],
        url=model_url(facts.model_slug),
        system_id=pk,
        mark=mark_of(pk),
        effective=_effective_text(*map(int, matrix.effective[at])),
        area=quantity(value, low, high, n=n, unit="share") if value == value else None,
        partial="" if matrix.complete[at] else f"{has} of {len(matrix.lengths)} lengths",
        rank=rank_text(*rank) if rank else "–",
        cells=mark_safe("".join(cells)),  # noqa: S308 (each part is escaped where it is made)
    )


def _effective_text(value: int, surely: int, possibly: int) -> str:
    words = length_label(value) if value else "none"
    if surely == possibly:
        return words
    return f"{words} ({length_label(surely) if surely else 'none'}–{length_label(possibly)})"


def _series(matrix: _Matrix, shorts: Mapping[int, str], metric: MetricInfo) -> list[LengthSeries]:
    found = []
    for at, pk in enumerate(map(int, matrix.systems[:CURVES])):
        points = [
            (int(n), quantity(float(c["value"]), float(c["low"]), float(c["high"]), n=int(c["n"]), unit=metric.unit))
            for n, c in zip(matrix.lengths, matrix.numbers[at], strict=True)
            if c["value"] == c["value"]
        ]
        if points:
            found.append(LengthSeries(pk, shorts[pk], tuple(points)))
    return found


def _title(matrix: _Matrix, shorts: Mapping[int, str], view: BoardView, metric: MetricInfo, hardware: str) -> str:
    name, threshold = metric.title.lower(), f"{float(view.threshold):g}"
    if not len(matrix.systems):
        return "Nothing has been measured here yet"
    longest = int(matrix.effective[:, 0].max())
    holders = np.flatnonzero(matrix.effective[:, 0] == longest)
    where = f" on {hardware}" if hardware else ""
    if not longest:
        return f"No system reaches {threshold} {name} at its shortest length{where}"
    who = shorts.get(int(matrix.systems[holders[0]]), "One system")
    others = f" and {len(holders) - 1:,} other{'s' if len(holders) > 2 else ''}" if len(holders) > 1 else ""
    verb = "hold" if len(holders) > 1 else "holds"
    if longest < matrix.lengths[-1]:
        reach = f"up to {length_label(longest)} tokens, and none longer"
    elif len(matrix.lengths) > 1:
        reach = "at every length measured"
    else:
        reach = f"at {length_label(longest)} tokens, the one length measured"
    return f"{who}{others} {verb} {name} of {threshold} or more {reach}{where}"


def _summary(matrix: _Matrix) -> str:
    count, whole = len(matrix.systems), int(matrix.complete.sum())
    if len(matrix.lengths) < 2:
        return many_text(count, "system")
    return f"{many_text(count, 'system')}, {'all' if whole == count else f'{whole:,}'} of them at every length"


def _table(
    matrix: _Matrix, known: Catalogue, found: Found, task: str, metric: MetricInfo, hardware: str, view: BoardView
) -> Table:
    columns: dict[str, str] = {
        "system": "text", "model": "text", "suite": "text", "task": "text", "metric": "text", "hardware": "text",
        "threshold": "number", "effective_length": "whole", "effective_length_low": "whole", "effective_length_high": "whole",
        "area": "number", "area_ci_low": "number", "area_ci_high": "number", "complete": "whole",
    }  # fmt: skip
    for length in map(int, matrix.lengths):
        columns |= {f"{name}_{length}": "number" for name in ("value", "ci_low", "ci_high")} | {f"n_{length}": "whole"}

    def rows() -> Iterator[Sequence[Any]]:
        for at, pk in enumerate(map(int, matrix.systems)):
            facts = known[pk]
            cells: list[Any] = []
            for cell in matrix.numbers[at]:
                value, low, high = float(cell["value"]), float(cell["low"]), float(cell["high"])
                cells += [value, low, high, int(cell["n"])] if value == value else [None] * 4
            area = [float(x) if x == x else None for x in matrix.area[at]]
            yield (
                facts.label, facts.model_slug, found.suite.label, task, metric.name, hardware, float(view.threshold),
                *map(int, matrix.effective[at]), *area, int(matrix.complete[at]), *cells,
            )  # fmt: skip

    return Table(columns, rows(), {"permalink": replace(view, suite=found.suite.label).url("board-lengths")})
