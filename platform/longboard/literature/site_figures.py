"""Our figure for each claim that the results of this site can judge: one function a claim, from accepted numbers (Cells).

The zoo's models stand for the families: a few million parameters, trained alike on at most 2,048 tokens. They were made for
such comparisons; where a claim is about models of another size, its figure is marked `scaled`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Count, Max
from django.urls import reverse

from longboard.boards.differences import difference_of, ratio_of
from longboard.boards.models import Cell, Column
from longboard.literature.catalogue import Claim
from longboard.literature.claim_figures import is_same_class
from longboard.literature.verdicts import Evidence
from longboard.quantities import length_label
from longboard.results.dates import measured_at
from longboard_tasks.catalogue.metrics import COST_TASK

TRAINED = 2_048  # tokens: the longest that the zoo's models have seen
FULL, SSM, SSM_1, HYBRID = "llama-3m", "mamba2-3m", "mamba-3m", "granite-hybrid-3m"

Measure = Callable[[Claim], Evidence | None]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two Systems' numbers of one metric at one length on one hardware."""

    subject: Cell
    base: Cell

    @property
    def url(self) -> str:
        """The page that compares them, samples and all."""
        cell = self.subject
        asked = {
            "suite": cell.suite.label,
            "hardware": cell.hardware.slug,
            "system": [self.base.system.slug, cell.system.slug],
        }
        return f"{reverse('compare')}?{urlencode(asked, doseq=True)}"


def results_version() -> str:
    """It changes whenever a number of this site does."""
    return str(Column.objects.aggregate(newest=Max("updated_at"), count=Count("pk")))


def pairs_of(
    subject: str, base: str, suite: str, task: str, metric: str, lengths: Sequence[int], *,
    method: str = "none", budget: float = 1.0,
) -> list[Pair]:  # fmt: skip
    """By length, where both were measured on one hardware: of several the one with most samples, then the newest.

    `subject` and `base` are models; `method` is the subject's, in its plain settings. The base keeps its whole cache.
    """
    rows = Cell.objects.filter(
        suite__name=suite, suite__is_current=True, task=task, metric=metric, context_length__in=lengths
    ).select_related("suite", "hardware", "system__model", "system__method", "scores")  # fmt: skip
    ours = rows.filter(
        system__model__slug=subject, system__method__name=method, system__budget=budget, system__settings={}
    )  # fmt: skip
    theirs = rows.filter(system__model__slug=base, system__method__name="none")
    found: dict[int, Pair] = {}
    for pair in _matched(ours, theirs):
        at = pair.subject.context_length
        if at not in found or _weight(pair) > _weight(found[at]):
            found[at] = pair
    return [found[at] for at in sorted(found)]


def _matched(ours: Iterable[Cell], theirs: Iterable[Cell]) -> Iterator[Pair]:
    """At one length on one hardware, with one number format and the same kernels."""

    def place(cell: Cell) -> tuple[int, int, str, str]:
        return cell.context_length, cell.hardware_id, cell.system.dtype, cell.system.kernels

    bases: dict[object, list[Cell]] = defaultdict(list)
    for cell in theirs:
        bases[place(cell)].append(cell)
    for cell in ours:
        yield from (Pair(cell, base) for base in bases[place(cell)])


def _weight(pair: Pair) -> tuple[int, object]:
    return min(pair.subject.n, pair.base.n), min(pair.subject.updated_at, pair.base.updated_at)


def found(
    pairs: Sequence[Pair],
    stat: tuple[float, float, float],
    basis: str,
    *,
    scaled: bool = False,
    same_class: bool = True,
) -> Evidence:
    """`same_class`: of hardware, as the paper's; what a score is does not hang on it."""
    value, low, high = stat
    devices = sorted({p.subject.hardware.title for p in pairs})
    days = measured_at([p.subject.last_run_id for p in pairs]).values()
    return Evidence(
        value, low, high, basis, hardware=" and ".join(devices),
        measured_on=f"{max(days):%Y-%m-%d}" if days else "", same_class=same_class, scaled=scaled, url=pairs[-1].url,
    )  # fmt: skip


