"""A board for scripts: the same Columns, ranks and front as the page."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router

from longboard.api.schemas.base import Error
from longboard.api.schemas.boards import BoardOut, BoardRow
from longboard.boards.api_board import Standing, standings
from longboard.boards.board_view import find_task, rankable_metrics
from longboard.boards.metrics import board_info, cost_task, costs_of, default_metric
from longboard.boards.prices import PRICE_FIELDS, price_of
from longboard.boards.sources import CostPlace, key_of
from longboard.errors import BadRequest, NotFound
from longboard.fleet.models import Hardware
from longboard.registry.models import Suite
from longboard.registry.suites import suite_info
from longboard_tasks.contract import TrustLevel

router = Router(tags=["people"])

MOST = 1_000
NOT_FOUND: dict[int, Any] = dict.fromkeys((400, 404, 422), Error)


@router.get("/boards/{suite}", response={200: BoardOut, **NOT_FOUND})
def read_board(
    request: HttpRequest,
    suite: str,
    context_length: Annotated[int, Query(ge=1, lt=2**31)],
    hardware: str,
    task: str = "",
    metric: str = "",
    cost_metric: str = "",
    trust: TrustLevel = "measured",
) -> Any:
    """The front of one suite at one context length on one hardware: every System with both numbers, best first, 1,000 at most.

    `task=all` is the mean over the whole suite. `trust` is the least that a row must have: numbers that their author reported
    come only with `self-reported`, and each row says what it is.
    """
    row = Suite.objects.filter(name=suite.replace("\x00", ""), kind="accuracy", is_current=True).first()
    if row is None:
        raise NotFound(f'There is no accuracy suite "{suite}".', field="suite")
    info = board_info(suite_info(row))
    chosen = find_task(info, task)
    if task and chosen.name != task:
        raise BadRequest(
            f'Task "{task}" is not in {info.label}. It has: {", ".join(t.name for t in info.tasks)}.', field="task"
        )
    metrics = rankable_metrics(chosen)
    if metric and metric not in metrics:
        raise BadRequest(f'"{chosen.name}" is not ranked by "{metric}". It has: {", ".join(metrics)}.', field="metric")
    costs = costs_of(info)
    if cost_metric and cost_metric not in costs:
        raise BadRequest(
            f'Cost metric "{cost_metric}" is not known. There are: {", ".join(costs)}.', field="cost_metric"
        )
    cost_metric = cost_metric or costs[0]
    device = Hardware.objects.filter(slug=hardware.replace("\x00", "")).first()
    if device is None:
        raise NotFound(f'Hardware "{hardware}" is not known.', field="hardware")
    measured = row if info.trains else Suite.objects.filter(kind="efficiency", is_current=True).order_by("pk").first()
    metric = metric or default_metric(info, chosen)
    found = standings(
        key_of(row.pk, info, chosen.name, metric),
        cost=cost_metric,
        price=price_of(*(getattr(device, name) for name in PRICE_FIELDS)),
        cost_place=CostPlace(measured.pk if measured else 0, cost_task(info, chosen.name)),
        hardware_id=device.pk,
        length=context_length,
        trust=trust,
        most=MOST,
    )
    return BoardOut(
        suite=row.label,
        task=chosen.name,
        metric=metric,
        cost_metric=cost_metric,
        context_length=context_length,
        hardware=device.slug,
        rows=[_row(line) for line in found],
    )


def _row(line: Standing) -> BoardRow:
    return BoardRow(
        system=line.facts.slug,
        label=line.facts.label,
        model=line.facts.model_slug,
        **dict(zip(("gain", "gain_low", "gain_high", "gain_n"), line.gain, strict=True)),
        **dict(zip(("cost", "cost_low", "cost_high", "cost_n"), line.cost, strict=True)),
        rank_best=line.rank_best,
        rank_worst=line.rank_worst,
        on_front=line.on_front,
        front_probability=line.probability,
        trust=line.trust,
        cost_trust=line.cost_trust,
    )
