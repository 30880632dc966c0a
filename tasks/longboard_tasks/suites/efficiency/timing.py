"""When the clock is read: prefill by repeats, decode step by step at the length, never by subtraction.

Works on anything that can read a prompt and decode a token, with any clock: the tests bring a fake of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

Clock = Callable[[], float]  # seconds, rising

WARM_WINDOW, WARM_SPREAD, WARM_LEAST, WARM_MOST = 5, 0.02, 3, 20


class Subject(Protocol):
    """One System at one context length. Each call returns when its outcome is on the host."""

    def read_prompt(self, clock: Clock) -> dict[str, float]:
        """Read the prompt from nothing; seconds of each part, `ttft` the whole."""
        ...

    def decode_step(self) -> None: ...


@dataclass(slots=True)
class Repeats:
    """Seconds by part, one value a repeat."""

    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, parts: dict[str, float]) -> None:
        for name, value in parts.items():
            self.parts.setdefault(name, []).append(value)


def time_prefill(
    subject: Subject, *, most: int, budget_s: float, window_s: float = 0.0, clock: Clock = time.perf_counter
) -> Repeats:
    """One warm-up, then up to `most` repeats while `budget_s` lasts (at least one), and on until `window_s` is full."""
    subject.read_prompt(clock)
    done = Repeats()
    started = clock()
    while True:
        done.add(subject.read_prompt(clock))
        spent, count = clock() - started, len(done.parts["ttft"])
        if spent >= window_s and (count >= most or spent + spent / count > budget_s):
            return done


def warm_decode(subject: Subject, *, budget_s: float, clock: Clock = time.perf_counter) -> int:
    """Steps until the last five differ by less than 2 %, at least 3 and at most 20, or until the budget is spent."""
    gaps: list[float] = []
    started = clock()
    while len(gaps) < WARM_MOST:
        before = clock()
        subject.decode_step()
        gaps.append(clock() - before)
        last = gaps[-WARM_WINDOW:]
        steady = len(last) == WARM_WINDOW and max(last) - min(last) < WARM_SPREAD * max(last)
        if len(gaps) >= WARM_LEAST and (steady or clock() - started > budget_s):
            break
    return len(gaps)


def time_decode(
    subject: Subject, *, steps: int, least: int = 8, budget_s: float = float("inf"), window_s: float = 0.0,
    clock: Clock = time.perf_counter,
) -> list[float]:  # fmt: skip
    """Seconds between one token on the host and the next. The gap after the prompt is none of them."""
    gaps: list[float] = []
    started = before = clock()
    while True:
        subject.decode_step()
        now = clock()
        gaps.append(now - before)
        before = now
        spent = now - started
        if spent >= window_s and (len(gaps) >= steps or (spent > budget_s and len(gaps) >= least)):
            return gaps
