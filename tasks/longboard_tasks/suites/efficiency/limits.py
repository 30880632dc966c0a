"""The longest context that works: predict, double or halve, bisect, confirm. Knows nothing of devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from longboard_tasks.suites.efficiency.report import LEAST, FailureKind

CONFIRM = 3


class Attempt(Protocol):
    """None: it worked. Otherwise why not."""

    def __call__(self, tokens: int) -> Stop | None: ...


@dataclass(frozen=True, slots=True)
class Stop:
    kind: FailureKind
    says: str = ""
    needed_bytes: int | None = None
    fragmentation_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    tokens: int
    stop: Stop
    stopped_at: int | None
    attempts: int
    confirmed: int


def find_limit(
    attempt: Attempt, *, predicted: int, most: int, granularity: float = 0.01, confirm: int = CONFIRM,
    is_over: Callable[[], bool] = lambda: False,
) -> Found:  # fmt: skip
    """The largest length in [LEAST, most] that works, to max(LEAST, `granularity`) tokens, confirmed `confirm` times.

    `most` is the position limit (or the end of the grid): reaching it is an outcome of its own, `position_limit`. A length
    that works once and fails when confirmed is given up for one a granule shorter. `is_over` stops the search: what worked
    so far is returned with `no_time`.
    """
    tries = 0
    stop = Stop("position_limit")
    works, fails = 0, None

    def run(tokens: int) -> bool:
        nonlocal tries, stop, works, fails
        tries += 1
        outcome = attempt(tokens)
        if outcome is None:
            works = max(works, tokens)
            return True
        stop, fails = outcome, tokens if fails is None else min(fails, tokens)
        return False

    at = _grain(min(max(predicted, LEAST), most))
    grown = 1.05
    while not is_over():
        if run(at):
            if at >= most or (fails is not None):
                break
            at, grown = min(_grain(at * grown), most), min(grown * grown, 2.0)
        else:
            if works or at <= LEAST:
                break
            at, grown = max(_grain(at / grown), LEAST), min(grown * grown, 2.0)
    while works and fails is not None and fails - works > max(LEAST, granularity * works) and not is_over():
        run(_grain((works + fails) // 2))
    confirmed = 0
    while works and confirmed < confirm and not is_over():
        tries += 1
        outcome = attempt(works)
        if outcome is None:
            confirmed += 1
            continue
        stop, fails, confirmed = outcome, works, 0
        shorter = works - max(LEAST, granularity * works)
        works = _grain(shorter) if shorter >= LEAST else 0
    if is_over() and (not confirmed or confirmed < confirm):
        stop = stop if fails is not None else Stop("no_time", "the time of this cell was over")
    return Found(max(works, 0), stop, fails, tries, confirmed)


def _grain(tokens: float) -> int:
    """Multiples of 16, as the engine cuts."""
    return max(16, int(tokens) // 16 * 16)
