"""The rows of a board: one System each, with finished words, and a typed reason where there is no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan
from typing import Any

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from longboard.boards import figures
from longboard.boards.columns import TRUST, TRUSTS, VALUE
from longboard.boards.figures import FrontPoint
from longboard.boards.marks import Mark, mark_of
from longboard.boards.reasons import Missing, Reasons, missing_html
from longboard.boards.selection import Selection
from longboard.boards.sources import Number
from longboard.boards.systems import Catalogue
from longboard.quantities import Quantity, quantity
from longboard.results.models import Trust
from longboard_tasks.catalogue.metrics import MetricInfo


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
    cost_trust: str
    run_url: str  # of the gain: its Run, or its report
    rank: str  # "1", "2–4": a range where it is not sure
    rank_best: int
    rank_worst: int
    on_front: bool
    probability: float | None
    normalised: float | None  # the gain from chance (0) to all right (1); None where chance is 0: it is the gain itself

    @property
    def is_claimed(self) -> bool:
        """Whether one of its numbers is only reported by its author."""
        return Trust.SELF_REPORTED in (self.trust, self.cost_trust)

    @property
    def trust_text(self) -> str:
        if self.is_claimed and self.trust and self.cost_trust and self.trust != self.cost_trust:
            return f"{self.trust}, cost {self.cost_trust}"
        return self.trust or self.cost_trust

    @property
    def probability_text(self) -> str:
        return "" if self.probability is None else f"{self.probability:.2f}"

    @property
    def normalised_text(self) -> str:
        if self.normalised is None:
            return ""
        return f"{abs(self.normalised):.2f} {'below' if self.normalised < 0 else 'above'} chance"

    @property
    def certainty(self) -> str:
        return "" if self.probability is None else figures.certainty(self.probability, self.on_front)


@dataclass(frozen=True, slots=True)
class MatrixRow:
    row: Row
    cells: SafeString  # the table's <td>s


def points_of(
    drawn: Selection, known: Catalogue, shorts: Mapping[int, str], *, metric: MetricInfo, cost: MetricInfo
) -> Iterator[FrontPoint]:
    """The marks of a chart, of Systems with both numbers."""
    numbers = zip(drawn.systems.tolist(), drawn.gains.tolist(), drawn.costs.tolist(), strict=True)
    places = zip(drawn.on_front.tolist(), drawn.probability.tolist(), strict=True)
    for (pk, gain, spend), (on_front, probability) in zip(numbers, places, strict=True):
        facts = known[pk]
        claimed = Trust.SELF_REPORTED in (TRUSTS[gain[TRUST]], TRUSTS[spend[TRUST]])
        short = shorts.get(pk, facts.label)
        label = f"{short}, {Trust.SELF_REPORTED}" if claimed else short
        pair = _quantity(gain, metric), _quantity(spend, cost)
        yield FrontPoint(pk, label, model_url(facts.model_slug), *pair, on_front, probability)


def rows_of(
    page: Selection,
    known: Catalogue,
    shorts: Mapping[int, str],
    *,
    metric: MetricInfo,
    cost: MetricInfo,
    length: int,
    reasons: Reasons,
    numbers: Mapping[tuple[int, int], Number],
    chance: float,
) -> Iterator[Row]:
    ids, gains, costs = page.systems.tolist(), page.gains.tolist(), page.costs.tolist()  # an item of an array is slow
    for at, (pk, gain, spend) in enumerate(zip(ids, gains, costs, strict=True)):
        facts = known[pk]
        best, worst = int(page.best[at]), int(page.worst[at])
        number = numbers.get((pk, length))
        has_gain, has_cost = not isnan(gain[VALUE]), not isnan(spend[VALUE])
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
            gain=_quantity(gain, metric) if has_gain else None,
            cost=_quantity(spend, cost) if has_cost else None,
            gain_missing=None if has_gain else reasons.gain(facts, length),
            cost_missing=None if has_cost else reasons.cost(facts, length),
            trust=TRUSTS[gain[TRUST]] if has_gain else "",
            cost_trust=TRUSTS[spend[TRUST]] if has_cost else "",
            run_url=number.url if number else "",
            rank=rank_text(best, worst) if best else "",
            rank_best=best,
            rank_worst=worst,
            on_front=bool(page.on_front[at]),
            probability=float(page.probability[at]) if has_gain and has_cost else None,
            normalised=(gain[VALUE] - chance) / (1 - chance) if has_gain and 0 < chance < 1 else None,
        )


def _quantity(number: Sequence[Any], metric: MetricInfo) -> Quantity:
    value, low, high, n, *_ = number
    return quantity(value, low, high, n=n, unit=metric.unit)


@cache
def _model_pattern() -> str:
    return reverse("model", args=["0slug0"])


def model_url(slug: str) -> str:
    return _model_pattern().replace("0slug0", slug)


def matrix_of(
    rows: Sequence[Row],
    known: Catalogue,
    numbers: Mapping[tuple[int, int], Number],
    reasons: Reasons,
    lengths: Sequence[int],
    current: int,
) -> tuple[MatrixRow, ...]:
    """The page's Systems at every length. The cells are written here: as template nodes, 400 took half of the page's time."""

    def cell(row: Row, length: int) -> str:
        here = " here" if length == current else ""
        number = numbers.get((row.system_id, length))
        if number is None:
            return f'<td class="num{here}">{missing_html(reasons.gain(known[row.system_id], length))}</td>'
        return number_cell(number, heat_of(number.value, number.unit) + here)

    return tuple(
        MatrixRow(row, mark_safe("".join(cell(row, length) for length in lengths)))  # noqa: S308 (escaped below)
        for row in rows
    )


def rank_text(best: int, worst: int) -> str:
    return str(best) if best == worst else f"{best}–{worst}"


def heat_of(value: float, unit: str) -> str:
    return f" h{min(9, max(0, int(value * 10)))}" if unit == "share" else ""


def number_cell(number: Number, classes: str) -> str:
    """A cell of a length matrix: number, n and interval, linked to where it comes from. All of it is ours: nothing to escape."""
    shown = number.as_quantity()
    claimed = f' <span class="claimed">{number.trust}</span>' if number.trust == Trust.SELF_REPORTED else ""
    return (
        f'<td class="num{classes}"><a class="quiet" href="{number.url}"><b>{shown.value}</b> '
        f'<span class="n">n={shown.n:,}</span> <span class="interval">{shown.interval}</span>{claimed}</a></td>'
    )
