"""What suites, tasks, metrics and methods exist. No torch here: the platform reads this to check and to price a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longboard_tasks.contract import Unit


class UnknownName(ValueError):
    """A suite, task, metric or method that the catalogue does not have; the message lists what it has."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    name: str
    title: str
    unit: Unit
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class TaskInfo:
    name: str
    title: str
    metrics: tuple[str, ...]
    chance: float = 0.0  # the score of a guesser who never reads the context


@dataclass(frozen=True, slots=True)
class SuiteInfo:
    name: str
    version: int
    title: str
    kind: Literal["accuracy", "efficiency"]
    summary: str
    tasks: tuple[TaskInfo, ...]
    headline_metric: str
    default_samples: int
    least_context_length: int

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    def task(self, name: str) -> TaskInfo:
        for task in self.tasks:
            if task.name == name:
                return task
        raise UnknownName(
            f'Task "{name}" is not in suite {self.label}. It has: {", ".join(t.name for t in self.tasks)}.'
        )


@dataclass(frozen=True, slots=True)
class MethodInfo:
    name: str
    title: str
    family: str
    summary: str
    takes_budget: bool
    source: str = ""


METRICS = {
    metric.name: metric
    for metric in (
        MetricInfo("accuracy", "Accuracy", "share", True),
        MetricInfo("accuracy_by_depth", "Accuracy by depth", "share", True),
        MetricInfo("ttft_ms", "Time to first token (TTFT)", "ms", False),
        MetricInfo("tpot_ms", "Time per output token (TPOT)", "ms", False),
        MetricInfo("prefill_tokens_per_s", "Prefill rate", "tokens/s", True),
        MetricInfo("decode_tokens_per_s", "Decode rate", "tokens/s", True),
        MetricInfo("peak_memory_bytes", "Peak memory", "bytes", False),
        MetricInfo("cache_bytes", "Cache and state", "bytes", False),
    )
}

# What the other axis of a front can be, in the order that pages offer it; all from efficiency/generate.
COST_METRICS = (
    "ttft_ms",
    "tpot_ms",
    "peak_memory_bytes",
    "cache_bytes",
    "decode_tokens_per_s",
    "prefill_tokens_per_s",
)
COST_TASK = "generate"

SUITES = {
    suite.name: suite
    for suite in (
        SuiteInfo(
            name="niah",
            version=1,
            title="Needle in a haystack",
            kind="accuracy",
            summary="A planted fact in real prose has to be given back, at every depth of the context.",
            tasks=(TaskInfo("single", "Single needle in prose", ("accuracy", "accuracy_by_depth")),),
            headline_metric="accuracy",
            default_samples=20,
            least_context_length=128,
        ),
        SuiteInfo(
            name="efficiency",
            version=1,
            title="Efficiency",
            kind="efficiency",
            summary="Prefill and decode speed, and the memory that they take, measured at the context length itself.",
            tasks=(
                TaskInfo(
                    "generate",
                    "Prefill, then decode at the length",
                    (
                        "ttft_ms",
                        "tpot_ms",
                        "prefill_tokens_per_s",
                        "decode_tokens_per_s",
                        "peak_memory_bytes",
                        "cache_bytes",
                    ),
                ),
            ),
            headline_metric="ttft_ms",
            default_samples=5,
            least_context_length=16,
        ),
    )
}

METHODS = {
    method.name: method
    for method in (MethodInfo("none", "Full cache", "none", "The model as it is: every key and value is kept.", False),)
}


def find_suite(name: str) -> SuiteInfo:
    if name not in SUITES:
        raise UnknownName(f'Suite "{name}" is not known. There are: {", ".join(SUITES)}.')
    return SUITES[name]


def find_metric(name: str) -> MetricInfo:
    if name not in METRICS:
        raise UnknownName(f'Metric "{name}" is not known. There are: {", ".join(METRICS)}.')
    return METRICS[name]


def find_method(name: str) -> MethodInfo:
    if name not in METHODS:
        raise UnknownName(f'Method "{name}" is not known. There are: {", ".join(METHODS)}.')
    return METHODS[name]
