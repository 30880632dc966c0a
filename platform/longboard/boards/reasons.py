"""Why a System has no number at a place, in the reader's words. Such a reason never ranks above a number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from html import escape
from uuid import UUID

import numpy as np
from django.db.models import Q
from django.urls import reverse

from longboard.boards.systems import SystemFacts
from longboard.quantities import length_label
from longboard.submissions.failures import FAILURE_WORDS
from longboard.submissions.models import Run

RUNS = 5_000  # without a number, at most, that one board looks at


@dataclass(frozen=True, slots=True)
class Missing:
    kind: str  # not-run, waiting, exceeds, unfit, failed, partial, unpriced
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A Run that has given no number."""

    run_id: UUID
    state: str
    failure_class: str


StoppedRuns = Mapping[tuple[int, int, int], Stopped]  # by (System, suite, context length)


@dataclass(frozen=True, slots=True)
class Partial:
    """How many of a suite's tasks each System has, by context length: arrays over System ids."""

    counts: Mapping[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def count(cls, columns: Iterable[tuple[int, np.ndarray]]) -> Partial:
        """From the System ids [N] that have one task at a length, task by task."""
        by_length: dict[int, list[np.ndarray]] = defaultdict(list)
        for length, systems in columns:
            by_length[length].append(systems)
        return cls({length: np.bincount(np.concatenate(parts)) for length, parts in by_length.items()})

    def tasks(self, system: int, length: int) -> int:
        counts = self.counts.get(length)
        return int(counts[system]) if counts is not None and system < len(counts) else 0

    def systems(self, length: int | None = None) -> np.ndarray:
        """Ids that have any task at this length; None: at any."""
        wanted = [counts for at, counts in self.counts.items() if length in (None, at)]
        return (
            np.unique(np.concatenate([np.flatnonzero(counts) for counts in wanted]))
            if wanted
            else np.zeros(0, np.int64)
        )


@dataclass(frozen=True, slots=True)
class Reasons:
    """What a board knows about the numbers that it lacks.

    `partial`: the tasks measured, of a whole suite's mean, and `complete`: context length -> tasks that there are. `unpriced`:
    the cost is money and the hardware has no price. `unmeasured`: what to call a cost that an accepted run did not bring.
    """

    gain_suite: int
    cost_suite: int
    stopped: StoppedRuns
    partial: Partial = field(default_factory=Partial)
    complete: Mapping[int, int] = field(default_factory=dict)
    unpriced: bool = False
    unmeasured: str = "not run"

    def gain(self, facts: SystemFacts, length: int) -> Missing:
        if done := self.partial.tasks(facts.pk, length):
            return Missing("partial", f"partial: {done} of {self.complete.get(length, done)} tasks")
        if self.complete and not self.complete.get(length):
            return Missing("not-run", "no task is this short")
        return _missing(facts, self.stopped.get((facts.pk, self.gain_suite, length)), length, "not run")

    def cost(self, facts: SystemFacts, length: int) -> Missing:
        if self.unpriced:
            return Missing("unpriced", "no price for this hardware")
        return _missing(facts, self.stopped.get((facts.pk, self.cost_suite, length)), length, self.unmeasured)


def _missing(facts: SystemFacts, run: Stopped | None, length: int, otherwise: str) -> Missing:
    limit = facts.max_positions
    if limit is not None and length > limit:
        return Missing("exceeds", f"exceeds position limit ({length_label(limit)})")
    if run is None or run.state == Run.State.CANCELLED:
        return Missing("not-run", otherwise)
    url = run_url(run.run_id)
    if run.state in (Run.State.QUEUED, *Run.HELD):
        return Missing("waiting", "waiting for its run", url)
    if run.failure_class == "oom":
        return Missing("unfit", "does not fit: out of memory", url)
    if run.state == Run.State.REJECTED:
        return Missing("failed", "failed: result rejected", url)
    return Missing("failed", f"failed: {FAILURE_WORDS.get(run.failure_class, 'unknown reason')}", url)


def missing_html(why: Missing) -> str:
    words = f'<a href="{escape(why.url)}">{escape(why.text)}</a>' if why.url else escape(why.text)
    return f'<span class="missing {why.kind}">{words}</span>'


@cache
def _run_pattern() -> tuple[str, str]:
    before, _, after = reverse("run", args=[UUID(int=0)]).partition(str(UUID(int=0)))
    return before, after


def run_url(run_id: UUID) -> str:
    """`reverse` takes 25 us, and a matrix has hundreds of cells."""
    before, after = _run_pattern()
    return f"{before}{run_id}{after}"


def runs_of_page(gain_suite: int, cost_suite: int, length: int, systems: np.ndarray) -> Q:
    """What a page of a large board needs of them: for its Systems, of the gain at every length and of the cost at this one; and
    at this one of every System whose gain has stopped, since it is shown for that alone. Of all Systems it was 500 rows more."""
    gain, cost, here = Q(suite=gain_suite), Q(suite=cost_suite), Q(context_length=length)
    stopped = Run.objects.exclude(state=Run.State.ACCEPTED).filter(gain, here).values("system")
    # The page's 50 ids stand once, so that PostgreSQL intersects two indexes: half of the statement's time.
    return Q(system__in=systems.tolist()) & (gain | cost & here) | here & (gain | cost & Q(system__in=stopped))


def stopped_runs(
    hardware_id: int, suite_ids: Iterable[int], *, task: str = "", only: Q | None = None
) -> dict[tuple[int, int, int], Stopped]:
    """(System, suite, context length) -> its latest Run without a result. `task`: only Runs of this task alone."""
    runs = Run.objects.filter(suite__in=suite_ids).exclude(state=Run.State.ACCEPTED)
    if hardware_id:
        runs = runs.filter(pool__hardware=hardware_id)
    if only is not None:
        runs = runs.filter(only)
    fields = ("system_id", "suite_id", "context_length", "pk", "state", "failure_class")
    rows = runs.order_by("-queued_at", "-pk").values_list(*fields, *(("tasks",) if task else ()))[:RUNS]
    latest: dict[tuple[int, int, int], Stopped] = {}
    for system, suite, at, pk, state, why, *tasks in rows:
        if task and tasks != [[task]]:
            continue
        latest.setdefault((system, suite, at), Stopped(pk, state, why))
    return latest
