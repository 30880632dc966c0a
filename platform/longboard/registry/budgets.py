"""Smaller caches beside the full cache of a model: bytes and times as measured, accuracy by category, paired differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
from django.db.models import Case, Count, Q, When
from django.urls import reverse

from longboard.boards import figures
from longboard.boards.board_rows import model_url
from longboard.boards.differences import LEAST_SHARED, signed
from longboard.boards.figures import FrontPoint
from longboard.boards.marks import Mark, mark_of
from longboard.boards.models import Cell
from longboard.boards.paired import paired_difference
from longboard.boards.reasons import run_url
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.model_page import Option
from longboard.registry.models import Suite, System
from longboard.registry.suites import suite_info
from longboard_tasks.catalogue.metrics import COST_METRICS, METRICS
from longboard_tasks.catalogue.suites import SuiteInfo
from longboard_tasks.intervals import wilson

COSTS = ("cache_bytes", "ttft_ms", "tpot_ms", "peak_memory_bytes")
EVERYTHING = "all tasks"
MOST_ROWS = 200
Scores = dict[tuple[str, int, int], float]  # (task, seed, index) -> score


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy over the tasks of one category, pooled, and how far it is from the full cache on the same samples."""

    accuracy: Quantity
    difference: str  # "−0.12 (−0.20 to −0.03)"; empty for the full cache, and where too few samples are shared
    verdict: str  # better, worse, unclear


@dataclass(frozen=True, slots=True)
class BudgetRow:
    system_id: int
    label: str
    url: str
    is_full: bool
    budget: str
    settings: str
    kept: str  # measured cache bytes as a share of the full cache's
    costs: tuple[tuple[Quantity | None, str], ...]  # number, its run's address; in the order of the titles
    scores: tuple[Score | None, ...]

    @property
    def mark(self) -> Mark:
        return mark_of(self.system_id)


@dataclass(frozen=True, slots=True)
class BudgetView:
    """The table of one model, hardware, length and suite, with what else could be chosen."""

    controls: tuple[tuple[str, str, tuple[Option, ...]], ...]  # name, label, options; where there is a choice
    model_title: str
    model_url: str
    cost_titles: tuple[str, ...]  # of what was measured for any row
    columns: tuple[str, ...]
    rows: tuple[BudgetRow, ...]
    wide: dict[str, Any]
    narrow: dict[str, Any]
    board_url: str


def budget_view(method: str, query: Mapping[str, Any]) -> BudgetView | None:
    """Of one method, or of all where `method` is empty; None where nothing was measured. Two statements."""
    mine = Q(system__method__name=method) if method else ~Q(system__method__name="none")
    # Where accuracy was measured comes first: a page that nobody chose should answer what a method gives, not only what it takes.
    places = list(
        Cell.objects.filter(mine)
        .values_list(
            "system__model_id", "system__model__slug", "system__model__title", "hardware_id", "hardware__slug",
            "hardware__title", "context_length",
        )
        .annotate(scored=Count("pk", filter=Q(metric="accuracy")))
        .order_by(Case(When(scored=0, then=1), default=0), "system__model__slug", "hardware__slug", "context_length")
    )  # fmt: skip
    if not places:
        return None
    model = _choose(query.get("model", ""), [p[1] for p in places])
    hardware = _choose(query.get("hardware", ""), [p[4] for p in places if p[1] == model])
    there = [p for p in places if (p[1], p[4]) == (model, hardware)]
    length = _choose(query.get("length", ""), [str(p[6]) for p in there])
    cells = _cells(mine, there[0], int(length))
    suites = {
        c.suite.label: c.suite
        for c in sorted(cells, key=lambda c: (c.suite.name != "kv", c.suite.label))
        if _is_share(c)
    }
    suite = suites.get(_choose(query.get("suite", ""), list(suites)))
    rows, columns = _rows(cells, suite, is_one_method=bool(method))
    points = _points(rows, columns)
    gain, cost = METRICS["accuracy"], METRICS["cache_bytes"]
    rows, cost_titles = _measured_costs(rows)
    asked = urlencode({"hardware": hardware, "length": length, "cost": "cache_bytes"})
    controls = (
        ("model", "Model", _options([(p[1], p[2]) for p in places], model)),
        ("hardware", "Hardware", _options([(p[4], p[5]) for p in places if p[1] == model], hardware)),
        ("length", "Context length", _options([(str(p[6]), length_label(p[6])) for p in there], length)),
        ("suite", "Suite", _options([(label, s.title) for label, s in suites.items()], suite.label if suite else "")),
    )
    return BudgetView(
        controls=tuple(control for control in controls if len(control[2]) > 1),
        model_title=there[0][2],
        model_url=model_url(model),
        cost_titles=cost_titles,
        columns=columns,
        rows=rows,
        wide=figures.draw_front(points, gain=gain, cost=cost),
        narrow=figures.draw_front(points, gain=gain, cost=cost, size=figures.NARROW),
        board_url=f"{reverse('board', args=[suite.label])}?{asked}" if suite else "",
    )


