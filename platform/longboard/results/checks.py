"""Does a bundle check out? Pure: everything that the bundle and the Run alone can tell. Raises BundleRefused.

A node's own scores are never believed: the targets follow from (suite version, task, length, seed, index), so each score
and each accuracy is worked out again here from the uploaded answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from longboard_tasks.catalogue import METRICS
from longboard_tasks.contract import HardwareReport, Measurement, ResultBundle, RunSpec, SampleRecord
from longboard_tasks.intervals import wilson
from longboard_tasks.suites.niah.plan import plan_single
from longboard_tasks.suites.niah.scoring import string_match_all

TOLERANCE = 1e-9


class BundleRefused(Exception):
    """The bundle does not check out; the message says which field of it and why."""


@dataclass(frozen=True, slots=True)
class Expected:
    target: str
    depth: float | None


# (suite, version, task) -> what sample `index` of a Run asks, and how an answer scores.
Scorer = tuple[Callable[[RunSpec, int], Expected], Callable[[str, str], float]]


def _niah_single(run: RunSpec, index: int) -> Expected:
    plan = plan_single(context_length=run.context_length, seed=run.seed, index=index)
    return Expected(target=plan.target, depth=plan.depth)


SCORERS: dict[tuple[str, int, str], Scorer] = {
    ("niah", 1, "single"): (_niah_single, lambda answer, target: string_match_all(answer, [target])),
}


def check_bundle(*, bundle: ResultBundle, run: RunSpec, definition: dict, hardware: HardwareReport) -> None:
    """Raises BundleRefused for the first thing that is wrong. `definition`: the suite's as stored with its version."""
    if bundle.run != run:
        changed = [name for name in RunSpec.model_fields if getattr(bundle.run, name) != getattr(run, name)]
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
    missing = {(task, metric) for task in run.tasks for metric in allowed[task]} - {(t, m) for t, m, _ in seen}
    if missing:
        raise BundleRefused(f"measurements: {', '.join(sorted(f'{t}/{m}' for t, m in missing))} missing.")
    if definition["kind"] == "accuracy":
        _check_scores(bundle, run)
    else:
        _check_physics(bundle, hardware)


def _check_scores(bundle: ResultBundle, run: RunSpec) -> None:
    by_task: dict[str, list[SampleRecord]] = defaultdict(list)
    for sample in bundle.samples:
        by_task[sample.task].append(sample)
    for task in run.tasks:
        expect, score = SCORERS[run.suite, run.suite_version, task]
        samples = sorted(by_task[task], key=lambda s: s.index)
        if [s.index for s in samples] != list(range(run.samples)):
            raise BundleRefused(
                f"samples: {task} needs each of the indices 0 to {run.samples - 1} once, has {len(samples)}."
            )
        for sample in samples:
            wanted = expect(run, sample.index)
            where = f"samples/{task}/{sample.index}"
            if (sample.target, sample.depth) != (wanted.target, wanted.depth):
                raise BundleRefused(f"{where}: the target or depth is not that of this suite version, length and seed.")
            if sample.prompt_tokens > run.context_length:
                raise BundleRefused(
                    f"{where}: {sample.prompt_tokens} prompt tokens exceed the length {run.context_length}."
                )
            if abs(score(sample.answer, sample.target) - sample.score) > TOLERANCE:
                raise BundleRefused(f"{where}: score {sample.score} does not follow from the answer.")
        groups: dict[tuple[str, float | None], list[float]] = defaultdict(list)
        for sample in samples:
            groups["accuracy", None].append(sample.score)
            groups["accuracy_by_depth", sample.depth].append(sample.score)
        stated = {(m.metric, m.depth): m for m in bundle.measurements if m.task == task}
        if set(stated) != set(groups):
            raise BundleRefused(f"measurements: {task} must state accuracy, and accuracy_by_depth for each depth.")
        for key, scores in groups.items():
            _check_share(stated[key], scores)


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
        if measurement.metric != "cache_bytes" and measurement.value <= 0:
            raise BundleRefused(f"measurements: {measurement.metric} of {measurement.value} cannot be.")
        if measurement.metric == "peak_memory_bytes" and measurement.value > hardware.memory_bytes > 0:
            raise BundleRefused(
                f"measurements: peak memory {measurement.value:.0f} B exceeds the machine's {hardware.memory_bytes} B."
            )
