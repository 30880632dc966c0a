"""What a board's address asks for. An unknown value falls back to the default, and the page says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from longboard.results.models import Trust
from longboard_tasks.catalogue import COST_METRICS, METRICS, MetricInfo, SuiteInfo, TaskInfo

SORTS = ("accuracy", "cost", "front")
ROWS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class BoardView:
    """One state of a board. `url()` writes it back: parameters sorted, defaults left out, so that equal views are equal."""

    suite: str  # a name, or name@version for one that is not to move on with the suite
    task: str = ""  # empty: the suite's first
    metric: str = ""  # empty: the suite's headline metric
    cost: str = COST_METRICS[0]
    length: int = 0  # 0: the length that most Systems have; of equals the longest
    hardware: str = ""  # empty: the one with most numbers
    family: str = ""
    trust: str = Trust.MEASURED
    search: str = ""
    sort: str = SORTS[0]
    page: int = 1
    notices: tuple[str, ...] = ()

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
        metric = choice("metric", rankable_metrics(task), suite.headline_metric)
        return cls(
            suite=label or suite.name,
            task="" if task is suite.tasks[0] else task.name,
            metric="" if metric == suite.headline_metric else metric,
            cost=choice("cost", COST_METRICS, COST_METRICS[0]),
            length=whole("length", 0),
            hardware=query.get("hardware", "")[:80],
            family=query.get("family", "")[:60],
            trust=choice("trust", tuple(Trust.values), Trust.MEASURED),
            search=query.get("search", "").replace("\x00", "").strip()[:80],
            sort=choice("sort", SORTS, SORTS[0]),
            page=whole("page", 1),
            notices=tuple(notices),
        )

    def query(self, **changes: Any) -> str:
        """The parameters of this view with changes, canonical. A change of what is shown starts at its first page."""
        changes = changes if "page" in changes else changes | ({"page": 1} if changes else {})
        view = replace(self, **changes)
        given = {
            f.name: getattr(view, f.name)
            for f in fields(view)
            if f.name not in ("suite", "notices") and getattr(view, f.name) != f.default
        }
        return urlencode(sorted(given.items()))

    def url(self, route: str = "board", **changes: Any) -> str:
        query = self.query(**changes)
        return reverse(route, args=[self.suite]) + (f"?{query}" if query else "")

    @property
    def cost_metric(self) -> MetricInfo:
        return METRICS[self.cost]

    def with_notice(self, sentence: str, **changes: Any) -> BoardView:
        return replace(self, notices=(*self.notices, sentence), **changes)


def rankable_metrics(task: TaskInfo) -> tuple[str, ...]:
    """Metrics of the task that give one number at one length; those split by depth belong to the heat map."""
    return tuple(name for name in task.metrics if not name.endswith("_by_depth"))


def find_task(suite: SuiteInfo, name: str) -> TaskInfo:
    return next((task for task in suite.tasks if task.name == name), suite.tasks[0])


def _cut(value: str) -> str:
    return value if len(value) <= 40 else value[:40] + "…"
