"""Figures: functions from points to a dict that a template draws as SVG. All coordinates are finished strings.

Only measured points are drawn, with both intervals; a front is a staircase through them, never a curve between them.
Axes come from the visible points. A System has one colour and one shape everywhere: both follow its id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from longboard.boards.axes import Scale, cost_scale, gain_domain, length_scale, px, rect, tick_text, unit_of, y_ticks
from longboard.boards.labels import Anchor, Box, place
from longboard.boards.marks import mark_of
from longboard.quantities import Quantity, length_label
from longboard_tasks.catalogue.metrics import MetricInfo

SURE, MAYBE = 0.9, 0.1  # of being on the front: drawn solid, hollow, or dimmed


@dataclass(frozen=True, slots=True)
class FrontPoint:
    system_id: int
    label: str
    url: str
    gain: Quantity
    cost: Quantity
    on_front: bool
    probability: float  # of being on the front

    @property
    def certainty(self) -> str:
        return certainty(self.probability, self.on_front)


def certainty(probability: float, on_front: bool) -> str:
    """How a System's mark is drawn: solid, hollow, or dimmed."""
    return "sure" if probability >= SURE else "maybe" if probability >= MAYBE or on_front else "off"


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    width: float
    height: float
    left: float = 62
    right: float = 18
    top: float = 14
    bottom: float = 50
    font: float = 13
    labels: int = 12  # points with a name beside them
    crowd: int = 40  # with more points than this, dominated ones without a name are dots: no link, no whiskers

    @property
    def frame(self) -> Box:
        return Box(self.left, self.top, self.width - self.right, self.height - self.bottom)


WIDE = Size("wide", 860, 440, font=14)
PANEL = Size("panel", 380, 340, left=54, right=10, font=13, labels=0)
NARROW = Size("narrow", 320, 400, left=60, right=8, font=15, labels=6)


