"""Reads of hardware, pools and nodes, ready for templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Q
from django.urls import reverse

from longboard.boards.models import Cell
from longboard.fleet.models import Hardware, Node, Pool
from longboard.literature.measurements import load_tables
from longboard.quantities import ago_text, duration_text, length_label
from longboard.submissions.models import Attempt, Run
from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.sizes import bytes_text


@dataclass(frozen=True, slots=True)
class NodeLine:
    name: str
    url: str
    state: str
    is_alive: bool
    has_ended: bool  # revoked: nobody waits for it
    seen: str
    device: str
    owner: str


@dataclass(frozen=True, slots=True)
class PoolLine:
    pool: Pool
    owner: str
    nodes: tuple[NodeLine, ...]
    alive: int
    queued: int
    held: int
    may_enrol: bool


@dataclass(frozen=True, slots=True)
class HardwareLine:
    url: str
    title: str
    kind: str
    memory: str
    pools: int
    nodes: int
    alive: int
    numbers: str


@dataclass(frozen=True, slots=True)
class HardwarePage:
    hardware: Hardware
    facts: tuple[tuple[str, str], ...]
    pools: tuple[PoolLine, ...]
    places: tuple[tuple[str, str, str, int], ...]  # suite, length, board's address, Systems
    tables: tuple[tuple[str, str], ...]  # of whole models' speed on this device: title, address


def hardware_lines(now: datetime) -> list[HardwareLine]:
    """Three statements."""
    nodes = list(Node.objects.select_related("pool").exclude(state=Node.State.REVOKED))
    numbers = dict(Cell.objects.values_list("hardware").annotate(Count("pk")).order_by())
    rows = Hardware.objects.annotate(pool_count=Count("pools"))
    return [
        HardwareLine(
            url=reverse("hardware", args=[row.slug]),
            title=row.title,
            kind=row.get_kind_display(),
            memory=bytes_text(row.memory_bytes),
            pools=row.pool_count,
            nodes=sum(n.pool.hardware_id == row.pk for n in nodes),
            alive=sum(n.pool.hardware_id == row.pk and n.is_alive(now) for n in nodes),
            numbers=f"{numbers.get(row.pk, 0):,}",
        )
        for row in rows
    ]


def hardware_page(slug: str, viewer: Any, now: datetime) -> HardwarePage | None:
    hardware = Hardware.objects.filter(slug=slug).first()
    if hardware is None:
        return None
    cells = Cell.objects.filter(hardware=hardware, suite__kind="accuracy", suite__is_current=True, metric="accuracy")
    trained = {name: {task.name: task for task in info.tasks} for name, info in SUITES.items() if info.trains}
    of_length = ("suite__name", "suite__title", "context_length")
    # Tasks with a length each have a board each; of other suites a System counts once, however many tasks it has.
    whole = cells.exclude(suite__name__in=trained).values_list(*of_length)
    single = cells.filter(suite__name__in=trained).values_list(*of_length, "task")
    places = {(name, title, length, ""): count for name, title, length, count in _systems(whole)}
    for name, title, length, task, count in _systems(single):
        if (own := trained[name].get(task)) is not None and own.role != "unranked":
            places[name, f"{title}: {own.title}", length, f"&task={task}"] = count
    return HardwarePage(
        hardware=hardware,
        facts=_facts(hardware),
        pools=tuple(pool_lines(Pool.objects.filter(hardware=hardware), viewer, now)),
        places=tuple(
            (title, length_label(n), f"{reverse('board', args=[name])}?hardware={slug}&length={n}{task}", count)
            for (name, title, n, task), count in sorted(places.items())
        ),
        tables=tuple(
            (table.title, reverse("efficiency-table", args=[slug]))
            for slug, table in load_tables().items()
            if table.device == hardware.title
        ),
    )


def _systems(grouped: Any) -> Any:
    """The groups, each with its number of Systems."""
    return grouped.annotate(Count("system", distinct=True)).order_by()


def pool_lines(pools: Any, viewer: Any, now: datetime) -> list[PoolLine]:
    """Pools with their nodes and queues, those that take work now first. Three statements."""
    rows = list(pools.select_related("owner", "hardware").prefetch_related("nodes__owner"))
    queues: dict[tuple[int, str], int] = Counter()
    for pool_id, state, count in (
        Run.objects.filter(Q(state=Run.State.QUEUED) | Q(state__in=Run.HELD), pool__in=rows)
        .values_list("pool", "state")
        .annotate(Count("pk"))
        .order_by()
    ):
        queues[pool_id, "queued" if state == Run.State.QUEUED else "held"] += count
    lines = []
    for pool in rows:
        nodes = tuple(_node_line(node, now) for node in pool.nodes.all())
        lines.append(
            PoolLine(
                pool=pool,
                owner=pool.owner.username if pool.owner else "Longboard" if pool.is_first_party else "",
                nodes=nodes,
                alive=sum(node.is_alive for node in nodes),
                queued=queues[pool.pk, "queued"],
                held=queues[pool.pk, "held"],
                may_enrol=viewer.is_authenticated and (viewer.is_staff or viewer.pk == pool.owner_id),
            )
        )
    return sorted(lines, key=lambda line: line.alive == 0)


def _node_line(node: Node, now: datetime) -> NodeLine:
    report = node.report
    return NodeLine(
        name=node.name,
        url=reverse("node", args=[node.pk]),
        state=node.get_state_display(),
        is_alive=node.state != Node.State.REVOKED and node.is_alive(now),
        has_ended=node.state == Node.State.REVOKED,
        seen=ago_text(node.last_seen_at, now) if node.last_seen_at else "",
        device=_device_text(report),
        owner=node.owner.username if node.owner else "",
    )


def _device_text(report: Mapping[str, Any]) -> str:
    """What a node computes with: its accelerator, where it has one, then the processor beside it."""
    device, cpu = report.get("device", ""), report.get("cpu", "")
    host = f"{cpu or device}, {report.get('cores', '?')} cores"
    return f"{device}; {host}" if report.get("kind") == "cuda" else host


@dataclass(frozen=True, slots=True)
class WorkLine:
    """An Attempt in a node's history."""

    run_url: str
    what: str
    system: str
    taken: str
    took: str
    outcome: str
    message: str


