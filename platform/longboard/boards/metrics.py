"""What a board can rank by: the catalogue's metrics, and those that the site works out from them.

Where the catalogue names a metric that stands here too, its entry counts. Money is never stored: see `prices`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from longboard_tasks.catalogue import metrics
from longboard_tasks.catalogue.metrics import MetricInfo
from longboard_tasks.catalogue.suites import SuiteInfo, TaskInfo

WHOLE_SUITE = "all"  # the task that stands for every task of a suite version
MEAN, MEAN_ABOVE_CHANCE = "mean_accuracy", "mean_above_chance"
OUTPUT_PRICE, PROMPT_PRICE = "usd_per_million_output_tokens", "usd_per_million_prompt_tokens"

_USD: Any = "USD"  # no unit of the contract: nobody measures it, and no bundle carries it
_OURS = (
    MetricInfo(MEAN, "Mean accuracy over all tasks", "share", True),
    MetricInfo(MEAN_ABOVE_CHANCE, "Mean accuracy above chance", "share", True),
    MetricInfo(OUTPUT_PRICE, "Price of a million output tokens", _USD, False),
    MetricInfo(PROMPT_PRICE, "Price of a million prompt tokens", _USD, False),
)
METRICS = {metric.name: metric for metric in _OURS} | metrics.METRICS

# A price and the stored metric that it follows: on one hardware both order Systems alike, so they share ranks and fronts.
PRICED = {OUTPUT_PRICE: "tpot_ms", PROMPT_PRICE: "prefill_tokens_per_s"}
# All that a board's other axis can be, in the order that pages offer it.
COSTS = (*metrics.COST_METRICS, *PRICED)
# What a suite's board opens with, where that is not the first: what most tells its systems apart.
FIRST_COST = {"kv": "cache_bytes"}
FIRST_TASK = {"recall": "phone_book"}  # strings are hard for all small models


def stored_cost(cost: str) -> str:
    """The metric whose numbers and fronts a cost is read from: its own, but for money."""
    return PRICED.get(cost, cost)


def board_info(info: SuiteInfo) -> SuiteInfo:
    """A suite as boards offer it, the usual task first; with the one that stands for all of its tasks where there are several."""
    if info.kind != "accuracy" or len(info.tasks) < 2:
        return info
    shown = tuple(task for task in info.tasks if task.role != "unranked" and "accuracy" in task.metrics)
    shown = tuple(sorted(shown, key=lambda task: task.name != FIRST_TASK.get(info.name)))
    count = sum(task.role == "scored" for task in shown)
    whole = TaskInfo(WHOLE_SUITE, f"All {count} tasks, mean", (MEAN, MEAN_ABOVE_CHANCE))
    return replace(info, tasks=(*shown, whole))


def costs_of(info: SuiteInfo) -> tuple[str, ...]:
    """What the other axis of a suite's boards can be, the usual one first."""
    if info.trains:
        return metrics.TRAINING_COSTS
    first = FIRST_COST.get(info.name, COSTS[0])
    return first, *(cost for cost in COSTS if cost != first)


def mean_length(info: SuiteInfo) -> int:
    """Where the mean of a suite stands whose tasks have a length each: at the longest of them. 0: the mean is of one length."""
    return max(length for task in info.tasks if task.role == "scored" for length in task.lengths) if info.trains else 0


def cost_task(info: SuiteInfo, task: str) -> str:
    """The task whose costs stand beside a task's accuracy: its own where it trains, beside the mean that of the longest task."""
    if not info.trains:
        return metrics.COST_TASK
    return next(t.name for t in info.tasks if mean_length(info) in t.lengths) if task == WHOLE_SUITE else task


def default_metric(info: SuiteInfo, task: TaskInfo) -> str:
    """What a task is ranked by unless the reader asks for something else."""
    return info.headline_metric if info.headline_metric in task.metrics else task.metrics[0]
