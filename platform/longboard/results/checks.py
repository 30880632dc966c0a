"""Does a bundle check out? Pure: everything that the bundle and the Run alone can tell. Raises BundleRefused.

A node's own scores are never believed: the targets follow from (suite version, task, length, seed, index), so each score
and each accuracy is worked out again here from the uploaded answers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Protocol

from longboard.results.roofline import Roof, too_fast
from longboard_tasks.catalogue.metrics import METRICS, SOMETIMES_ABSENT
from longboard_tasks.contract import (
    HardwareReport,
    Measurement,
    ResultBundle,
    RunSpec,
    SampleRecord,
    samples_root,
)
from longboard_tasks.intervals import wilson
from longboard_tasks.suites.babilong import plan as babilong_plan
from longboard_tasks.suites.babilong import scoring as babilong_scoring
from longboard_tasks.suites.kv import plan as kv_plan
from longboard_tasks.suites.kv import scoring as kv_scoring
from longboard_tasks.suites.lra import plan as lra_plan
from longboard_tasks.suites.lra.summary import accuracy_interval
from longboard_tasks.suites.lra.tasks import RECIPES, SPEED
from longboard_tasks.suites.niah import plan as niah_plan
from longboard_tasks.suites.niah import scoring as niah_scoring
from longboard_tasks.suites.recall import plan as recall_plan
from longboard_tasks.suites.recall import scoring as recall_scoring

TOLERANCE = 1e-9
CLOCK_AHEAD = timedelta(days=1)  # of a node, at most: a time zone taken for another is not worth hours of a GPU


class BundleRefused(Exception):
    """The bundle does not check out; the message says which field of it and why."""


class Expected(Protocol):
    @property
    def target(self) -> str: ...
    @property
    def depth(self) -> float | None: ...


class Expect(Protocol):
    """What sample `index` of a Run asks: follows from these alone, no tokenizer, no prose."""

    def __call__(self, task: str, *, context_length: int, seed: int, index: int) -> Expected: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """How to work out one suite version's scores from the answers alone."""

    expect: Expect
    score: Callable[[str, str, str], float]  # (task, answer, target)
    # Further columns of the same answers, such as an official scorer with its known faults.
    secondary: Callable[[str, str, str], dict[str, float]] = lambda task, answer, target: {}


ANSWERS = {
    ("niah", 1): Answers(niah_plan.expected, niah_scoring.score),
    ("babilong", 1): Answers(babilong_plan.expected, babilong_scoring.score, babilong_scoring.secondary),
    ("kv", 1): Answers(kv_plan.expected, kv_scoring.score),
    ("recall", 1): Answers(recall_plan.expected, recall_scoring.score, recall_scoring.secondary),
}