@dataclass(frozen=True, slots=True)
class NodePage:
    node: Node
    line: NodeLine
    is_alive: bool
    now: tuple[WorkLine, ...]
    history: tuple[WorkLine, ...]
    counts: tuple[tuple[str, int], ...]  # how its Attempts ended
    facts: tuple[tuple[str, str], ...]
    self_test: tuple[tuple[str, str], ...]
    software: tuple[tuple[str, str], ...]
    states: tuple[tuple[str, str], ...]  # (state, word on the button) that the viewer may put it in


HISTORY = 50


def node_page(node_id: UUID, viewer: Any, now: datetime) -> NodePage | None:
    """A node: alive or not, what it runs, what it ran, and how that ended. Three statements."""
    node = Node.objects.select_related("pool__hardware", "pool__owner", "owner").filter(pk=node_id).first()
    if node is None:
        return None
    attempts = list(
        node.attempts.select_related("run__suite", "run__system__model", "run__system__method").order_by(
            "-leased_at", "-pk"
        )[:HISTORY]
    )
    lines = [(attempt, _work_line(attempt)) for attempt in attempts]
    counts = node.attempts.order_by("closed_as").values_list("closed_as").annotate(Count("pk"))
    words = dict(Attempt.ClosedAs.choices)
    return NodePage(
        node=node,
        line=_node_line(node, now),
        is_alive=node.state != Node.State.REVOKED and node.is_alive(now),
        now=tuple(line for attempt, line in lines if attempt.closed_as == Attempt.ClosedAs.OPEN),
        history=tuple(line for attempt, line in lines if attempt.closed_as != Attempt.ClosedAs.OPEN),
        counts=tuple((words[closed_as], count) for closed_as, count in counts),
        facts=_plain(node.report) + (("public key", node.public_key),),
        self_test=_plain(node.self_test),
        software=_plain(node.software),
        states=_states_for(node, viewer),
    )


def _work_line(attempt: Attempt) -> WorkLine:
    run = attempt.run
    seconds = (attempt.closed_at - attempt.leased_at).total_seconds() if attempt.closed_at else None
    return WorkLine(
        run_url=reverse("run", args=[run.pk]),
        what=f"{run.suite.label} at {length_label(run.context_length)}, attempt {attempt.number}",
        system=run.system.label,
        taken=f"{attempt.leased_at:%Y-%m-%d %H:%M:%S} UTC",
        took=duration_text(seconds) if seconds is not None else "",
        outcome=attempt.get_closed_as_display(),
        message=attempt.failure_message,
    )


def _states_for(node: Node, viewer: Any) -> tuple[tuple[str, str], ...]:
    if not viewer.is_authenticated or node.state == Node.State.REVOKED:
        return ()
    if not (viewer.is_staff or viewer.pk in (node.owner_id, node.pool.owner_id)):
        return ()
    state = Node.State
    choices = {
        state.PENDING: ((state.ACTIVE, "Approve"),),
        state.ACTIVE: ((state.PAUSED, "Pause"), (state.DRAINING, "Drain and stop")),
        state.PAUSED: ((state.ACTIVE, "Resume"),),
        state.DRAINING: ((state.ACTIVE, "Resume"),),
    }[state(node.state)]
    return (*choices, ("end-tokens", "End its tokens"), (state.REVOKED, "Revoke for good"))


def _plain(values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", " "), str(value)) for name, value in values.items() if value not in (None, ""))


def _facts(hardware: Hardware) -> tuple[tuple[str, str], ...]:
    facts = (
        ("Kind", hardware.get_kind_display()),
        ("Memory", bytes_text(hardware.memory_bytes)),
        ("Peak, dense bf16", f"{hardware.peak_flops / 1e12:,.0f} TFLOP/s" if hardware.peak_flops else ""),
        (
            "Memory bandwidth",
            f"{hardware.bandwidth_bytes_per_s / 1e12:.3g} TB/s" if hardware.bandwidth_bytes_per_s else "",
        ),
        (
            "Price",
            ""
            if hardware.usd_per_hour is None
            else f"{hardware.usd_per_hour:,.4g} USD an hour ({hardware.price_source}"
            f"{f', {hardware.price_day:%Y-%m-%d}' if hardware.price_day else ''})",
        ),
    )
    return tuple((name, value) for name, value in facts if value)
