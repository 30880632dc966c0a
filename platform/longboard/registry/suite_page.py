"""One suite, or all of them, with tasks, versions and places that have numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.urls import reverse

from longboard.boards.models import Cell
from longboard.quantities import length_label
from longboard.registry.models import Suite
from longboard.registry.suites import suite_info
from longboard_tasks.catalogue.metrics import METRICS, MetricInfo
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo


@dataclass(frozen=True, slots=True)
class SuitePage:
    suite: Suite
    info: SuiteInfo
    tasks: tuple[tuple[TaskInfo, tuple[MetricInfo, ...]], ...]
    least_length: str
    board_url: str
    versions: tuple[Suite, ...]
    places: tuple[tuple[str, str, str, int, str], ...]  # hardware, task of its own, length, Systems, board's address


def suite_lines() -> list[SuitePage]:
    return [_suite_page(suite, (), ()) for suite in Suite.objects.filter(is_current=True).order_by("kind", "name")]


def suite_page(name: str) -> SuitePage | None:
    """A suite by its name (current version) or name@version. Two statements."""
    versions = [s for s in Suite.objects.all() if name in (s.name, s.label)]
    suite = next((s for s in versions if s.is_current), versions[0] if versions else None)
    if suite is None:
        return None
    info = suite_info(suite)
    cells = Cell.objects.filter(suite=suite, metric=info.headline_metric)
    fields = ["hardware__title", "context_length", "hardware__slug"]
    if info.trains:  # each task has boards at its own length alone
        cells = cells.filter(task__in=[task.name for task in info.tasks if task.role != "unranked"])
        fields.append("task")
    places = cells.values_list(*fields).annotate(Count("system", distinct=True)).order_by(*fields)
    return _suite_page(suite, tuple(versions), tuple(places))


def _suite_page(suite: Suite, versions: tuple[Suite, ...], places: tuple[Any, ...]) -> SuitePage:
    info = suite_info(suite)
    board = reverse("board", args=[suite.name if suite.is_current else suite.label]) if suite.kind == "accuracy" else ""
    return SuitePage(
        suite=suite,
        info=info,
        tasks=tuple((task, tuple(METRICS[m] for m in task.metrics if m in METRICS)) for task in info.tasks),
        least_length=length_label(info.least_context_length),
        board_url=board,
        versions=versions,
        places=tuple(
            (
                title,
                info.task(task[0]).title if task else "",
                length_label(length),
                count,
                f"{board}?hardware={slug}&length={length}{f'&task={task[0]}' if task else ''}" if board else "",
            )
            for title, length, slug, *task, count in places
        ),
    )
