"""The rows of a board: one System each, with finished words, and a typed reason where there is no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from longboard.boards import figures
from longboard.boards.columns import TRUSTS
from longboard.boards.figures import Mark, mark_of
from longboard.boards.selection import Selection
from longboard.boards.sources import Number
from longboard.boards.systems import Catalogue, SystemFacts
from longboard.quantities import Quantity, length_label, quantity
from longboard.submissions.models import Run
from longboard.submissions.queries import FAILURE_WORDS
from longboard_tasks.catalogue import MetricInfo


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
    slug: str
    label: str
    short: str  # enough to tell it from the others of this board
    url: str
    model: str
    family: str
    method: str
    mark: Mark
    gain: Quantity | None
    cost: Quantity | None
    gain_missing: Missing | None
    cost_missing: Missing | None
    trust: str
    run_url: str
    rank: str  # "1", "2–4": a range where it is not sure
    rank_best: int
    rank_worst: int
    on_front: bool
    probability: float | None
    normalised: float | None  # the gain from chance (0) to all right (1); None where chance is 0: it is the gain itself

    @property
    def probability_text(self) -> str:
        return "" if self.probability is None else f"{self.probability:.2f}"

    @property
    def normalised_text(self) -> str:
        return "" if self.normalised is None else f"{self.normalised:.2f} above chance"

    @property
    def certainty(self) -> str:
        return "" if self.probability is None else figures.certainty(self.probability, self.on_front)


@dataclass(frozen=True, slots=True)
class MatrixRow:
    row: Row
    cells: SafeString  # the table's <td>s


@dataclass(frozen=True, slots=True)
class Stopped:
    """A Run that has given no number."""

    run_id: UUID
    state: str
    failure_class: str


StoppedRuns = Mapping[tuple[int, int, int], Stopped]  # by (System, suite, context length)


def rows_of(
    page: Selection,
    known: Catalogue,
    shorts: Mapping[int, str],
    *,
    metric: MetricInfo,
    cost: MetricInfo,
    length: int,
    stopped: StoppedRuns,
    suite_ids: tuple[int, int],
    numbers: Mapping[tuple[int, int], Number],
    chance: float,
) -> Iterator[Row]:
    has_gain, has_both = page.has_gain, page.has_both
    for at, pk in enumerate(map(int, page.systems)):
        facts = known[pk]
        gain, spend = page.gains[at], page.costs[at]
        best, worst = int(page.best[at]), int(page.worst[at])
        number = numbers.get((pk, length))
        has_cost = spend["value"] == spend["value"]
        yield Row(
            system_id=pk,
            slug=facts.slug,
            label=facts.label,
            short=shorts.get(pk, facts.label),
            url=model_url(facts.model_slug),
            model=facts.model_slug,
            family=facts.family,
            method=facts.method,
            mark=mark_of(pk),
            gain=_quantity(gain, metric) if has_gain[at] else None,
            cost=_quantity(spend, cost) if has_cost else None,
            gain_missing=None if has_gain[at] else missing(facts, stopped.get((pk, suite_ids[0], length)), length),
            cost_missing=None if has_cost else missing(facts, stopped.get((pk, suite_ids[1], length)), length),
            trust=TRUSTS[int(gain["trust"])] if has_gain[at] else "",
            run_url=run_url(number.run_id) if number else "",
            rank=("" if not best else str(best) if best == worst else f"{best}–{worst}"),
            rank_best=best,
            rank_worst=worst,
            on_front=bool(page.on_front[at]),
            probability=float(page.probability[at]) if has_both[at] else None,
            normalised=(float(gain["value"]) - chance) / (1 - chance) if has_gain[at] and 0 < chance < 1 else None,
        )


def _quantity(number: Any, metric: MetricInfo) -> Quantity:
    return quantity(
        float(number["value"]), float(number["low"]), float(number["high"]), n=int(number["n"]), unit=metric.unit
    )


@cache
def _run_pattern() -> str:
    return reverse("run", args=[UUID(int=0)])


def run_url(run_id: UUID) -> str:
    """`reverse` takes 25 us, and a matrix has hundreds of cells."""
    return _run_pattern().replace(str(UUID(int=0)), str(run_id))


@cache
def _model_pattern() -> str:
    return reverse("model", args=["0slug0"])


def model_url(slug: str) -> str:
    return _model_pattern().replace("0slug0", slug)


def missing(facts: SystemFacts, run: Stopped | None, length: int) -> Missing:
    limit = facts.max_positions
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


def matrix_of(
    rows: Sequence[Row],
    known: Catalogue,
    numbers: Mapping[tuple[int, int], Number],
    stopped: StoppedRuns,
    suite_id: int,
    lengths: Sequence[int],
    current: int,
) -> tuple[MatrixRow, ...]:
    """The page's Systems at every length. The cells are written here: as template nodes, 400 took half of the page's time."""

    def cell(row: Row, length: int) -> str:
        here = " here" if length == current else ""
        number = numbers.get((row.system_id, length))
        if number is None:
            why = missing(known[row.system_id], stopped.get((row.system_id, suite_id, length)), length)
            return f'<td class="num{here}">{missing_html(why)}</td>'
        return number_cell(number.as_quantity(), run_url(number.run_id), heat_of(number.value, number.unit) + here)

    return tuple(
        MatrixRow(row, mark_safe("".join(cell(row, length) for length in lengths)))  # noqa: S308 (escaped below)
        for row in rows
    )


def heat_of(value: float, unit: str) -> str:
    return f" h{min(9, max(0, int(value * 10)))}" if unit == "share" else ""


def number_cell(number: Quantity, url: str, classes: str) -> str:
    """A cell of a length matrix: number, n and interval, linked to its run. All of it is ours: nothing to escape."""
    return (
        f'<td class="num{classes}"><a class="quiet" href="{url}"><b>{number.value}</b> '
        f'<span class="n">n={number.n}</span> <span class="interval">{number.interval}</span></a></td>'
    )


def missing_html(why: Missing) -> str:
    words = f'<a href="{escape(why.url)}">{escape(why.text)}</a>' if why.url else escape(why.text)
    return f'<span class="missing {why.kind}">{words}</span>'
