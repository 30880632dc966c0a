"""Where a chart's labels go so that none lies on another, on a mark, or outside the frame. Pure geometry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP = 2.0  # least space between two labels, px
# To the right first: one reads from there. y runs downwards.
DIRECTIONS = tuple(
    (round(math.cos(math.radians(degrees)), 9), round(math.sin(math.radians(degrees)), 9))
    for degrees in (0, -45, 45, -90, 90, -135, 135, 180)
)
REACHES = (12, 20, 32, 48, 68, 92, 120, 156)  # px from the mark to the label's nearest edge


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
    for anchor in anchors:
        best, best_cost = None, math.inf
        near = Box(
            anchor.x - anchor.width - REACHES[-1], anchor.y - REACHES[-1] - anchor.height,
            anchor.x + anchor.width + REACHES[-1], anchor.y + REACHES[-1] + anchor.height,
        )  # fmt: skip
        near_marks = [mark for mark in marks if near.overlap(mark)]
        near_lines = [line for line in lines if near.overlap(line)]
        for candidate, distance in _around_the_mark(anchor, frame):
            if distance >= best_cost:
                break  # candidates come by rising distance, and a cost is never below it
            if any(candidate.grown(GAP).overlap(other) for other in taken):
                continue
            cost = distance + sum(min(24.0, candidate.overlap(line)) for line in near_lines)
            if cost < best_cost:
                cost += 1_000 * sum(candidate.overlap(mark) > 0 for mark in near_marks)
            if cost < best_cost:
                best, best_cost = candidate, cost
        taken.append(best or _free_row(anchor, taken, frame))
    return taken


def _around_the_mark(anchor: Anchor, frame: Box) -> Iterator[tuple[Box, float]]:
    for reach in REACHES:
        for rank, (dx, dy) in enumerate(DIRECTIONS):
            centre_x = anchor.x + dx * reach + _sign(dx) * anchor.width / 2
            centre_y = anchor.y + dy * reach + _sign(dy) * anchor.height / 2
            box = _around(centre_x, centre_y, anchor)
            if frame.holds(box):
                yield box, reach + rank


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


def _around(x: float, y: float, anchor: Anchor) -> Box:
    return Box(x - anchor.width / 2, y - anchor.height / 2, x + anchor.width / 2, y + anchor.height / 2)


def _nudged(anchor: Anchor, frame: Box) -> Box:
    """The last resort in a full frame: beside the mark, pushed inside."""
    left = min(max(anchor.x + REACHES[0], frame.left), frame.right - anchor.width)
    top = min(max(anchor.y - anchor.height / 2, frame.top), frame.bottom - anchor.height)
    return Box(left, top, left + anchor.width, top + anchor.height)


def _sign(value: float) -> int:
    return 0 if abs(value) < 1e-9 else int(math.copysign(1, value))
