"""Paddles, the dashes of a Pathfinder curve, and canvases that say which places are taken. Many images at once; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
OVERLAP = 1.8  # two soft masks that add up to this much somewhere are in each other's way


class Knobs(Protocol):
    @property
    def side(self) -> int: ...
    @property
    def margins(self) -> tuple[int, ...]: ...
    @property
    def length(self) -> int: ...
    @property
    def thickness(self) -> float: ...
    @property
    def border(self) -> int: ...


def coverage(distance: Array, radius: float | Array) -> Array:
    """Share of a pixel, 0 to 1, within `radius` of a shape that lies `distance` from its centre. Same shape as `distance`."""
    return np.clip(radius - distance + 0.5, 0.0, 1.0)


@dataclass(slots=True)
class Paddles:
    """One paddle for each of n images: where it starts [n], which way it goes [n, radians], and the margin of its curve [n]."""

    knobs: Knobs
    y: Array
    x: Array
    angle: Array
    margin: Array

    @classmethod
    def none(cls, knobs: Knobs, count: int) -> Paddles:
        return cls(knobs, *(np.zeros(count) for _ in range(4)))

    @classmethod
    def from_anchor(cls, knobs: Knobs, y: Array, x: Array, angle: Array, margin: Array) -> Paddles:
        """A margin away from the middle of the gap before them."""
        return cls(knobs, y + margin * np.sin(angle), x + margin * np.cos(angle), angle, margin)

    @classmethod
    def from_ends(cls, knobs: Knobs, ends: Array) -> Paddles:
        """The inverse of `ends`; the margin is left at 0."""
        angle = np.arctan2(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1])
        return cls(knobs, ends[:, 0], ends[:, 1], angle, np.zeros(len(ends)))

    def take(self, rows: Index) -> Paddles:
        return Paddles(self.knobs, self.y[rows], self.x[rows], self.angle[rows], self.margin[rows])

    def put(self, rows: Index, other: Paddles) -> None:
        self.y[rows], self.x[rows], self.angle[rows], self.margin[rows] = other.y, other.x, other.angle, other.margin

    def ends(self) -> Array:
        """[n, 4]: y, x of the start and of the end."""
        sin, cos = np.sin(self.angle), np.cos(self.angle)
        length = self.knobs.length
        return np.stack([self.y, self.x, self.y + length * sin, self.x + length * cos], axis=1)

    def anchor(self) -> tuple[Array, Array]:
        """The middle of the gap after them, y and x [n]."""
        reach = self.knobs.length + self.margin
        return self.y + reach * np.sin(self.angle), self.x + reach * np.cos(self.angle)

    def patch(self) -> tuple[Index, Index, Array]:
        """(rows [n, P], columns [n, P], distance to the paddle [n, P, P]): the pixels that it or its margins can touch."""
        length = self.knobs.length
        half = math.ceil(length / 2 + self.knobs.thickness / 2 + 2 * max(self.knobs.margins)) + 1
        sin, cos = np.sin(self.angle), np.cos(self.angle)
        around = np.arange(-half, half + 1)
        rows = np.rint(self.y + length / 2 * sin).astype(np.int64)[:, None] + around
        columns = np.rint(self.x + length / 2 * cos).astype(np.int64)[:, None] + around
        down, right = rows - self.y[:, None], columns - self.x[:, None]
        along = np.clip((down * sin[:, None])[:, :, None] + (right * cos[:, None])[:, None], 0, length)
        off_y = down[:, :, None] - along * sin[:, None, None]
        off_x = right[:, None] - along * cos[:, None, None]
        return rows, columns, np.sqrt(off_y * off_y + off_x * off_x)


@dataclass(slots=True)
class Canvas:
    """What is taken in each of n images [n, side + 2 pad, side + 2 pad], from 0 free to 1; `wide` is that with a margin more."""

    knobs: Knobs
    pad: int
    taken: NDArray[np.float32]
    wide: NDArray[np.float32]

    @classmethod
    def empty(cls, knobs: Knobs, count: int, *, blank: bool = False) -> Canvas:
        """Only the border is taken; with `blank` not even that."""
        pad = 2 * (knobs.length + 2 * max(knobs.margins)) + 4
        shape = (count, knobs.side + 2 * pad, knobs.side + 2 * pad)
        canvas = cls(knobs, pad, np.zeros(shape, np.float32), np.zeros((0 if blank else count, *shape[1:]), np.float32))
        if not blank:
            canvas.clear(np.arange(count))
        return canvas

    def clear(self, rows: Index) -> None:
        for layer, border in (
            (self.taken, self.knobs.border),
            (self.wide, self.knobs.border + min(self.knobs.margins)),
        ):
            layer[rows] = 1
            free = slice(self.pad + border, self.pad + self.knobs.side - border)
            layer[rows, free, free] = 0

    def copy(self, rows: Index) -> Canvas:
        return Canvas(self.knobs, self.pad, self.taken[rows], self.wide[rows])

    def copy_union(self, into: Index, other: Canvas, first: Index, second: Index) -> None:
        self.taken[into] = np.maximum(other.taken[first], other.taken[second])
        self.wide[into] = np.maximum(other.wide[first], other.wide[second])

    def add(self, rows: Index, paddles: Paddles) -> None:
        """Row numbers must differ from each other."""
        down, right, distance = paddles.patch()
        place = self._place(rows, down, right)
        reach = (self.knobs.thickness / 2 + paddles.margin)[:, None, None]
        self.taken[place] = np.maximum(self.taken[place], coverage(distance, reach))
        self.wide[place] = np.maximum(self.wide[place], coverage(distance, reach + paddles.margin[:, None, None]))

    def is_free(self, rows: Index, paddles: Paddles) -> NDArray[np.bool_]:
        """[n]: whether no paddle of theirs would overlap, margins included, with what is taken."""
        down, right, distance = paddles.patch()
        mask = coverage(distance, (self.knobs.thickness / 2 + paddles.margin)[:, None, None])
        free: NDArray[np.bool_] = (self.taken[self._place(rows, down, right)] + mask).max(axis=(1, 2)) < OVERLAP
        return free

    def draw(self, rows: Index, paddles: Paddles, brightness: float) -> None:
        """A line of the knobs' thickness; where lines meet the brighter one stays."""
        down, right, distance = paddles.patch()
        place = self._place(rows, down, right)
        half = self.knobs.thickness / 2
        inked = np.minimum(half, distance + 0.5) - np.maximum(
            -half, distance - 0.5
        )  # a thin line never fills its pixel
        self.taken[place] = np.maximum(self.taken[place], np.clip(inked, 0, 1) * brightness)

    def wide_at(self, rows: Index, y: Array, x: Array) -> NDArray[np.float32]:
        """[n, k]: what a margin more takes at places [n, k]; 1 outside the picture."""
        last = self.wide.shape[1] - 1
        down = np.clip(np.rint(y).astype(np.int64) + self.pad, 0, last)
        right = np.clip(np.rint(x).astype(np.int64) + self.pad, 0, last)
        found: NDArray[np.float32] = self.wide[rows[:, None], down, right]
        return found

    def inside(self) -> Array:
        """[n, side, side] without the padding."""
        middle = slice(self.pad, self.pad + self.knobs.side)
        return self.taken[:, middle, middle].astype(np.float64)

    def _place(self, rows: Index, down: Index, right: Index) -> tuple[Index, Index, Index]:
        last = self.taken.shape[1] - 1
        return (
            rows[:, None, None],
            np.clip(down + self.pad, 0, last)[:, :, None],
            np.clip(right + self.pad, 0, last)[:, None, :],
        )
