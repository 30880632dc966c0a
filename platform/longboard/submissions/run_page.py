"""One Run: how far it is, and all that was handed in for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils import timezone

from longboard.quantities import Quantity, count_text, duration_text, length_label, percent_text, quantity
from longboard.registry.suites import suite_info
from longboard.results.dates import measured_by
from longboard.results.models import Bundle, Measurement
from longboard.submissions.curves import Curves, curves_of
from longboard.submissions.failures import FAILURE_WORDS, WHO_CAN_ACT
from longboard.submissions.models import Attempt, Run
from longboard.submissions.picking import queue_place
from longboard.submissions.run_lists import percent_of, what_of
from longboard_tasks.catalogue.metrics import METRICS

LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class AttemptLine:
    number: int
    node: str
    node_url: str
    leased: str
    ended: str
    outcome: str
    message: str


@dataclass(frozen=True, slots=True)
class MeasurementLine:
    task: str
    metric: str
    depth: str
    quantity: Quantity
    trust: str


@dataclass(frozen=True, slots=True)
class LiveRun:
    """What changes while a Run is under way: the region that is polled."""

    id: UUID
    url: str
    state: str
    is_final: bool
    done: int
    total: int
    percent: int
    tokens: str
    eta: str
    note: str
    queue_place: int  # 1 is next; 0: not queued
    failure: str
    failure_class: str
    who_can_act: str
    attempts: tuple[AttemptLine, ...]
    log: str
    log_skipped: int


@dataclass(frozen=True, slots=True)
class RunPage:
    run: Run
    live: LiveRun
    title: str
    system: str
    model_url: str
    submission_url: str
    author: str
    hardware: str
    hardware_url: str
    pool: str
    length: str
    tasks: str
    samples_are: str
    times: tuple[tuple[str, str], ...]
    measurements: tuple[MeasurementLine, ...]
    curves: Curves | None
    bundle: Bundle | None
    without_rates: str  # why a training states no rate
    manifest: tuple[tuple[str, str], ...]
    may_cancel: bool
    may_rerun: bool


def find_run(run_id: UUID) -> Run | None:
    return (
        Run.objects.select_related("submission__author", "system__model", "system__method", "suite", "pool__hardware")
        .filter(pk=run_id)
        .first()
    )


def live_run(run: Run) -> LiveRun:
    """Two statements: its Attempts, and its place in the queue while it is queued."""
    attempts = list(run.attempts.select_related("node"))
    last = attempts[-1] if attempts else None
    gap = f"\n[... {last.log_skipped_bytes} bytes left out ...]\n" if last and last.log_skipped_bytes else ""
    log = last.log_head + gap + last.log_tail if last else ""
    return LiveRun(
        id=run.pk,
        url=reverse("run", args=[run.pk]),
        state=run.state,
        is_final=run.is_final,
        done=run.done,
        total=run.total or run.samples * len(run.tasks),
        percent=percent_of(run),
        tokens=count_text(run.tokens) if run.tokens else "",
        eta=duration_text(run.eta_s) if run.eta_s is not None and not run.is_final else "",
        note=run.progress_note,
        queue_place=queue_place(run, timezone.now()) or 0,
        failure=run.failure_message,
        failure_class=FAILURE_WORDS.get(run.failure_class, run.failure_class),
        who_can_act=WHO_CAN_ACT.get(run.failure_class, "") if run.is_final else "",
        attempts=tuple(_attempt_line(attempt) for attempt in attempts),
        log="\n".join(log.splitlines()[-LOG_LINES:]),
        log_skipped=last.log_skipped_bytes if last else 0,
    )


def _attempt_line(attempt: Attempt) -> AttemptLine:
    return AttemptLine(
        number=attempt.number,
        node=attempt.node.name,
        node_url=reverse("node", args=[attempt.node_id]),
        leased=f"{attempt.leased_at:%Y-%m-%d %H:%M:%S} UTC",
        ended=f"{attempt.closed_at:%Y-%m-%d %H:%M:%S} UTC" if attempt.closed_at else "",
        outcome=attempt.get_closed_as_display(),
        message=attempt.failure_message,
    )


def run_page(run: Run, viewer: Any) -> RunPage:
    """A Run with all that was handed in for it. Four statements more than `find_run`."""
    may_steer = viewer.is_authenticated and (viewer.is_staff or viewer.pk == run.submission.author_id)
    bundle = Bundle.objects.filter(attempt__run=run).order_by("-pk").defer("payload_gz").select_related("node").first()
    return RunPage(
        run=run,
        live=live_run(run),
        title=f"{what_of(run)} at {length_label(run.context_length)} tokens",
        system=run.system.label,
        model_url=reverse("model", args=[run.system.model.slug]),
        submission_url=reverse("submission", args=[run.submission_id]),
        author=run.submission.author.username,
        hardware=run.pool.hardware.title,
        hardware_url=reverse("hardware", args=[run.pool.hardware.slug]),
        pool=run.pool.title,
        length=f"{run.context_length:,}",
        tasks=", ".join(run.tasks),
        samples_are="Trainings" if suite_info(run.suite).trains else "Samples",
        times=_times(run, bundle),
        measurements=tuple(_measurement_line(m) for m in run.measurements.order_by("task", "metric", "depth")),
        curves=curves_of(run),
        bundle=bundle,
        without_rates=str(bundle.manifest.get("settings", {}).get("rates", "")) if bundle else "",
        manifest=manifest_lines(bundle.manifest) if bundle else (),
        may_cancel=may_steer and not run.is_final,
        may_rerun=may_steer and run.is_final,
    )


def _times(run: Run, bundle: Bundle | None) -> tuple[tuple[str, str], ...]:
    """By our own clock, but for what a bundle says of its Run: when it began on its node and how long it took there."""
    measured = measured_by(bundle.manifest) if bundle else None
    moments: tuple[tuple[str, datetime | None], ...]
    if bundle and measured:
        moments = (("Submitted", run.created_at), ("Measured", measured), ("Received", bundle.received_at))
        took = float(bundle.manifest["wall_s"])
    else:
        moments = (("Submitted", run.created_at), ("Started", run.started_at), ("Finished", run.finished_at))
        took = (run.finished_at - run.started_at).total_seconds() if run.started_at and run.finished_at else 0.0
    lines = [(name, f"{at:%Y-%m-%d %H:%M:%S} UTC") for name, at in moments if at]
    return (*lines, ("Took", duration_text(took))) if took else tuple(lines)


def _measurement_line(row: Measurement) -> MeasurementLine:
    return MeasurementLine(
        task=row.task,
        metric=METRICS[row.metric].title if row.metric in METRICS else row.metric,
        depth="" if row.depth is None else percent_text(row.depth),
        quantity=quantity(row.value, row.ci_low, row.ci_high, n=row.n, unit=row.unit),
        trust=row.trust,
    )


def manifest_lines(manifest: Mapping[str, Any], prefix: str = "") -> tuple[tuple[str, str], ...]:
    """The manifest flat: one line a value, nested names joined by dots."""
    lines: list[tuple[str, str]] = []
    for name, value in manifest.items():
        if isinstance(value, dict):
            lines += manifest_lines(value, f"{prefix}{name}.")
        elif value not in (None, ""):
            lines.append((prefix + name, value if isinstance(value, str) else json.dumps(value)))
    return tuple(lines)
