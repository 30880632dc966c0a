"""Line charts of numbers by context length, and measured against bound: dicts of finished strings for `_chart.html`.

Both axes logarithmic. Only measured points are marked; a thin line between them guides the eye.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longboard.boards.marks import mark_of
from longboard.quantities import figure_text, length_label

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 400, 70, 180, 14, 48


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: tuple[tuple[float, float, float, float], ...]  # (x, value, low, high), by rising x


def draw(series: Sequence[Series], *, x_title: str, y_title: str, diagonal: bool = False) -> dict[str, Any]:
    """Empty without points. `diagonal` draws y = x: measured against bound."""
    spots = [p for s in series for p in s.points if p[1] > 0]
    if not spots:
        return {}
    x_low, x_high = _domain([p[0] for p in spots])
    y_low, y_high = _domain(
        [v for p in spots for v in (p[1], p[2], p[3]) if v > 0] + ([x_low, x_high] if diagonal else [])
    )

    def x(value: float) -> float:
        return LEFT + (WIDTH - RIGHT - LEFT) * math.log(value / x_low) / math.log(x_high / x_low)

    def y(value: float) -> float:
        value = max(value, y_low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * math.log(value / y_low) / math.log(y_high / y_low)

    lengths = sorted({p[0] for p in spots})
    x_ticks = _powers(x_low, x_high) if diagonal else _thin([n for n in lengths if n >= 1], 8)
    names = _spread([(y(s.points[-1][1]), s.name) for s in series if s.points])
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "plot": {"x": LEFT, "y": TOP, "width": WIDTH - LEFT - RIGHT, "height": HEIGHT - TOP - BOTTOM},
        "right": WIDTH - RIGHT,
        "bottom": HEIGHT - BOTTOM,
        "x_title": x_title,
        "y_title": y_title,
        "x_middle": (LEFT + WIDTH - RIGHT) // 2,
        "y_middle": (TOP + HEIGHT - BOTTOM) // 2,
        "x_title_y": HEIGHT - 8,
        "x_ticks": [
            {"at": _px(x(t)), "text": f"{t:,g}" if diagonal else length_label(int(t)), "y": HEIGHT - BOTTOM + 18}
            for t in x_ticks
        ],
        "y_ticks": [
            {"at": _px(y(t)), "text": f"{t:,g}", "x": LEFT - 8, "text_y": _px(y(t) + 4)} for t in _powers(y_low, y_high)
        ],
        "diagonal": _line([(x(v), y(v)) for v in (max(x_low, y_low), min(x_high, y_high))]) if diagonal else "",
        "series": [
            {
                "name": s.name,
                "mark": mark_of(i),
                "line": "" if diagonal else _line([(x(p[0]), y(p[1])) for p in s.points]),
                "points": [
                    {
                        "x": _px(x(p[0])),
                        "y": _px(y(p[1])),
                        "y1": _px(y(p[3])),
                        "y2": _px(y(p[2])),
                        "says": _says(s.name, p, diagonal),
                    }
                    for p in s.points
                ],
                "label_x": WIDTH - RIGHT + 10,
                "label_y": _px(names.get(s.name, 0) + 4),
            }
            for i, s in enumerate(series)
            if s.points
        ],
    }


def _says(name: str, point: tuple[float, float, float, float], diagonal: bool) -> str:
    at = f"bound {figure_text(point[0])}" if diagonal else f"at {length_label(int(point[0]))}"
    return f"{name} {at}: {figure_text(point[1])} ({figure_text(point[2])} to {figure_text(point[3])})"


def _domain(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    stretch = max(1.15, (high / low) ** 0.04)
    return low / stretch, high * stretch


def _powers(low: float, high: float) -> list[float]:
    """Round values between: 1, 10, 100; with 2 and 5 between when there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    tens = [10.0**p for p in range(first, last + 1) if low <= 10.0**p <= high]
    if len(tens) >= 4:
        return _thin(tens, 8)
    return _thin([f * 10.0**p for p in range(first, last + 1) for f in (1, 2, 5) if low <= f * 10.0**p <= high], 8)


def _thin(values: Sequence[float], most: int) -> list[float]:
    return list(values)[:: -(-len(values) // most)]


def _spread(labels: list[tuple[float, str]], least: float = 15.0) -> dict[str, float]:
    """Names at the right end, moved apart so that none covers another."""
    placed: dict[str, float] = {}
    at = -math.inf
    for wanted, name in sorted(labels):
        at = max(wanted, at + least)
        placed[name] = at
    over = max(placed.values(), default=0) - (HEIGHT - BOTTOM)
    return {name: value - max(0.0, over) for name, value in placed.items()}


def _line(corners: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{_px(cx)} {_px(cy)}" for i, (cx, cy) in enumerate(corners))


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
