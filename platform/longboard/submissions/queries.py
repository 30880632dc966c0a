"""Reads of submissions and runs, ready for templates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from longboard.accounts.models import User
from longboard.quantities import Quantity, ago_text, count_text, duration_text, length_label, percent_text, quantity
from longboard.registry.suites import suite_info
from longboard.results.dates import measured_at, measured_by
from longboard.results.models import Bundle, Measurement, Sample
from longboard.submissions.curves import Curves, curves_of
from longboard.submissions.models import Attempt, Run, Submission
from longboard.submissions.picking import queue_place
from longboard_tasks.catalogue.metrics import METRICS

SAMPLES_PER_PAGE = 25
LOG_LINES = 200
LISTED_RUNS = 200

FAILURE_WORDS = {
    "bad_input": "bad input",
    "oom": "out of memory",
    "timeout": "time limit",
    "model_error": "model error",
    "node_error": "node error",
    "lost": "node lost",
    "cancelled": "cancelled",
    "disk_full": "disk full",
}
WHO_CAN_ACT = {
    "bad_input": "its author. Change the request and submit again.",
    "oom": "its author. Choose a shorter context, a smaller budget, or a pool with more memory.",
    "timeout": "its author. Ask for fewer samples or a shorter context, or choose a faster pool.",
    "model_error": "its author. The model itself failed on this input: see the last log lines.",
    "node_error": "the node's owner. The machine or its software failed; afterwards, run it again.",
    "lost": "the node's owner. The machine stopped answering; afterwards, run it again.",
    "disk_full": "the node's owner. Free some disk space there; afterwards, run it again.",
    "cancelled": "its author. Run it again whenever it suits.",
}


# --- Lists of runs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunLine:
    """A Run in a list."""

    id: UUID
    url: str
    what: str  # suite at length
    system: str
    pool: str
    state: str
    is_final: bool
    progress: str
    percent: int
    note: str  # failure in words
    when: str  # it was measured; without a result: it ended, began or was asked for


def run_lines(runs: QuerySet[Run], now: datetime) -> list[RunLine]:
    rows = list(runs.select_related("suite", "pool", "system__model", "system__method"))
    measured = measured_at(run.pk for run in rows if run.state == Run.State.ACCEPTED)
    return [
        RunLine(
            id=run.pk,
            url=reverse("run", args=[run.pk]),
            what=f"{what_of(run)} at {length_label(run.context_length)}",
            system=run.system.label,
            pool=run.pool.title,
            state=run.state,
            is_final=run.is_final,
            progress=f"{run.done} of {run.total}" if run.total and not run.is_final else "",
            percent=_percent(run),
            note=FAILURE_WORDS.get(run.failure_class, run.failure_class),
            when=ago_text(measured.get(run.pk) or run.finished_at or run.started_at or run.created_at, now),
        )
        for run in rows
    ]


def what_of(run: Run) -> str:
    """The suite; of one that trains, with its task, which each Run has one of."""
    return f"{run.suite.label}/{run.tasks[0]}" if suite_info(run.suite).trains else run.suite.label


def latest_runs(runs: QuerySet[Run], now: datetime, *, most: int = 20) -> list[RunLine]:
    return run_lines(runs.order_by("-created_at", "-pk")[:most], now)


def _percent(run: Run) -> int:
    if run.state == Run.State.ACCEPTED:
        return 100
    return min(100, 100 * run.done // run.total) if run.total else 0


# --- A submission ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubmissionLine:
    url: str
    system: str
    state: str
    when: str
    note: str


@dataclass(frozen=True, slots=True)
class SubmissionPage:
    id: UUID
    url: str
    system: str
    model_url: str
    author: str
    note: str
    created: str
    state: str
    is_final: bool
    runs: tuple[RunLine, ...]
    counts: tuple[tuple[str, int], ...]
    may_steer: bool
    can_cancel: bool


def submission_page(submission_id: UUID, viewer: Any, now: datetime) -> SubmissionPage | None:
    row = (
        Submission.objects.select_related("author", "system__model", "system__method").filter(pk=submission_id).first()
    )
    if row is None:
        return None
    lines = run_lines(row.runs.order_by("created_at", "context_length", "pk")[:LISTED_RUNS], now)
    counts = Counter(line.state for line in lines)
    may_steer = viewer.is_authenticated and (viewer.is_staff or viewer.pk == row.author_id)
    return SubmissionPage(
        id=row.pk,
        url=reverse("submission", args=[row.pk]),
        system=row.system.label,
        model_url=reverse("model", args=[row.system.model.slug]),
        author=row.author.username,
        note=row.note,
        created=f"{row.created_at:%Y-%m-%d %H:%M} UTC",
        state=state_of(counts),
        is_final=all(line.is_final for line in lines),
        runs=tuple(lines),
        counts=tuple((state, counts[state]) for state in Run.State.values if counts[state]),
        may_steer=may_steer,
        can_cancel=may_steer and any(not line.is_final for line in lines),
    )


def state_of(counts: Mapping[str, int]) -> str:
    """A submission in a word: the state of its Runs together."""
    total, accepted = sum(counts.values()), counts.get(Run.State.ACCEPTED, 0)
    open_runs = sum(count for state, count in counts.items() if state not in Run.FINAL)
    if open_runs == total == counts.get(Run.State.QUEUED, 0):
        return "queued"
    if open_runs:
        return f"running, {total - open_runs} of {total} finished"
    if accepted == total:
        return "finished"
    return f"finished, {accepted} of {total} with a result"


def submissions_of(user: User, now: datetime, *, most: int = 50) -> list[SubmissionLine]:
    rows = user.submissions.select_related("system__model", "system__method").prefetch_related("runs")[:most]
    return [
        SubmissionLine(
            url=reverse("submission", args=[row.pk]),
            system=row.system.label,
            state=state_of(Counter(run.state for run in row.runs.all())),
            when=ago_text(row.created_at, now),
            note=row.note,
        )
        for row in rows
    ]


# --- A run -----------------------------------------------------------------------------------------------------------


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
        percent=_percent(run),
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


# --- Samples ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SampleLine:
    task: str
    index: int
    depth: str
    target: str
    answer: str
    score: str
    is_right: bool
    truncated: bool
    prompt_tail: str
    prompt_tokens: str
    prompt_sha256: str


@dataclass(frozen=True, slots=True)
class SamplePage:
    samples: tuple[SampleLine, ...]
    depths: tuple[tuple[str, str, bool], ...]  # text, url, chosen
    only: tuple[tuple[str, str, bool], ...]
    next_url: str
    first_url: str
    is_first: bool
    narrowed: str  # "at depth 50%", in words


def sample_page(run: Run, *, after: str, depth: str, only: str) -> SamplePage:
    """A page of a Run's samples, by key (task, index) so that page 400 costs what page 1 does. Two statements."""
    base = reverse("run", args=[run.pk])
    rows = Sample.objects.filter(run=run)
    depths = sorted({d for d in rows.order_by().values_list("depth", flat=True).distinct() if d is not None})
    chosen = next((d for d in depths if f"{d:g}" == depth), None)
    if chosen is not None:
        rows = rows.filter(depth=chosen)
    if only == "wrong":
        rows = rows.filter(score__lt=1)
    task, _, index = after.rpartition(":")
    if task and index.isascii() and index.isdecimal() and len(index) < 10:
        rows = rows.filter(Q(task__gt=task) | Q(task=task, index__gt=int(index)))
    page = list(rows.order_by("task", "index")[: SAMPLES_PER_PAGE + 1])

    def url(*, after: str = "", depth: str = "" if chosen is None else f"{chosen:g}", only: str = only) -> str:
        given = [(k, v) for k, v in (("after", after), ("depth", depth), ("only", only)) if v]
        return f"{base}?{'&'.join(f'{k}={v}' for k, v in given)}#samples" if given else f"{base}#samples"

    only = "wrong" if only == "wrong" else ""
    last = page[SAMPLES_PER_PAGE - 1] if len(page) > SAMPLES_PER_PAGE else None
    return SamplePage(
        samples=tuple(_sample_line(s) for s in page[:SAMPLES_PER_PAGE]),
        depths=(
            (("all depths", url(depth="", only=only), chosen is None),)
            + tuple((percent_text(d), url(depth=f"{d:g}", only=only), d == chosen) for d in depths)
            if depths
            else ()
        ),
        only=(("all", url(only=""), not only), ("wrong ones", url(only="wrong"), bool(only))),
        next_url=url(after=f"{last.task}:{last.index}", only=only) if last else "",
        first_url=url(only=only),
        is_first=not after,
        narrowed=f"at depth {percent_text(chosen)}" if chosen is not None else "",
    )


def _sample_line(row: Sample) -> SampleLine:
    return SampleLine(
        task=row.task,
        index=row.index,
        depth="" if row.depth is None else percent_text(row.depth),
        target=row.target,
        answer=row.answer,
        score=f"{row.score:.2f}".rstrip("0").rstrip("."),
        is_right=row.score >= 1,
        truncated=row.truncated,
        prompt_tail=row.prompt_tail,
        prompt_tokens=f"{row.prompt_tokens:,}",
        prompt_sha256=row.prompt_sha256,
    )
