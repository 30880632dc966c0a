"""Axes of a chart: from numbers to pixels, where ticks stand and what they say. All coordinates come out as finished strings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longboard.boards.labels import Box
from longboard.quantities import Quantity
from longboard_tasks.catalogue.metrics import MetricInfo
from longboard_tasks.sizes import unit_for


@dataclass(frozen=True, slots=True)
class Scale:
    """From numbers to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float  # px of `low`
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def many(self, values: np.ndarray) -> np.ndarray:
        low, high, at = self.low, self.high, np.clip(values, self.low, self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), np.log(at)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, most: int) -> list[float]:
        return _log_ticks(self.low, self.high, most) if self.log else _linear_ticks(self.low, self.high, most)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 3), (1,)):
        ticks = [factor * 10.0**p for p in powers for factor in factors if low <= factor * 10.0**p <= high]
        if 3 <= len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most) or 1]


def gain_domain(gains: Sequence[Quantity]) -> tuple[float, float]:
    """Shares stay within 0 to 1, and the axis spans at least 0.2, so that noise does not look like a difference."""
    low, high = min(g.low for g in gains), max(g.high for g in gains)
    pad = max((high - low) * 0.06, (0.2 - (high - low)) / 2)
    low, high = max(0.0, low - pad), high + pad
    return (low, min(1.02, high)) if high <= 1.5 else (low, high)


def length_scale(numbers: Sequence[Quantity], frame: Box, unit: float, is_share: bool) -> Scale:
    """Shares as in a front; times and sizes logarithmic where they differ much, since they grow with the length."""
    if is_share:
        return Scale(*gain_domain(numbers), frame.bottom, frame.top)
    low, high = min(q.low for q in numbers) / unit, max(q.high for q in numbers) / unit
    if low > 0 and high / low > 6:
        return Scale(low / 1.3, high * 1.3, frame.bottom, frame.top, log=True)
    pad = max((high - low) * 0.06, abs(high) * 0.03, 1e-9)
    return Scale(max(0.0, low - pad) if low >= 0 else low - pad, high + pad, frame.bottom, frame.top)


def unit_of(numbers: Sequence[Quantity], metric: MetricInfo) -> tuple[float, str]:
    if metric.unit == "share":
        return 1.0, ""
    if metric.unit != "bytes":
        return 1.0, metric.unit
    return unit_for(max(q.number for q in numbers))


def cost_scale(costs: Sequence[Quantity], frame: Box, unit: float) -> Scale:
    values = [c.number / unit for c in costs]
    low = min(c.low / unit for c in costs)
    high = max(c.high / unit for c in costs)
    if min(values) > 0 and max(values) / min(values) > 6:
        low = max(low, min(values) / 3)
        stretch = max(1.12, (high / low) ** 0.07)
        return Scale(low / stretch, high * stretch, frame.left, frame.right, log=True)
    pad = max((high - low) * 0.12, abs(high) * 0.03, 1e-9)
    return Scale(max(0.0, low - pad) if low >= 0 else low - pad, high + pad, frame.left, frame.right)


def rect(box: Box) -> dict[str, str]:
    return {
        "x": px(box.left),
        "y": px(box.top),
        "width": px(box.right - box.left),
        "height": px(box.bottom - box.top),
        "right": px(box.right),
        "bottom": px(box.bottom),
    }


def tick_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:g}"


def y_ticks(y: Scale, frame: Box) -> list[dict[str, str]]:
    ticks = y.ticks(6)
    decimals = 0 if y.log else max(len(f"{tick:g}".partition(".")[2]) for tick in ticks)
    texts = [tick_text(tick) if y.log else f"{tick:,.{decimals}f}" for tick in ticks]
    return [
        {"at": px(y(tick)), "text": text, "x": px(frame.left - 8), "text_y": px(y(tick) + 4.5)}
        for tick, text in zip(ticks, texts, strict=True)
    ]


def px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