def check_bundle(
    *,
    bundle: ResultBundle,
    run: RunSpec,
    definition: dict,
    hardware: HardwareReport,
    now: datetime,
    roof: Roof | None = None,
) -> None:
    """Raises BundleRefused for the first thing that is wrong. `definition`: the suite's as stored with its version.

    `hardware` is the node's own report of its enrolment; `roof` what the pool's hardware can do at most.
    """
    started = bundle.manifest.started_at
    if (started if started.tzinfo else started.replace(tzinfo=UTC)) > now + CLOCK_AHEAD:
        raise BundleRefused(
            f"manifest/started_at: {started:%Y-%m-%d %H:%M} has not come yet; set the node's clock and measure again."
        )
    # Limits bound the work and are no part of what was asked: a site may have changed its own since.
    asked = [name for name in RunSpec.model_fields if name != "limits"]
    if changed := [name for name in asked if getattr(bundle.run, name) != getattr(run, name)]:
        raise BundleRefused(
            f"run: the bundle is about another run than the one leased (differs in {', '.join(changed)})."
        )
    if not bundle.measurements:
        raise BundleRefused("measurements: there are none.")
    allowed = {task["name"]: set(task["metrics"]) for task in definition["tasks"]}
    seen: set[tuple[str, str, float | None]] = set()
    for at, measurement in enumerate(bundle.measurements):
        where = f"measurements/{at}"
        if measurement.task not in run.tasks or measurement.metric not in allowed.get(measurement.task, ()):
            raise BundleRefused(f"{where}: {measurement.task}/{measurement.metric} is not part of this run.")
        if measurement.context_length != run.context_length:
            raise BundleRefused(
                f"{where}: context length {measurement.context_length}, but the run has {run.context_length}."
            )
        if measurement.unit != METRICS[measurement.metric].unit:
            raise BundleRefused(
                f"{where}: {measurement.metric} is in {METRICS[measurement.metric].unit}, not {measurement.unit}."
            )
        key = (measurement.task, measurement.metric, measurement.depth)
        if key in seen:
            raise BundleRefused(f"{where}: {measurement.task}/{measurement.metric} stands there twice.")
        seen.add(key)
    absent = SOMETIMES_ABSENT
    if definition.get("trains") and bundle.manifest.settings.get("rates"):  # says why it states none
        absent = absent | {name for name, metric in METRICS.items() if metric.unit == "tokens/s"}
    wanted = {(task, metric) for task in run.tasks for metric in allowed[task] - absent}
    missing = wanted - {(task, metric) for task, metric, _ in seen}
    if missing:
        raise BundleRefused(f"measurements: {', '.join(sorted(f'{t}/{m}' for t, m in missing))} missing.")
    if definition.get("trains"):
        _check_training(bundle, run)
        _check_physics(bundle, hardware)
    elif definition["kind"] == "accuracy":
        _check_scores(bundle, run)
    else:
        _check_physics(bundle, hardware)
        if roof is not None and (why := too_fast(bundle, run, roof)):
            raise BundleRefused(f"measurements: {why}")
    provenance = bundle.manifest.provenance
    if provenance is not None and provenance.samples_root not in (None, samples_root(bundle.samples)):
        raise BundleRefused("manifest/provenance/samples_root: it is not the root of the bundle's samples.")


def _check_scores(bundle: ResultBundle, run: RunSpec) -> None:
    by_task: dict[str, list[SampleRecord]] = defaultdict(list)
    for sample in bundle.samples:
        by_task[sample.task].append(sample)
    answers = ANSWERS[run.suite, run.suite_version]
    for task in run.tasks:
        samples = sorted(by_task[task], key=lambda s: s.index)
        if [s.index for s in samples] != list(range(run.samples)):
            raise BundleRefused(
                f"samples: {task} needs each of the indices 0 to {run.samples - 1} once, has {len(samples)}."
            )
        for sample in samples:
            wanted = answers.expect(task, context_length=run.context_length, seed=run.seed, index=sample.index)
            where = f"samples/{task}/{sample.index}"
            if (sample.target, sample.depth) != (wanted.target, wanted.depth):
                raise BundleRefused(f"{where}: the target or depth is not that of this suite version, length and seed.")
            if sample.prompt_tokens > run.context_length:
                raise BundleRefused(
                    f"{where}: {sample.prompt_tokens} prompt tokens exceed the length {run.context_length}."
                )
            if abs(answers.score(task, sample.answer, sample.target) - sample.score) > TOLERANCE:
                raise BundleRefused(f"{where}: score {sample.score} does not follow from the answer.")
        groups: dict[tuple[str, float | None], list[float]] = defaultdict(list)
        for sample in samples:
            groups["accuracy", None].append(sample.score)
            if sample.depth is not None:
                groups["accuracy_by_depth", sample.depth].append(sample.score)
            for metric, value in answers.secondary(task, sample.answer, sample.target).items():
                groups[metric, None].append(value)
        stated = {(m.metric, m.depth): m for m in bundle.measurements if m.task == task}
        if set(stated) != set(groups):
            told = ", ".join(sorted({metric for metric, _ in groups}))
            raise BundleRefused(f"measurements: {task} must state {told}, by depth for each depth of its samples.")
        for key, scores in groups.items():
            _check_share(stated[key], scores)


