"""The controls of a board: what can be chosen, what is chosen when nothing or nonsense is asked for, and where each leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from longboard.boards.board_view import BoardView, rankable_metrics
from longboard.boards.columns import Numbers
from longboard.boards.metrics import METRICS, costs_of
from longboard.boards.sources import Place
from longboard.boards.systems import SIZES, Catalogue
from longboard.quantities import length_label
from longboard.results.models import Trust
from longboard_tasks.catalogue.metrics import MetricInfo
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo

MOST = 0.75  # of the Systems at the fullest length


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a control. `count`: how many Systems it leads to."""

    value: str
    text: str
    selected: bool = False
    count: int | None = None
    url: str = ""


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


def choose_length(
    view: BoardView, counts: Mapping[int, int], both: Mapping[int, int], tells: Callable[[int], bool]
) -> tuple[BoardView, int]:
    """The length asked for, or the longest at which MOST of the Systems with most points in the chart have one, and at which
    the numbers tell any two Systems apart.

    `counts`: Systems with an accuracy, by length; `both`: with both numbers. Where no length has both, accuracies decide.
    Not the fullest length of all: the shortest one is that, and there every System is right. Nor the longest of all where every
    System is wrong. `tells` is asked from the longest on; where no length passes it, the longest is taken.
    """
    if not counts or view.length in counts:
        return view, view.length
    found = {n: both.get(n, 0) for n in counts} if any(both.get(n) for n in counts) else dict(counts)
    enough = MOST * max(found.values())
    reached = sorted((n for n, systems in found.items() if systems >= enough), reverse=True)
    default = next((n for n in reached if found[n] > 1 and tells(n)), reached[0])
    if view.length:
        measured = ", ".join(length_label(n) for n in sorted(counts))
        view = view.with_notice(
            f"Nothing was measured at {length_label(view.length)} tokens here; showing {length_label(default)}. "
            f"There is {measured}.",
            length=0,
        )
    return view, default


def tells_apart(gains: Numbers) -> bool:
    """Whether any two of the intervals have nothing in common."""
    return len(gains) > 1 and bool(gains["low"].max() > gains["high"].min())


def sort_link(view: BoardView, column: str) -> tuple[str, str]:
    rising = column == "cost" and not view.cost_metric.higher_is_better
    return view.url(sort=column), ("ascending" if rising else "descending") if view.sort == column else ""


def step(view: BoardView, lengths: Sequence[int]) -> Choice | None:
    return Choice(str(lengths[0]), length_label(lengths[0]), url=view.url(length=lengths[0])) if lengths else None


def controls(
    info: SuiteInfo,
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
        "tasks": tuple(Choice(t.name, t.title, t == task) for t in info.tasks),
        "metrics": tuple(Choice(m, METRICS[m].title, m == metric.name) for m in rankable_metrics(task)),
        "costs": tuple(Choice(m, METRICS[m].title, m == view.cost) for m in costs_of(info)),
        "hardware": tuple(Choice(p.slug, p.title, p.hardware_id == hardware_id, p.count) for p in most.values()),
        "families": facet("family", view.family, {}),
        "methods": facet("method", view.method, known.method_titles),
        "sizes": facet("size", view.size, sizes),
        "trusts": tuple(
            Choice(value, label if value == Trust.REPRODUCED else f"{label} and above", value == view.trust)
            for value, label in reversed(Trust.choices)
        ),
    }
