"""The rows of a board: one System each, ranked, filtered, sorted, with a typed reason where there is no number.

Pure functions from the numbers that `queries` has read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.urls import reverse

from longboard.boards import figures, fronts
from longboard.boards.board_view import BoardView
from longboard.boards.figures import FrontPoint, Mark, mark_of
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import System
from longboard.results.models import Trust
from longboard.submissions.models import Run
from longboard.submissions.queries import FAILURE_WORDS
from longboard_tasks.catalogue import MetricInfo

FEW_POINTS = 60  # up to here a front that is worked out on the spot gets all its draws


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no number, in the reader's words. It never ranks above one."""

    kind: str  # not-run, waiting, exceeds, unfit, failed
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A System at the board's context length on its hardware."""

    system_id: int
    label: str
    short: str  # enough to tell it from the others of this board
    url: str
    model: str
    family: str
    mark: Mark
    gain: Quantity | None
    cost: Quantity | None
    gain_missing: Missing | None
    cost_missing: Missing | None
    trust: str
    run_url: str
    rank: str = ""  # "1", "2–4": a range where intervals overlap
    rank_best: int = 0
    rank_worst: int = 0
    on_front: bool = False
    probability: float | None = None

    @property
    def probability_text(self) -> str:
        return "" if self.probability is None else f"{self.probability:.2f}"

    @property
    def certainty(self) -> str:
        return "" if self.probability is None else figures.certainty(self.probability, self.on_front)


@dataclass(frozen=True, slots=True)
class MatrixCell:
    quantity: Quantity | None
    missing: Missing | None
    url: str
    current: bool
    heat: str  # a CSS class, 0 to 9 tenths


