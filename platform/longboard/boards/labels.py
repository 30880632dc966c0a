"""Where a chart's labels go so that none lies on another, on a mark, or outside the frame. Pure geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GAP = 2.0  # least space between two labels, px
# To the right first: one reads from there. y runs downwards.
DIRECTIONS = tuple(
    (round(math.cos(math.radians(degrees)), 9), round(math.sin(math.radians(degrees)), 9))
    for degrees in (0, -45, 45, -90, 90, -135, 135, 180)
)
REACHES = (12, 20, 32, 48, 68, 92, 120, 156)  # px from the mark to the label's nearest edge
_WAYS = np.array([way for _ in REACHES for way in DIRECTIONS])  # [places, 2]
_STEPS = np.array([(dx * reach, dy * reach) for reach in REACHES for dx, dy in DIRECTIONS])
_DISTANCES = np.array([float(reach + rank) for reach in REACHES for rank in range(len(DIRECTIONS))])


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0

    def grown(self, by: float) -> Box:
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True, slots=True)
class Anchor:
    """A mark at (x, y) whose label needs `width` x `height`."""

    x: float
    y: float
    width: float
    height: float


def place(anchors: Sequence[Anchor], *, marks: Sequence[Box], lines: Sequence[Box], frame: Box) -> list[Box]:
    """A box for each anchor, in order; earlier anchors choose first.

    No box overlaps another, whatever the input, as long as the frame has room. Marks are avoided before lines (whiskers,
    the front), and near places come before far ones.
    """
    taken: list[Box] = []
    marked, lined = _edges(marks), _edges(lines)
    for anchor in anchors:
        boxes, distance = _around_the_mark(anchor)
        cost = distance + np.minimum(24.0, _overlaps(boxes, lined)).sum(axis=1)
        cost += 1_000 * (_overlaps(boxes, marked) > 0).sum(axis=1)
        outside = (boxes[:, :2] < (frame.left, frame.top)).any(1) | (boxes[:, 2:] > (frame.right, frame.bottom)).any(1)
        grown = boxes + (-GAP, -GAP, GAP, GAP)
        cost[outside | (_overlaps(grown, _edges(taken)) > 0).any(axis=1)] = math.inf
        best = int(np.argmin(cost))
        taken.append(Box(*map(float, boxes[best])) if cost[best] < math.inf else _free_row(anchor, taken, frame))
    return taken


def _around_the_mark(anchor: Anchor) -> tuple[np.ndarray, np.ndarray]:
    """Every place for a label, [places, 4] as left, top, right, bottom, and its distance, near ones first."""
    size = np.array([anchor.width, anchor.height])
    centres = np.array([anchor.x, anchor.y]) + _STEPS + np.sign(_WAYS) * size / 2
    return np.concatenate([centres - size / 2, centres + size / 2], axis=1), _DISTANCES


def _edges(boxes: Sequence[Box]) -> np.ndarray:
    return np.array([(b.left, b.top, b.right, b.bottom) for b in boxes], float).reshape(-1, 4)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas that [B, 4] and [M, 4] boxes share, [B, M]."""
    wide = np.minimum(boxes[:, None, 2], others[None, :, 2]) - np.maximum(boxes[:, None, 0], others[None, :, 0])
    high = np.minimum(boxes[:, None, 3], others[None, :, 3]) - np.maximum(boxes[:, None, 1], others[None, :, 1])
    return np.maximum(wide, 0.0) * np.maximum(high, 0.0)


def _free_row(anchor: Anchor, taken: Sequence[Box], frame: Box) -> Box:
    """For crowded frames: the free place nearest to the mark on a grid over the whole frame."""
    row = anchor.height + GAP
    places = [
        Box(left, top, left + anchor.width, top + anchor.height)
        for top in (frame.top + step * row for step in range(int((frame.bottom - frame.top) // row)))
        for left in (frame.left + (frame.right - frame.left - anchor.width) * part / 8 for part in range(9))
    ]
    free = [p for p in places if frame.holds(p) and not any(p.grown(GAP / 2).overlap(other) for other in taken)]
    if not free:
        return _nudged(anchor, frame)
    return min(free, key=lambda p: math.hypot((p.left + p.right) / 2 - anchor.x, (p.top + p.bottom) / 2 - anchor.y))


def _nudged(anchor: Anchor, frame: Box) -> Box:
    """The last resort in a full frame: beside the mark, pushed inside."""
    left = min(max(anchor.x + REACHES[0], frame.left), frame.right - anchor.width)
    top = min(max(anchor.y - anchor.height / 2, frame.top), frame.bottom - anchor.height)
    return Box(left, top, left + anchor.width, top + anchor.height)
