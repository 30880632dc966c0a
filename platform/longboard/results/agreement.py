"""When are two results the same result? Nodes of different owners that agree lift each other's rows to `reproduced`.

Accuracy is compared wherever it was measured, because it belongs to the System; times and sizes only on one hardware.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longboard.results.models import Bundle, Measurement, Trust
from longboard.submissions.models import Run
from longboard_tasks.catalogue.metrics import METRICS

# Where a suite's definition states none. Shares: two samples of a hundred may fall otherwise on another machine
# (platform peers, 5.4); times and sizes: MLPerf's band for a repeated measurement.
SHARE_TOLERANCE = 0.02
RELATIVE_TOLERANCE = 0.10


def tolerance_of(definition: Mapping[str, Any], task: str, metric: str) -> float:
    """What two owners' numbers may differ by: absolute for shares, relative for the rest.

    Read from the suite version's own definition: the task's `tolerance` is that of its shares.
    """
    if METRICS[metric].unit != "share":
        return RELATIVE_TOLERANCE
    stated = next((row.get("tolerance") for row in definition["tasks"] if row["name"] == task), None)
    return SHARE_TOLERANCE if stated is None else float(stated)


def agree(a: Measurement, b: Measurement, definition: Mapping[str, Any]) -> bool:
    """Whether two numbers of one (System, task, metric, length) are equal within the suite's tolerance.

    Two shares of the same samples must agree as they are. With other seeds the samples differ, so each may also miss by its
    own sampling error: their intervals have to reach each other.
    """
    tolerance = tolerance_of(definition, a.task, a.metric)
    if METRICS[a.metric].unit != "share":
        return abs(a.value - b.value) <= tolerance * max(abs(a.value), abs(b.value))
    if a.run.seed == b.run.seed and a.n == b.n:
        return abs(a.value - b.value) <= tolerance + 1e-12
    return a.ci_low <= b.ci_high + tolerance and b.ci_low <= a.ci_high + tolerance


def lift_reproduced(*, bundle: Bundle) -> list[Run]:
    """Raises the rows of a just accepted bundle, and those that they agree with, to `reproduced`; gives the other Runs.

    Only whole numbers of a task count, not those by depth, whose n is too small to disagree; they follow their task's
    accuracy. A node without an owner reproduces nothing.
    """
    owner = bundle.node.owner_id
    mine = list(bundle.measurements.select_related("run__suite").order_by("pk"))
    if owner is None or not mine:
        return []
    definition = mine[0].run.suite.definition
    others = (
        Measurement.objects.filter(
            system=mine[0].system_id,
            suite=mine[0].suite_id,
            context_length=mine[0].context_length,
            depth=None,
            bundle__state=Bundle.State.ACCEPTED,
        )
        .exclude(bundle__node__owner=None)
        .exclude(bundle__node__owner=owner)
        .select_related("run__suite", "run__pool__hardware")
        .order_by("-pk")[:2_000]
    )
    by_metric: dict[tuple[str, str], list[Measurement]] = {}
    for row in others:
        by_metric.setdefault((row.task, row.metric), []).append(row)
    lifted: set[int] = set()
    whole: set[tuple[int, str]] = set()  # (bundle, task) of a lifted accuracy
    runs: dict[Any, Run] = {}
    for row in mine:
        if row.depth is not None:
            continue
        for other in by_metric.get((row.task, row.metric), ()):
            is_comparable = METRICS[row.metric].unit == "share" or other.hardware_id == row.hardware_id
            if is_comparable and agree(row, other, definition):
                lifted |= {row.pk, other.pk}
                if row.metric == "accuracy":
                    whole |= {(row.bundle_id, row.task), (other.bundle_id, other.task)}
                if other.trust != Trust.REPRODUCED and other.run_id != row.run_id:
                    runs[other.run_id] = other.run
    Measurement.objects.filter(pk__in=lifted).update(trust=Trust.REPRODUCED)
    for bundle_id, task in sorted(whole):
        Measurement.objects.filter(bundle=bundle_id, task=task, depth__isnull=False).update(trust=Trust.REPRODUCED)
    return list(runs.values())
