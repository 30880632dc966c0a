"""The newest numbers, for the home page."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q
from django.urls import reverse

from longboard.boards.board_rows import model_url
from longboard.boards.metrics import METRICS
from longboard.boards.models import Cell
from longboard.quantities import Quantity, length_label, quantity
from longboard.results.dates import measured_at


@dataclass(frozen=True, slots=True)
class LatestResult:
    system: str
    model_url: str
    what: str
    quantity: Quantity
    run_url: str
    measured: str  # the day
    received: str


def latest_results(*, most: int = 8) -> list[LatestResult]:
    """The headline numbers that came last. Two statements."""
    cells = (
        Cell.objects.filter(Q(metric="accuracy") | Q(metric="ttft_ms"))
        .select_related("system__model", "system__method", "suite", "hardware")
        .order_by("-updated_at", "-pk")[:most]
    )
    measured = measured_at(cell.last_run_id for cell in cells)
    return [
        LatestResult(
            system=cell.system.label,
            model_url=model_url(cell.system.model.slug),
            what=f"{METRICS[cell.metric].title}, {cell.suite.label} {cell.task} at {length_label(cell.context_length)} "
            f"on {cell.hardware.title}",
            quantity=quantity(cell.value, cell.ci_low, cell.ci_high, n=cell.n, unit=cell.unit),
            run_url=reverse("run", args=[cell.last_run_id]),
            measured=f"{measured[cell.last_run_id]:%Y-%m-%d}" if cell.last_run_id in measured else "",
            received=f"{cell.updated_at:%Y-%m-%d %H:%M}",
        )
        for cell in cells
    ]