@dataclass(frozen=True, slots=True)
class MatrixRow:
    row: Row
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True, slots=True)
class Number:
    system_id: int
    length: int
    quantity_args: tuple[float, float, float, int, str]
    trust: str
    run_id: UUID
    updated_at: datetime

    def as_quantity(self) -> Quantity:
        value, low, high, n, unit = self.quantity_args
        return quantity(value, low, high, n=n, unit=unit)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A Run that has given no number."""

    run_id: UUID
    state: str
    failure_class: str


# --- Rows ------------------------------------------------------------------------------------------------------------


def short_names(systems: Iterable[System]) -> dict[int, str]:
    """Model and method, and the runtime only where two Systems differ by nothing else."""
    systems = list(systems)
    short = {s.pk: s.label.rsplit(" (", 1)[0] for s in systems}
    twice = {name for name, count in Counter(short.values()).items() if count > 1}
    return {s.pk: s.label if short[s.pk] in twice else short[s.pk] for s in systems}


def row_of(
    system: System,
    short: str,
    gain: Number | None,
    cost: Number | None,
    stopped: Mapping[tuple[int, int, int], Stopped],
    suite_ids: tuple[int, int],
    length: int,
) -> Row:
    def why(suite_id: int) -> Missing:
        return missing(system, stopped.get((system.pk, suite_id, length)), length)

    return Row(
        system_id=system.pk,
        label=system.label,
        short=short,
        url=reverse("model", args=[system.model.slug]),
        model=system.model.slug,
        family=system.model.family,
        mark=mark_of(system.pk),
        gain=gain.as_quantity() if gain else None,
        cost=cost.as_quantity() if cost else None,
        gain_missing=None if gain else why(suite_ids[0]),
        cost_missing=None if cost else why(suite_ids[1]),
        trust=gain.trust if gain else "",
        run_url=run_url(gain.run_id) if gain else "",
    )


@cache
def _run_pattern() -> str:
    return reverse("run", args=[UUID(int=0)])


def run_url(run_id: UUID) -> str:
    """`reverse` takes 25 us, and a matrix has hundreds of cells."""
    return _run_pattern().replace(str(UUID(int=0)), str(run_id))


def missing(system: System, run: Stopped | None, length: int) -> Missing:
    limit = system.model.max_positions
    if limit is not None and length > limit:
        return Missing("exceeds", f"exceeds position limit ({length_label(limit)})")
    if run is None or run.state == Run.State.CANCELLED:
        return Missing("not-run", "not run")
    url = run_url(run.run_id)
    if run.state in (Run.State.QUEUED, *Run.HELD):
        return Missing("waiting", "waiting for its run", url)
    if run.failure_class == "oom":
        return Missing("unfit", "does not fit: out of memory", url)
    if run.state == Run.State.REJECTED:
        return Missing("failed", "failed: result rejected", url)
    return Missing("failed", f"failed: {FAILURE_WORDS.get(run.failure_class, 'unknown reason')}", url)


def filter_rows(view: BoardView, rows: Sequence[Row], families: Mapping[str, int]) -> tuple[BoardView, list[Row]]:
    if view.family and view.family not in families:
        view = view.with_notice(f'There is no family "{view.family[:40]}" here; showing all.', family="")
    order = list(Trust.values)
    needle, least = view.search.casefold(), order.index(view.trust)
    shown = [
        row
        for row in rows
        if (not view.family or row.family == view.family)
        and (not row.trust or order.index(row.trust) >= least)
        and (not needle or needle in f"{row.label} {row.model} {row.family}".casefold())
    ]
    return view, shown


def rank(rows: Sequence[Row]) -> list[Row]:
    """Rank ranges: first the number of Systems that are surely better, last all but those that are surely worse."""
    measured = [row for row in rows if row.gain is not None]
    lows = sorted(row.gain.low for row in measured if row.gain)
    highs = sorted(row.gain.high for row in measured if row.gain)
    ranked = []
    for row in rows:
        if row.gain is None:
            ranked.append(row)
            continue
        best = 1 + len(lows) - bisect_right(lows, row.gain.high)
        worst = len(highs) - bisect_left(highs, row.gain.low)
        text = str(best) if best == worst else f"{best}–{worst}"
        ranked.append(replace(row, rank=text, rank_best=best, rank_worst=worst))
    return ranked


def front_of(
    numbers: Iterable[tuple[int, Quantity, Quantity]], cost_metric: MetricInfo
) -> dict[Hashable, tuple[bool, float]]:
    """System -> (on the front, probability), worked out here and now."""
    sign = -1.0 if cost_metric.higher_is_better else 1.0
    points = []
    for system_id, gain, cost in numbers:
        low, high = sorted((sign * cost.low, sign * cost.high))
        axes = fronts.Axis(gain.number, gain.low, gain.high), fronts.Axis(sign * cost.number, low, high)
        points.append(fronts.Point(system_id, *axes))
    on = fronts.front([(p.key, p.gain.value, p.cost.value) for p in points])
    chance = fronts.membership(points, draws=400 if len(points) <= FEW_POINTS else 100)
    return {key: (key in on, probability) for key, probability in chance.items()}


def sort_rows(rows: Sequence[Row], view: BoardView) -> list[Row]:
    """By the chosen column; rows without its number come last, whatever the column."""
    sign = -1.0 if view.cost_metric.higher_is_better else 1.0

    def key(row: Row) -> tuple[Any, ...]:
        gain = -row.gain.number if row.gain else 0.0
        cost = sign * row.cost.number if row.cost else 0.0
        if view.sort == "cost":
            return (row.cost is None, cost, row.gain is None, gain, row.label)
        if view.sort == "front":
            return (
                row.probability is None,
                not row.on_front,
                -(row.probability or 0.0),
                row.gain is None,
                gain,
                row.label,
            )
        return (row.gain is None, gain, row.cost is None, cost, row.label)

    return sorted(rows, key=key)


def matrix_of(
    rows: Sequence[Row],
    systems: Mapping[int, System],
    gains: Mapping[tuple[int, int], Number],
    stopped: Mapping[tuple[int, int, int], Stopped],
    suite_id: int,
    lengths: Sequence[int],
    current: int,
) -> tuple[MatrixRow, ...]:
    def cell(row: Row, length: int) -> MatrixCell:
        number = gains.get((row.system_id, length))
        if number is None:
            why = missing(systems[row.system_id], stopped.get((row.system_id, suite_id, length)), length)
            return MatrixCell(None, why, why.url, length == current, "")
        heat = f"h{min(9, max(0, int(number.quantity_args[0] * 10)))}" if number.quantity_args[4] == "share" else ""
        return MatrixCell(number.as_quantity(), None, run_url(number.run_id), length == current, heat)

    return tuple(MatrixRow(row, tuple(cell(row, length) for length in lengths)) for row in rows)


def summarise(ranked: Sequence[Row], points: Sequence[FrontPoint], everyone: Sequence[Row]) -> str:
    on = sum(p.on_front for p in points)
    hidden = len(everyone) - len(ranked)
    words = f"{_many(len(ranked), 'system')}, {on} on the front"
    if without := len(ranked) - len(points):
        words += f", {without} without both numbers"
    return words + (f"; {hidden} hidden by the filters, and the front is that of the ones shown" if hidden else "")


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