def mean_points(pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Subject less base in points, over all pairs; their intervals added in quadrature, as of independent differences."""
    deltas = [difference_of(p.base, p.subject) for p in pairs]
    value = sum(d.value for d in deltas) / len(deltas)
    below, above = (
        math.sqrt(sum(arm**2 for arm in arms)) / len(deltas)
        for arms in ([d.value - d.low for d in deltas], [d.high - d.value for d in deltas])
    )
    return 100 * value, 100 * (value - below), 100 * (value + above)


def listed(pairs: Sequence[Pair]) -> str:
    return "; ".join(
        f"{p.subject.value:.2f} against {p.base.value:.2f} at {length_label(p.subject.context_length)}" for p in pairs
    )


def points(
    subject: str,
    base: str,
    suite: str,
    task: str,
    lengths: Sequence[int],
    *,
    longest: bool = False,
    scaled: bool = False,
) -> Measure:
    """Difference in points, the mean over the lengths that both have, or at the longest alone."""

    def measure(claim: Claim) -> Evidence | None:
        pairs = pairs_of(subject, base, suite, task, "accuracy", lengths)
        pairs = pairs[-1:] if longest else pairs
        if not pairs:
            return None
        basis = f"{subject} against {base}, {suite}/{task}: {listed(pairs)}"
        return found(pairs, mean_points(pairs), basis, scaled=scaled)

    return measure


def methods(names: Sequence[str], tasks: Sequence[str]) -> Measure:
    """Cache methods at a quarter of the bytes against the full cache, the mean over methods and tasks."""

    def measure(claim: Claim) -> Evidence | None:
        pairs = [
            pair
            for name in names
            for task in tasks
            for pair in pairs_of(FULL, FULL, "kv", task, "accuracy", (TRAINED,), method=name, budget=0.25)
        ]
        if {(p.subject.system.method.name, p.subject.task) for p in pairs} != {(n, t) for n in names for t in tasks}:
            return None
        basis = f"{FULL}, a quarter of the cache's bytes: " + "; ".join(
            f"{p.subject.system.method.title}, {p.subject.task}, {p.subject.value:.2f} against {p.base.value:.2f}"
            for p in pairs
        )
        return found(pairs, mean_points(pairs), basis, scaled=True)

    return measure


def lazy_decode(claim: Claim) -> Evidence | None:
    """Decode rate with lazy layers over that with the full cache, the largest ratio."""
    pairs = [
        pair
        for model in ("llama-1b", "llama-8b")
        for pair in pairs_of(
            model, model, "efficiency", COST_TASK, "decode_tokens_per_s", (32_768, 131_072), method="lazy_layers", budget=0.25
        )
    ]  # fmt: skip
    if not pairs:
        return None
    best = max(pairs, key=lambda p: p.subject.value / p.base.value)
    rest = ", ".join(
        f"{p.subject.system.model.slug} at {length_label(p.subject.context_length)} {p.subject.value / p.base.value:.2f}"
        for p in pairs
    )
    basis = f"A quarter of the cache's bytes kept, batch 1, where a step is bound by launches, not by the cache: {rest}"
    same_class = is_same_class(claim, best.subject.hardware.title)
    return found([best], ratio_of(best.base, best.subject), basis, scaled=True, same_class=same_class)


SITE: dict[str, Measure] = {
    "empirical-mamba-03": points(FULL, SSM, "recall", "phone_book", (512, 1_024, TRAINED), longest=True),
    "empirical-mamba-04": points(HYBRID, FULL, "recall", "phone_book", (512, 1_024, TRAINED), longest=True),
    "hybrid-design-02": points(HYBRID, SSM_1, "niah", "single", (512, 1_024, TRAINED)),
    "hybrid-design-03": points(HYBRID, FULL, "niah", "single", (2 * TRAINED,)),
    "longctx-bench-02": methods(("int4",), ("needle", "pairs")),
    "longctx-bench-03": methods(("streaming_llm", "h2o"), ("needle",)),
    "longctx-bench-04": points(SSM, FULL, "niah", "single", (TRAINED,), longest=True, scaled=True),
    "lighttransfer-01": lazy_decode,
}