def _cells(mine: Q, place: tuple[Any, ...], length: int) -> list[Cell]:
    """Of the asked Systems of one model and of its full cache, at one place: shares with their samples, and costs."""
    return list(
        Cell.objects.filter(
            mine | Q(system__method__name="none"),
            system__model=place[0],
            hardware=place[3],
            context_length=length,
            metric__in=("accuracy", *COST_METRICS),
        )
        .select_related("suite", "system__model", "system__method", "scores")
        .order_by("pk")
    )


def _rows(
    cells: Sequence[Cell], suite: Suite | None, *, is_one_method: bool
) -> tuple[tuple[BudgetRow, ...], tuple[str, ...]]:
    """The full cache of each precision first, then falling budgets; a column for each category with numbers, and one for all
    tasks that any row has, empty where a row lacks some."""
    by_system: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_system[cell.system_id].append(cell)
    systems = {pk: mine[0].system for pk, mine in by_system.items()}
    categories = _categories(suite_info(suite)) if suite else {}
    scores = {pk: _scores(mine, suite) for pk, mine in by_system.items()}
    full = {s.dtype: pk for pk, s in systems.items() if s.method.name == "none" and not s.settings}
    tasks = {pk: {task for task, _, _ in found} for pk, found in scores.items()}
    every = set().union(*tasks.values())
    used = {categories.get(task, task) for task in every}
    columns = (EVERYTHING, *[c for c in dict.fromkeys(categories.values()) if c in used]) if used else ()
    rows = []
    for pk in sorted(by_system, key=lambda pk: _order(systems[pk]))[:MOST_ROWS]:
        base = full.get(systems[pk].dtype)
        rows.append(
            _row(
                systems[pk],
                by_system[pk],
                by_system[base] if base is not None else [],
                tuple(
                    _score(
                        _part(scores[pk], categories, column),
                        _part(scores[base], categories, column) if base not in (None, pk) else {},
                    )
                    if column != EVERYTHING or tasks[pk] == every  # some tasks are no whole
                    else None
                    for column in columns
                ),
                is_one_method=is_one_method,
            )
        )
    return tuple(rows), columns


def _measured_costs(rows: tuple[BudgetRow, ...]) -> tuple[tuple[BudgetRow, ...], tuple[str, ...]]:
    """The rows without the costs that none of them has, and the titles of the others."""
    there = [i for i in range(len(COSTS)) if any(row.costs[i][0] is not None for row in rows)]
    titles = tuple(METRICS[COSTS[i]].title for i in there)
    return tuple(replace(row, costs=tuple(row.costs[i] for i in there)) for row in rows), titles


def _order(system: System) -> tuple[Any, ...]:
    is_method = system.method.name != "none"
    return system.dtype, is_method, -system.budget, system.method.title, len(system.settings), system.pk