def _check_training(bundle: ResultBundle, run: RunSpec) -> None:
    """Of suites that train: the samples of each training, and that the accuracies fit them and each other.

    A bundle carries the first KEPT test examples of each training. Where that is all of them the accuracy follows; else it has to
    be one that such a part could be drawn from. Labels that take files or hours to know are not known here.
    """
    (task,) = run.tasks
    if task == SPEED:
        if bundle.samples or bundle.curves:
            raise BundleRefused("samples: the clock asks nothing and trains nothing.")
        return
    if bundle.manifest.settings.get("stand_in", False) != RECIPES[task].stand_in:
        raise BundleRefused(f"manifest/settings/stand_in: {task} was not trained on its own data.")
    stated = next(m for m in bundle.measurements if m.metric == "accuracy")
    size = lra_plan.size_of_test(task)
    if size is not None and stated.n != size:
        raise BundleRefused(f"measurements: {task}/accuracy is of n={stated.n}; the test split has {size}.")
    each = min(lra_plan.KEPT, stated.n)
    samples = sorted(bundle.samples, key=lambda sample: sample.index)
    if [(s.task, s.index) for s in samples] != [(task, index) for index in range(each * run.samples)]:
        raise BundleRefused(
            f"samples: {run.samples} trainings need {each} each, numbered on; there are {len(samples)}."
        )
    seeds = [(curve.task, curve.seed) for curve in bundle.curves]
    if seeds != [(task, run.seed + at) for at in range(run.samples)]:
        raise BundleRefused(f"curves: there has to be one for each of the {run.samples} trainings, by seed.")
    answers = lra_plan.classes(task)
    for sample in samples:
        known = lra_plan.target(task, sample.index % each)
        if sample.target not in answers or known not in (None, sample.target):
            raise BundleRefused(f"samples/{task}/{sample.index}: the target is not that of this suite version.")
        if sample.score != float(sample.answer == sample.target):
            raise BundleRefused(f"samples/{task}/{sample.index}: score {sample.score} does not follow from the answer.")
        if sample.prompt_tokens > run.context_length:
            raise BundleRefused(f"samples/{task}/{sample.index}: {sample.prompt_tokens} tokens are too many.")
    for at, curve in enumerate(bundle.curves):
        seen = fmean(sample.score for sample in samples[at * each : (at + 1) * each])
        # Five standard errors of a part of a finite whole; none where the part is the whole.
        spread = 5 * math.sqrt(0.25 / each * (1 - each / stated.n))
        if abs(seen - curve.accuracy) > spread + TOLERANCE:
            raise BundleRefused(f"curves/{at}: accuracy {curve.accuracy} does not fit its samples, which give {seen}.")
    wanted = accuracy_interval([curve.accuracy for curve in bundle.curves], stated.n)
    told = (stated.value, stated.ci_low, stated.ci_high)
    if any(abs(a - b) > TOLERANCE for a, b in zip(told, wanted, strict=True)):
        raise BundleRefused(f"measurements: {task}/accuracy says {told}; its trainings give {wanted}.")


def _check_share(stated: Measurement, scores: list[float]) -> None:
    share = fmean(scores)
    low, high = wilson(share, len(scores))
    told = (stated.value, stated.ci_low, stated.ci_high)
    if stated.n != len(scores) or any(abs(a - b) > TOLERANCE for a, b in zip(told, (share, low, high), strict=True)):
        raise BundleRefused(
            f"measurements: {stated.task}/{stated.metric} says {stated.value} of n={stated.n}; "
            f"its samples give {share} of n={len(scores)}."
        )


def _check_physics(bundle: ResultBundle, hardware: HardwareReport) -> None:
    """Numbers that no machine can have: not positive, or more memory than there is."""
    for measurement in bundle.measurements:
        if measurement.unit != "share" and measurement.metric != "cache_bytes" and measurement.value <= 0:
            raise BundleRefused(f"measurements: {measurement.metric} of {measurement.value} cannot be.")
        if measurement.metric.endswith("peak_memory_bytes") and measurement.value > hardware.memory_bytes > 0:
            raise BundleRefused(
                f"measurements: peak memory {measurement.value:.0f} B exceeds the machine's {hardware.memory_bytes} B."
            )
