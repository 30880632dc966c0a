"""What a board's address asks for. An unknown value falls back to the default, and the page says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from longboard.boards.metrics import COSTS, METRICS, costs_of, default_metric
from longboard.boards.systems import SIZES
from longboard.results.models import Trust
from longboard_tasks.catalogue.metrics import TRAINING_COSTS, MetricInfo
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo

SORTS = ("accuracy", "cost", "front")
LENGTH_SORTS = ("area", "effective", "name")
ROWS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class BoardView:
    """One state of a board. `url()` writes it back: parameters sorted, defaults left out, so that equal views are equal."""

    suite: str  # a name, or name@version for one that is not to move on with the suite
    task: str = ""  # empty: the suite's first
    metric: str = ""  # empty: the task's first choice, mostly the suite's headline metric
    cost: str = COSTS[0]
    length: int = 0  # 0: the longest at which most of the Systems with both numbers have them
    hardware: str = ""  # empty: the one with most numbers
    family: str = ""
    method: str = ""
    size: str = ""  # one of SIZES
    trust: str = Trust.MEASURED
    search: str = ""
    sort: str = SORTS[0]
    page: int = 1
    threshold: str = "0.8"  # of the effective length, a share
    order: str = LENGTH_SORTS[0]  # of the length matrix
    as_of: str = ""  # ISO date or time; empty: now
    notices: tuple[str, ...] = ()
    usual_cost: str = COSTS[0]  # the suite's: no part of an address, nor is a cost that is the usual one

    @classmethod
    def from_query(cls, suite: SuiteInfo, query: Mapping[str, Any], *, label: str = "") -> BoardView:
        notices: list[str] = []

        def choice(name: str, allowed: tuple[str, ...], default: str) -> str:
            value = query.get(name, "")
            if value and value not in allowed:
                notices.append(f'There is no {name} "{_cut(value)}" here; showing {default or "all"}.')
            return value if value in allowed else default

        def whole(name: str, default: int) -> int:
            value = query.get(name, "")
            # isdecimal alone lets a number through that no database column holds.
            if value and not (value.isascii() and value.isdecimal() and 0 < int(value[:12]) <= 2**31 - 1):
                notices.append(f'"{_cut(value)}" is not a {name}; showing the default.')
                return default
            return int(value[:12]) if value else default

        task = find_task(suite, choice("task", tuple(t.name for t in suite.tasks), suite.tasks[0].name))
        usual = default_metric(suite, task)
        metric = choice("metric", rankable_metrics(task), usual)
        as_of, told = _moment(query.get("as_of", ""))
        notices += told
        threshold, told = _threshold(query.get("threshold", ""))
        notices += told
        return cls(
            suite=label or suite.name,
            task="" if task is suite.tasks[0] else task.name,
            metric="" if metric == usual else metric,
            cost=choice("cost", costs_of(suite), costs_of(suite)[0]),
            length=whole("length", 0),
            hardware=query.get("hardware", "")[:80],
            family=query.get("family", "")[:60],
            method=query.get("method", "")[:64],
            size=choice("size", tuple(name for name, *_ in SIZES), ""),
            trust=choice("trust", tuple(Trust.values), Trust.MEASURED),
            search=query.get("search", "").replace("\x00", "").strip()[:80],
            sort=choice("sort", SORTS, SORTS[0]),
            page=whole("page", 1),
            threshold=threshold,
            order=choice("order", LENGTH_SORTS, LENGTH_SORTS[0]),
            as_of=as_of,
            notices=tuple(notices),
            usual_cost=costs_of(suite)[0],
        )

    def query(self, **changes: Any) -> str:
        """The parameters of this view with changes, canonical. A change of what is shown starts at its first page."""
        changes = changes if "page" in changes else changes | ({"page": 1} if changes else {})
        view = replace(self, **changes)
        given = {
            f.name: getattr(view, f.name)
            for f in fields(view)
            if f.name not in ("suite", "notices", "usual_cost")
            and getattr(view, f.name) != (view.usual_cost if f.name == "cost" else f.default)
        }
        return urlencode(sorted(given.items()))

    def url(self, route: str = "board", *, args: tuple[str, ...] = (), **changes: Any) -> str:
        query = self.query(**changes)
        return reverse(route, args=[self.suite, *args]) + (f"?{query}" if query else "")

    @property
    def cost_metric(self) -> MetricInfo:
        return METRICS[self.cost]

    @property
    def moment(self) -> datetime | None:
        """The end of the day or the time that `as_of` names."""
        return parse_moment(self.as_of) if self.as_of else None

    def with_notice(self, sentence: str, **changes: Any) -> BoardView:
        return replace(self, notices=(*self.notices, sentence), **changes)


def parse_moment(text: str) -> datetime | None:
    """A date (its whole day counts) or an ISO time in UTC; None for anything else."""
    try:
        if len(text) == 10:
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1) - timedelta(microseconds=1)
        parsed = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    try:
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except OverflowError:
        return None


def _moment(text: str) -> tuple[str, list[str]]:
    text = text.strip()[:40]
    if not text:
        return "", []
    moment = parse_moment(text)
    if moment is None or not 2000 <= moment.year <= 2200:
        return "", [f'"{_cut(text)}" is not a date such as 2026-11-24; showing today.']
    return text, []


def _threshold(text: str) -> tuple[str, list[str]]:
    if not text:
        return "0.8", []
    try:
        value = float(text[:20])
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        return "0.8", [f'"{_cut(text)}" is not a threshold: give a share above 0, at most 1; showing 0.8.']
    return f"{value:.4g}", []


def rankable_metrics(task: TaskInfo) -> tuple[str, ...]:
    """Metrics of the task that give one number at one length; those split by depth belong to the heat map, and what a training
    costs to the other axis."""
    return tuple(name for name in task.metrics if not name.endswith("_by_depth") and name not in TRAINING_COSTS)


def find_task(suite: SuiteInfo, name: str) -> TaskInfo:
    return next((task for task in suite.tasks if task.name == name), suite.tasks[0])


def _cut(value: str) -> str:
    return value if len(value) <= 40 else value[:40] + "…"