def _row(
    system: System,
    cells: Sequence[Cell],
    full: Sequence[Cell],
    scores: tuple[Score | None, ...],
    *,
    is_one_method: bool,
) -> BudgetRow:
    costs = {c.metric: c for c in cells if c.suite.kind == "efficiency"}
    whole = next((c.value for c in full if c.metric == "cache_bytes" and c.suite.kind == "efficiency"), 0.0)
    held = costs.get("cache_bytes")
    is_full = system.method.name == "none"
    seen = [
        "question seen" if (key, value) == ("question_aware", True) else f"{key} {value}"
        for key, value in sorted(system.settings.items())
    ]
    return BudgetRow(
        system_id=system.pk,
        label=system.label,
        url=reverse("system", args=[system.slug]),
        is_full=is_full,
        budget=("full cache" if is_full else f"{system.budget:g}")
        if is_one_method or is_full
        else f"{system.method.title} {system.budget:g}",
        settings=", ".join(seen),
        kept=f"{held.value / whole:.3f}" if held and whole else "",
        costs=tuple((_quantity(c), run_url(c.last_run_id)) if (c := costs.get(m)) else (None, "") for m in COSTS),
        scores=scores,
    )


def _categories(info: SuiteInfo) -> dict[str, str]:
    """task -> the column that it belongs to; a suite without categories has a column a task."""
    return {task.name: task.category or task.title.lower() for task in info.tasks}


def _scores(cells: Iterable[Cell], suite: Suite | None) -> Scores:
    """The samples behind a System's shares in one suite."""
    found: Scores = {}
    for cell in cells:
        if suite is None or cell.suite_id != suite.pk or not _is_share(cell) or not hasattr(cell, "scores"):
            continue
        numbers, start = np.frombuffer(bytes(cell.scores.scores), "<f4"), 0
        for seed, size in cell.scores.seeds:
            found |= {(cell.task, seed, i): float(numbers[start + i]) for i in range(size)}
            start += size
    return found


def _part(scores: Scores, categories: Mapping[str, str], column: str) -> Scores:
    return {key: s for key, s in scores.items() if column in (EVERYTHING, categories.get(key[0]))}


def _score(mine: Scores, full: Scores) -> Score | None:
    """Pooled over the samples; the difference over those that the full cache answered too."""
    if not mine:
        return None
    value = min(1.0, sum(mine.values()) / len(mine))
    accuracy = quantity(value, *wilson(value, len(mine)), n=len(mine), unit="share")
    shared = sorted(mine.keys() & full.keys())
    if len(shared) < LEAST_SHARED:
        return Score(accuracy, "", "")
    delta = paired_difference(np.array([full[k] for k in shared]), np.array([mine[k] for k in shared]))
    verdict = "better" if delta.low > 0 else "worse" if delta.high < 0 else "unclear"
    return Score(accuracy, signed(delta), verdict)


def _points(rows: Sequence[BudgetRow], columns: Sequence[str]) -> list[FrontPoint]:
    """Accuracy over all tasks against the measured bytes of the cache."""
    found = []
    for row in rows:
        cache, score = row.costs[0][0], row.scores[0] if columns else None
        if cache is not None and score is not None and cache.number > 0:
            found.append(
                FrontPoint(row.system_id, row.label, row.url, score.accuracy, cache, on_front=False, probability=1.0)
            )
    return found


def _is_share(cell: Cell) -> bool:
    return cell.suite.kind == "accuracy" and cell.metric == "accuracy"


def _quantity(cell: Cell) -> Quantity:
    return quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit)


def _choose(asked: str, there: Sequence[str]) -> str:
    return asked if asked in there else there[0] if there else ""


def _options(pairs: Sequence[tuple[str, str]], chosen: str) -> tuple[Option, ...]:
    return tuple(Option(value, text, value == chosen) for value, text in dict(pairs).items())