def draw_front(
    points: Sequence[FrontPoint],
    *,
    gain: MetricInfo,
    cost: MetricInfo,
    size: Size = WIDE,
    rest: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Accuracy against cost at one context length on one hardware. No points, no figure: an empty dict.

    `rest`: (gains, costs) of Systems that are drawn as dots alone, one dot where many lie on one another.
    """
    if not points:
        return {}
    frame = size.frame
    y = Scale(*gain_domain([p.gain for p in points]), frame.bottom, frame.top)
    unit, unit_name = unit_of([p.cost for p in points], cost)
    x = cost_scale([p.cost for p in points], frame, unit)
    spots = [(p, x(p.cost.number / unit), y(p.gain.number)) for p in points]
    steps = _steps([(sx, sy) for p, sx, sy in spots if p.on_front], frame, cost.higher_is_better)
    return {
        "size": size.name,
        "width": px(size.width),
        "height": px(size.height),
        "font": px(size.font),
        "plot": rect(frame),
        "x_title": f"{cost.title}{f', {unit_name}' if unit_name else ''}{' (log scale)' if x.log and size is WIDE else ''}",
        "y_title": gain.title,
        "x_better": "more is better →" if cost.higher_is_better else "← less is better",
        "x_middle": px((frame.left + frame.right) / 2),
        "x_title_y": px(size.height - 10),
        "y_middle": px((frame.top + frame.bottom) / 2),
        "x_ticks": [
            {"at": px(x(tick)), "text": tick_text(tick), "y": px(frame.bottom + 18)}
            for tick in x.ticks(4 if size is NARROW else 8)
        ],
        "y_ticks": y_ticks(y, frame),
        "steps": _path(steps),
        "area": _area(steps, frame),
        **(drawn := _drawn_points(spots, x, y, unit, steps, size)),
        "dots": drawn["dots"] + (_dots(*rest, x, y, unit) if rest is not None else ""),
    }


def _dots(gains: np.ndarray, costs: np.ndarray, x: Scale, y: Scale, unit: float) -> str:
    """One path for any number of points, thinned to a grid of some pixels: 10,000 of them would weigh 120 KB."""
    if len(gains) == 0:
        return ""
    grid = 4 if len(gains) <= 500 else 7
    across = np.round(x.many(costs / unit) / grid).astype(np.int64)
    down = np.round(y.many(gains) / grid).astype(np.int64)
    taken = np.zeros((across.max() + 1, down.max() + 1), bool)
    taken[across, down] = True
    columns, rows = np.nonzero(taken)
    left, top = ([f"{start}{at * grid}" for at in range(size)] for start, size in zip("M ", taken.shape, strict=True))
    return "".join([f"{left[column]}{top[row]}h0" for column, row in zip(columns.tolist(), rows.tolist(), strict=True)])


def _drawn_points(
    spots: Sequence[tuple[FrontPoint, float, float]],
    x: Scale,
    y: Scale,
    unit: float,
    steps: Sequence[tuple[float, float]],
    size: Size,
) -> dict[str, Any]:
    # The front's Systems are named first, then the most accurate of the rest.
    order = sorted(range(len(spots)), key=lambda i: (not spots[i][0].on_front, -spots[i][0].gain.number))
    named = [i for i in order if size is WIDE or spots[i][0].certainty != "off"][: size.labels]
    dots = [i for i in order if len(spots) > size.crowd and spots[i][0].certainty == "off" and i not in named]
    drawn = [i for i in order if i not in set(dots)]
    whiskers = {i: _whiskers(*spots[i], x, y, unit) for i in drawn}
    texts = {i: _shortened(spots[i][0].label, 18 if size is NARROW else 34) for i in named}
    boxes = place(
        [Anchor(spots[i][1], spots[i][2], _text_width(texts[i], size.font), size.font + 3) for i in named],
        marks=[Box(sx - 8, sy - 8, sx + 8, sy + 8) for _, sx, sy in (spots[i] for i in drawn)],
        lines=[box for pair in whiskers.values() for box in pair] + [_segment(a, b) for a, b in pairwise(steps)],
        frame=size.frame,
    )
    labels = {
        i: _label(texts[i], box, spots[i][1], spots[i][2], size.font) for i, box in zip(named, boxes, strict=True)
    }
    points = [
        {
            "x": px(spots[i][1]),
            "y": px(spots[i][2]),
            "mark": mark_of(spots[i][0].system_id),
            "certainty": spots[i][0].certainty,
            "url": spots[i][0].url,
            "name": spots[i][0].label,
            "says": f"{spots[i][0].label}: {spots[i][0].gain}; {spots[i][0].cost}; "
            f"{spots[i][0].probability:.0%} likely on the front",
            "across": {"x1": px(whiskers[i][0].left), "x2": px(whiskers[i][0].right)},
            "along": {"y1": px(whiskers[i][1].top), "y2": px(whiskers[i][1].bottom)},
            "label": labels.get(i),
        }
        for i in reversed(drawn)  # the front is drawn last, on top
    ]
    return {"points": points, "dots": "".join(f"M{px(spots[i][1])} {px(spots[i][2])}h0" for i in dots)}


def _whiskers(p: FrontPoint, sx: float, sy: float, x: Scale, y: Scale, unit: float) -> tuple[Box, Box]:
    across = sorted((x(p.cost.low / unit), x(p.cost.high / unit)))
    return Box(across[0], sy - 0.5, across[1], sy + 0.5), Box(sx - 0.5, y(p.gain.high), sx + 0.5, y(p.gain.low))


def _steps(front: list[tuple[float, float]], frame: Box, more_is_better: bool) -> list[tuple[float, float]]:
    """Corners of the staircase in pixels, from the cheap side on: what one can have for at most this cost."""
    if not front:
        return []
    walk = sorted(front, key=lambda spot: (-spot[0] if more_is_better else spot[0], -spot[1]))
    corners = [walk[0]]
    for sx, sy in walk[1:]:
        corners += [(sx, corners[-1][1]), (sx, sy)]
    return [*corners, (frame.left if more_is_better else frame.right, corners[-1][1])]


def _area(steps: Sequence[tuple[float, float]], frame: Box) -> str:
    """What the front dominates."""
    if not steps:
        return ""
    return f"{_path(steps)}V{px(frame.bottom)}H{px(steps[0][0])}z"


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{px(cx)} {px(cy)}" for i, (cx, cy) in enumerate(corners))


def _segment(a: tuple[float, float], b: tuple[float, float]) -> Box:
    return Box(min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)


def _label(text: str, box: Box, x: float, y: float, font: float) -> dict[str, Any]:
    edge_x, edge_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
    far = math.hypot(edge_x - x, edge_y - y) > 22
    # Boxes are wider than most text: it keeps to the side of its mark.
    side, at = ("end", box.right) if box.right <= x else ("start", box.left)
    if box.left < x < box.right:
        side, at = "middle", (box.left + box.right) / 2
    return {
        "text": text,
        "anchor": side,
        "x": px(at),
        "y": px(box.top + font),
        "box": box,
        "leader": {"x1": px(x), "y1": px(y), "x2": px(edge_x), "y2": px(edge_y)} if far else None,
    }


def draw_lengths(series: Sequence[LengthSeries], *, gain: MetricInfo, size: Size = WIDE) -> dict[str, Any]:
    """A number by context length, one series a System: points with whiskers, joined by a thin line to guide the eye."""
    numbers = [q for s in series for _, q in s.points]
    if not numbers:
        return {}
    lengths = sorted({length for s in series for length, _ in s.points})
    unit, unit_name = unit_of(numbers, gain)
    y = length_scale(numbers, size.frame, unit, gain.unit == "share")
    # Wide enough for the longest number beside the axis, and its title.
    texts = max(len(tick["text"]) for tick in y_ticks(y, size.frame))
    size = replace(size, left=max(size.left, texts * size.font * 0.6 + size.font + 22))
    frame = size.frame
    x = Scale(lengths[0] / 1.3, lengths[-1] * 1.3, frame.left, frame.right, log=True)
    return {
        "size": size.name,
        "width": px(size.width),
        "height": px(size.height),
        "font": px(size.font),
        "plot": rect(frame),
        "x_title": "Context length, tokens",
        "y_title": f"{gain.title}{f', {unit_name}' if unit_name else ''}{' (log scale)' if y.log else ''}",
        "x_better": "",
        "x_middle": px((frame.left + frame.right) / 2),
        "x_title_y": px(size.height - 10),
        "y_middle": px((frame.top + frame.bottom) / 2),
        "x_ticks": [
            {"at": px(x(n)), "text": length_label(n), "y": px(frame.bottom + 18)}
            for n in lengths[:: 2 if len(lengths) > (12 if size.width > 500 else 6) else 1]
        ],
        "y_ticks": y_ticks(y, frame),
        "series": [
            {
                "name": s.label,
                "mark": mark_of(s.system_id),
                "line": _path([(x(n), y(q.number / unit)) for n, q in s.points]),
                "points": [
                    {
                        "x": px(x(n)),
                        "y": px(y(q.number / unit)),
                        "y1": px(y(q.high / unit)),
                        "y2": px(y(q.low / unit)),
                        "says": f"{s.label} at {length_label(n)}: {q}",
                    }
                    for n, q in s.points
                ],
            }
            for s in series
        ],
    }


@dataclass(frozen=True, slots=True)
class LengthSeries:
    system_id: int
    label: str
    points: tuple[tuple[int, Quantity], ...]  # by rising context length


@dataclass(frozen=True, slots=True)
class TrainingSeries:
    seed: int
    points: tuple[tuple[int, float], ...]  # (step, loss), by rising step


def draw_training(series: Sequence[TrainingSeries], *, size: Size = WIDE) -> dict[str, Any]:
    """Loss by training step, one line a seed, in the shape of `draw_lengths`."""
    losses = [loss for s in series for _, loss in s.points]
    if not losses:
        return {}
    frame, last = size.frame, max(step for s in series for step, _ in s.points)
    x = Scale(0, last * 1.02, frame.left, frame.right)
    pad = max((max(losses) - min(losses)) * 0.06, 0.01)
    y = Scale(max(0.0, min(losses) - pad), max(losses) + pad, frame.bottom, frame.top)
    return {
        "size": size.name,
        "width": px(size.width),
        "height": px(size.height),
        "font": px(size.font),
        "plot": rect(frame),
        "x_title": "Training step",
        "y_title": "Training loss",
        "x_middle": px((frame.left + frame.right) / 2),
        "x_title_y": px(size.height - 10),
        "y_middle": px((frame.top + frame.bottom) / 2),
        "x_ticks": [
            {"at": px(x(tick)), "text": f"{tick:,.0f}", "y": px(frame.bottom + 18)}
            for tick in x.ticks(6 if size.width > 500 else 3)
        ],
        "y_ticks": y_ticks(y, frame),
        "series": [
            {
                "mark": mark_of(s.seed),
                "line": _path([(x(step), y(loss)) for step, loss in s.points]),
                "points": [
                    {"x": px(x(step)), "y": px(y(loss)), "says": f"seed {s.seed}, step {step:,}: {loss:.4f}"}
                    for step, loss in s.points
                ],
            }
            for s in series
        ],
    }


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _text_width(text: str, font: float) -> float:
    # No font is known here: 0.6 em a character is what a wide sans needs, so that real text stays inside its box.
    return len(text) * font * 0.6
