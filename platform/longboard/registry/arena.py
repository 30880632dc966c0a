"""A suite that trains, in one look: every architecture's accuracy task by task, the mean of whole sets, and speed by length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from longboard.boards.marks import Mark, mark_of
from longboard.boards.metrics import MEAN, METRICS, WHOLE_SUITE, board_info
from longboard.boards.models import Cell
from longboard.quantities import Quantity, length_label, quantity
from longboard.registry.models import Suite, System
from longboard.registry.suites import suite_info

RATES = ("forward_tokens_per_s", "train_tokens_per_s")


@dataclass(frozen=True, slots=True)
class ArenaCell:
    quantity: Quantity | None
    url: str  # its Run


@dataclass(frozen=True, slots=True)
class ArenaRow:
    label: str
    url: str  # of its model
    mark: Mark
    cells: tuple[ArenaCell, ...]
    mean: Quantity | None
    partial: str  # "4 of 6 tasks"; empty where there is a mean


@dataclass(frozen=True, slots=True)
class SpeedTable:
    title: str
    lengths: tuple[str, ...]
    rows: tuple[tuple[str, str, Mark, tuple[ArenaCell, ...]], ...]  # label, its model's address, mark, cells


@dataclass(frozen=True, slots=True)
class Arena:
    hardware: tuple[tuple[str, str, bool], ...]  # slug, title, chosen
    tasks: tuple[tuple[str, str], ...]  # title, board's address
    mean_url: str
    rows: tuple[ArenaRow, ...]  # whole sets first, by mean; partial ones after them, by name
    speeds: tuple[SpeedTable, ...]


def arena_of(suite: Suite, query: Mapping[str, Any]) -> Arena | None:
    """None for a suite that trains nothing, and where nothing was measured. One statement for the others."""
    info = suite_info(suite)
    if not info.trains:
        return None
    cells = list(Cell.objects.filter(suite=suite).select_related("hardware", "system__model", "system__method"))
    machines = {cell.hardware.slug: cell.hardware for cell in sorted(cells, key=lambda cell: cell.hardware.title)}
    if not machines:
        return None
    chosen = machines.get(query.get("hardware", "")) or next(iter(machines.values()))
    here = [cell for cell in cells if cell.hardware_id == chosen.pk]
    systems = {cell.system_id: cell.system for cell in here}
    board = reverse("board", args=[suite.name if suite.is_current else suite.label])
    tasks = [task for task in board_info(info).tasks if task.name != WHOLE_SUITE]
    accuracy = {(cell.system_id, cell.task): cell for cell in here if cell.metric == "accuracy"}
    means = {cell.system_id: cell for cell in here if cell.metric == MEAN}
    scored = [task.name for task in tasks if task.role == "scored"]
    rows = []
    for pk, system in systems.items():
        own = [accuracy.get((pk, task.name)) for task in tasks]
        if any(own):
            have = sum((pk, name) in accuracy for name in scored)
            rows.append(
                ArenaRow(
                    label=system.label,
                    url=reverse("model", args=[system.model.slug]),
                    mark=mark_of(pk),
                    cells=tuple(_cell(cell) for cell in own),
                    mean=_cell(means.get(pk)).quantity,
                    partial="" if pk in means else f"{have} of {len(scored)} tasks",
                )
            )
    return Arena(
        hardware=tuple((slug, machine.title, machine == chosen) for slug, machine in machines.items()),
        tasks=tuple((task.title, f"{board}?hardware={chosen.slug}&task={task.name}") for task in tasks),
        mean_url=f"{board}?hardware={chosen.slug}&task={WHOLE_SUITE}",
        rows=tuple(sorted(rows, key=lambda row: (row.mean is None, -row.mean.number if row.mean else 0, row.label))),
        speeds=tuple(table for metric in RATES if (table := _speeds(metric, here, systems)) is not None),
    )


def _speeds(metric: str, cells: list[Cell], systems: Mapping[int, System]) -> SpeedTable | None:
    """The clock's rates at every length that it was read at; fastest at the longest first."""
    found = {(c.system_id, c.context_length): c for c in cells if c.task == "speed" and c.metric == metric}
    lengths = sorted({length for _, length in found})
    if not lengths:
        return None

    def order(pk: int) -> tuple[float, ...]:
        return tuple(-found[pk, n].value if (pk, n) in found else 0.0 for n in reversed(lengths))

    return SpeedTable(
        title=METRICS[metric].title,
        lengths=tuple(length_label(n) for n in lengths),
        rows=tuple(
            (
                systems[pk].label,
                reverse("model", args=[systems[pk].model.slug]),
                mark_of(pk),
                tuple(_rate(found.get((pk, n))) for n in lengths),
            )
            for pk in sorted({pk for pk, _ in found}, key=order)
        ),
    )


def _rate(cell: Cell | None) -> ArenaCell:
    """In millions a second, the unit in the table's summary: six lengths with intervals fit a screen."""
    if cell is None:
        return ArenaCell(None, "")
    value, low, high = (rate / 1e6 for rate in (cell.value, cell.ci_low, cell.ci_high))
    return ArenaCell(quantity(value, low, high, n=cell.n, unit="1"), reverse("run", args=[cell.last_run_id]))


def _cell(cell: Cell | None) -> ArenaCell:
    if cell is None:
        return ArenaCell(None, "")
    number = quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit)
    return ArenaCell(number, reverse("run", args=[cell.last_run_id]))
