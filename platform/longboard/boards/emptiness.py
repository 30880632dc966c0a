"""Why a board has no number, what it would show, how to fill it, and what there is instead. Asked for by empty boards alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Min
from django.urls import reverse

from longboard.boards.board_view import BoardView
from longboard.boards.choices import Choice
from longboard.boards.models import Cell, Column, PastCell
from longboard.fleet.models import Pool
from longboard.quantities import length_label
from longboard.registry.models import Model, Suite
from longboard.submissions.models import Run
from longboard_tasks.catalogue.metrics import MetricInfo
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo
from longboard_tasks.suites.lra.tasks import RECIPES

USUAL_LENGTHS = (512, 2_048)  # of a command; suites with lengths of their own take them from there


@dataclass(frozen=True, slots=True)
class Emptiness:
    why: tuple[str, ...]
    shows: str
    commands: tuple[tuple[str, str], ...]  # (what it does, the command)
    links: tuple[Choice, ...]  # to what exists
    instead: str  # the suite's first task that has numbers; empty: none has


def explain(view: BoardView, suite: Suite, info: SuiteInfo, task: TaskInfo, metric: MetricInfo) -> Emptiness:
    """`info` as boards offer the suite. A handful of statements."""
    tasks = _measured(suite, info) - {task.name}
    others = [t for t in info.tasks if t.name in tasks]
    return Emptiness(
        why=_why(view, suite, info, task, metric, bool(tasks)),
        shows=f"It will show {metric.title.lower()} against {_lowered(view.cost_metric.title)} of each system"
        f"{_at(task)}, with intervals, and the front of those that no other beats in both.",
        commands=_commands(view, info, task),
        links=(
            *(Choice(t.name, t.title, url=view.url(task=t.name, metric="")) for t in others),
            *_other_boards(suite),
            *(() if _a_pool() else (Choice("nodes", "No node takes runs here yet: lend one", url=reverse("nodes")),)),
            Choice("suite", f"Tasks and metrics of {suite.title}", url=reverse("suite", args=[suite.label])),
        ),
        instead=others[0].name if others else "",
    )


def tasks_with_numbers(suite: Suite, info: SuiteInfo) -> list[TaskInfo]:
    """`info` as boards offer the suite, and the tasks in its order. One statement."""
    measured = _measured(suite, info)
    return [t for t in info.tasks if t.name in measured]


def _measured(suite: Suite, info: SuiteInfo) -> set[str]:
    """Tasks with numbers, unranked ones among them."""
    columns = Column.objects.filter(suite=suite, metric__in={m for t in info.tasks for m in t.metrics})
    return set(columns.order_by().values_list("task", flat=True).distinct())


def _why(
    view: BoardView, suite: Suite, info: SuiteInfo, task: TaskInfo, metric: MetricInfo, others: bool
) -> tuple[str, ...]:
    lines = []
    now, past = Cell.objects.filter(suite=suite), PastCell.objects.filter(suite=suite)
    first = min(
        filter(None, (now.aggregate(at=Min("updated_at"))["at"], past.aggregate(at=Min("since"))["at"])), default=None
    )
    if view.moment and first and first > view.moment:
        return (f"By {view.as_of} this site had no number of {suite.title}: the first came {first:%Y-%m-%d}.",)
    if others:
        lines.append(f"No system has {metric.title.lower()} on {task.title} yet; other tasks of {suite.title} have.")
    elif Column.objects.exists():
        lines.append(f"Of what this site has received, nothing is of {suite.title} ({suite.label}).")
    else:
        lines.append("This site has received no result at all yet.")
    if info.trains and not others:
        lines.append(
            "Each of its numbers is a training of an architecture from scratch, minutes to hours long; no checkpoint replaces it."
        )
    if states := Counter(
        Run.objects.filter(suite=suite).exclude(state=Run.State.ACCEPTED).values_list("state", flat=True)
    ):
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        lines.append(f"Runs of the suite without a result: {told}.")
    return tuple(lines)


def _lowered(title: str) -> str:
    """Within a sentence; "(TTFT)" stays as it is."""
    return title[0].lower() + title[1:]


def _at(task: TaskInfo) -> str:
    if task.lengths:
        return f" at {', '.join(map(length_label, task.lengths))} tokens"
    return f" at each context length from {length_label(task.least_context_length)} tokens"


def _commands(view: BoardView, info: SuiteInfo, task: TaskInfo) -> tuple[tuple[str, str], ...]:
    found = (
        [] if Column.objects.exists() else [("Load the results that ship with Longboard", "manage.py load_baselines")]
    )
    pool = _a_pool()
    source = Model.Source.ARCHITECTURE if info.trains else Model.Source.ZOO
    model = Model.objects.filter(source=source).order_by("slug").first()
    named = model.slug if model else "MODEL"
    ask = f"longboard-worker site submit --model {named} --pools {pool.slug}" if pool else ""
    if info.trains:
        one = (
            f" --tasks {info.name}/{task.name}" if task.name in RECIPES else ""
        )  # else the mean: all tasks of the suite
        if ask:  # else nobody's pool takes runs of the public
            found.append(("Have this site's nodes train one", f"{ask} --suites {info.name}{one}"))
        if one:
            alone = f"python -m longboard_tasks.suites.lra {RECIPES[task.name].task} --mixer s4d"
            found.append(("Train one with no site", alone))
    else:
        lengths = ",".join(str(max(n, task.least_context_length)) for n in USUAL_LENGTHS)
        alone = (
            f"longboard-worker evaluate --model {model.ref if model else named} --suite {info.name} --lengths {lengths}"
        )
        if ask:
            found.append(
                ("Have this site's nodes measure one", f"{ask} --suites {info.name},efficiency --lengths {lengths}")
            )
        found.append(("Measure one with no site", alone))
    return tuple(found)


def _a_pool() -> Pool | None:
    return Pool.objects.filter(accepts_public_runs=True).order_by("-is_first_party", "slug").first()


def _other_boards(suite: Suite) -> list[Choice]:
    filled = Suite.objects.filter(kind="accuracy", is_current=True, pk__in=Column.objects.values("suite")).exclude(
        pk=suite.pk
    )
    return [
        Choice(s.name, f"Board of {s.title}", url=reverse("board", args=[s.name])) for s in filled.order_by("title")
    ]
