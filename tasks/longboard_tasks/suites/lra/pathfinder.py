"""Pathfinder and Path-X: are the two filled circles on the ends of one dashed curve? numpy only.

Sources: Linsley et al. 2018 (arXiv:1805.08315) and Kim et al. 2020 (arXiv:1906.01558) for the stimulus, Tay et al. 2021
(arXiv:2011.04006) for its knobs; two full curves grow in turn from seeds a fixed distance apart, short ones distract. We differ
in how the same stimulus is made: a whole block of images grows at once, coordinates are not rounded to pixels, lines are drawn
by their distance instead of by resampling, and the two curves never touch. docs/lra.md.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longboard_tasks.suites.lra.paddles import Array, Canvas, Paddles, coverage

TRIES = 3  # draws of one paddle before its curve counts as stuck
CURVE_TRIES = 5  # of one distractor; then the image goes without it
SEED_DRAWS = 24  # places tried for the first paddle of a distractor
BLOCK = 250  # images made together: the unit of reproducibility


@dataclass(frozen=True, slots=True)
class Stimulus:
    """The knobs of one image size, in pixels unless said otherwise."""

    side: int
    margins: tuple[int, ...]  # half the gap between two paddles; one is drawn for each image
    length: int  # of a paddle
    thickness: float
    marker_radius: float
    seed_distance: int
    distractors: int
    continuity: float  # 1 lets a curve turn by 90 degrees at once, more keeps it straighter
    target_brightness: float  # circles have 1; the brightest pixel of an image becomes 255
    distractor_brightness: float
    border: int = 1
    contour: int = 14  # paddles of a target curve

    @property
    def distractor_contour(self) -> int:
        return self.contour // 3


# "hard" of the published sets, by the name of the task.
STIMULI = {
    "pathfinder32": Stimulus(32, (1,), 2, 0.5, 1.5, 7, 5, 1.0, 1.5, 2.0),
    "pathx128": Stimulus(128, (2, 3), 5, 1.5, 3.0, 20, 8, 1.8, 0.9, 0.9),
}


@dataclass(frozen=True, slots=True)
class Scenes:
    """A block of images with what was drawn.

    images       [N, side, side]  uint8, darkest pixel 0, brightest 255
    labels       [N]              int64; 1: both circles on one curve. Half of a block, by turns of a shuffle
    targets      [N, 2, contour, 4]  float64; y, x of start and end of each paddle, in pixels
    distractors  [N, distractors, distractor_contour, 4]; NaN for a curve that found no room
    markers      [N, 2, 2]        float64; y, x of the circles' ends of curve; they are drawn around the nearest pixel
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    targets: Array
    distractors: Array
    markers: Array


def make_block(task: str, *, split: str, seed: int, block: int, count: int = BLOCK) -> Scenes:
    """Block number `block` of a split: the same images for the same arguments. Raises KeyError for an unknown task."""
    if task not in STIMULI:
        raise KeyError(f'There is no stimulus "{task}". There are: {", ".join(STIMULI)}.')
    name = f"lra/{task}@1:{split}:{seed}:{block}:{count}"
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))
    return draw_scenes(STIMULI[task], count, rng)


def draw_scenes(stimulus: Stimulus, count: int, rng: np.random.Generator) -> Scenes:
    margins, targets, canvas = _grow_pairs(stimulus, count, rng)
    distractors = _grow_distractors(stimulus, margins, canvas, rng)
    labels = np.arange(count) % 2
    labels = labels[np.argsort(rng.random(count))]
    first = (rng.random(count) < 0.5).astype(np.int64)
    last = np.where(labels == 1, first, 1 - first)
    every = np.arange(count)
    markers = np.stack([targets[every, first, 0, :2], targets[every, last, -1, 2:]], axis=1)
    images = _render(stimulus, targets, distractors, markers)
    return Scenes(images, labels.astype(np.int64), targets, distractors, markers)


def _grow_pairs(stimulus: Stimulus, count: int, rng: np.random.Generator) -> tuple[Array, Array, Canvas]:
    """(margin of each image [N], targets [N, 2, contour, 4], what is taken): pairs of curves, none of them stuck.

    All slots grow by one paddle a turn, the two curves by turns. A slot whose curve is stuck starts again from new seeds; a
    finished one is moved out and starts again too. Every attempt is drawn alike, whatever became of the one before it.
    """
    slots = min(count, 256)
    # Each curve has its own canvas: all of the other one, and itself without its newest paddle, which the next one touches.
    canvas = Canvas.empty(stimulus, 2 * slots)
    margins = np.zeros(slots)
    newest = [Paddles.none(stimulus, slots) for _ in range(2)]
    records = np.zeros((slots, 2, stimulus.contour, 4))
    placed = np.zeros(slots, dtype=np.int64)  # paddles of both curves; 0: to start again
    done_margins, done_targets = np.zeros(count), np.zeros((count, 2, stimulus.contour, 4))
    done = Canvas.empty(stimulus, count)
    finished = 0
    every = np.arange(slots)
    while finished < count:
        _start_pairs(stimulus, np.flatnonzero(placed == 0), margins, newest, canvas, records, placed, rng)
        for curve in (0, 1):
            live = np.flatnonzero(placed >= 2)
            grown, found = _extend(stimulus, newest[curve].take(live), canvas, 2 * live + curve, rng)
            placed[live[~found]] = 0
            live, grown = live[found], grown.take(np.flatnonzero(found))
            canvas.add(2 * live + curve, newest[curve].take(live))
            canvas.add(2 * live + 1 - curve, grown)
            newest[curve].put(live, grown)
            records[live, curve, placed[live] // 2] = grown.ends()
            placed[live] += 1
        whole = np.flatnonzero(placed == 2 * stimulus.contour)[: count - finished]
        into = np.arange(finished, finished + len(whole))
        done_margins[into], done_targets[into] = margins[whole], records[whole]
        done.copy_union(into, canvas, 2 * whole, 2 * whole + 1)
        finished += len(whole)
        placed[every[placed == 2 * stimulus.contour]] = 0
    return done_margins, done_targets, done


def _start_pairs(
    stimulus: Stimulus, slots: NDArray[np.int64], margins: Array, newest: list[Paddles], canvas: Canvas, records: Array,
    placed: NDArray[np.int64], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Two first paddles in each of `slots`: `placed` becomes 2, or stays 0 where they do not fit."""
    n, room = len(slots), 2 * stimulus.seed_distance
    if n == 0:
        return
    margins[slots] = np.array(stimulus.margins)[(rng.random(n) * len(stimulus.margins)).astype(np.int64)]
    canvas.clear(2 * slots)
    canvas.clear(2 * slots + 1)
    turn = 2 * math.pi * rng.random((n, 3))
    tip = room + np.floor(rng.random((n, 2)) * (stimulus.side - 2 * room))
    other = np.round(tip + stimulus.seed_distance * np.stack([np.sin(turn[:, 2]), np.cos(turn[:, 2])], axis=1))
    fits = np.ones(n, dtype=bool)
    for curve, place in enumerate((tip, other)):
        first = Paddles(stimulus, place[:, 0], place[:, 1], turn[:, curve], margins[slots])
        fits &= canvas.is_free(2 * slots + curve, first)  # the second seed meets the first one's paddle here
        canvas.add(2 * slots + 1 - curve, first)
        newest[curve].put(slots, first)
        records[slots, curve, 0] = first.ends()
    placed[slots] = np.where(fits, 2, 0)


def _extend(
    stimulus: Stimulus, last: Paddles, canvas: Canvas, layers: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Paddles, NDArray[np.bool_]]:
    """(the next paddle of each curve, whether one was found). Its angle is drawn by how little it turns and by what is free."""
    angles = np.linspace(0, 2 * math.pi, math.ceil(2 * math.pi * (stimulus.length + max(stimulus.margins))), False)
    y, x = last.anchor()
    turn = np.abs((angles - last.angle[:, None] + math.pi) % (2 * math.pi) - math.pi)
    weight = np.cos(np.minimum(turn * stimulus.continuity, math.pi / 2)) ** 2
    reach = (stimulus.length + last.margin)[:, None]
    weight *= 1 - canvas.wide_at(layers, y[:, None] + reach * np.sin(angles), x[:, None] + reach * np.cos(angles))
    total = np.cumsum(weight, axis=1)
    found = np.zeros(len(y), dtype=bool)
    angle = last.angle.copy()
    for _ in range(TRIES):
        open_ = np.flatnonzero(~found & (total[:, -1] > 1e-4))
        draw = rng.random(len(open_)) * total[open_, -1]
        angle[open_] = angles[np.minimum((total[open_] <= draw[:, None]).sum(axis=1), len(angles) - 1)]
        next_ = Paddles.from_anchor(stimulus, y[open_], x[open_], angle[open_], last.margin[open_])
        found[open_] = canvas.is_free(layers[open_], next_)
    return Paddles.from_anchor(stimulus, y, x, angle, last.margin), found


def _grow_distractors(stimulus: Stimulus, margins: Array, canvas: Canvas, rng: np.random.Generator) -> Array:
    count = len(margins)
    out = np.full((count, stimulus.distractors, stimulus.distractor_contour, 4), np.nan)
    for number in range(stimulus.distractors):
        missing = np.arange(count)
        for _ in range(CURVE_TRIES):
            curve, grown = _grow_curve(stimulus, margins[missing], canvas, missing, rng)
            for paddle in curve:
                canvas.add(missing[grown], paddle.take(np.flatnonzero(grown)))
            ends = np.stack([paddle.ends() for paddle in curve], axis=1)
            out[missing[grown], number] = ends[grown]
            missing = missing[~grown]
    return out


def _grow_curve(
    stimulus: Stimulus, margin: Array, canvas: Canvas, layers: NDArray[np.int64], rng: np.random.Generator
) -> tuple[list[Paddles], NDArray[np.bool_]]:
    """(paddles of one distractor an image, whether it found room): a try, nothing is added to the canvas."""
    n = len(margin)
    every = np.arange(n)
    seed = Paddles.none(stimulus, n)
    grown = np.zeros(n, dtype=bool)
    for _ in range(SEED_DRAWS):
        open_ = np.flatnonzero(~grown)
        y, x, turn = rng.random((3, len(open_)))
        first = Paddles(stimulus, y * stimulus.side, x * stimulus.side, 2 * math.pi * turn, margin[open_])
        seed.put(open_, first)
        grown[open_] = canvas.is_free(layers[open_], first)
    curve = [seed]
    trial = canvas.copy(layers)
    for _ in range(stimulus.distractor_contour - 1):
        paddle, found = _extend(stimulus, curve[-1], trial, every, rng)
        trial.add(every, curve[-1])
        curve.append(paddle)
        grown &= found
    return curve, grown


def _render(stimulus: Stimulus, targets: Array, distractors: Array, markers: Array) -> NDArray[np.uint8]:
    count, side = len(targets), stimulus.side
    layer = Canvas.empty(stimulus, count, blank=True)
    kinds = ((targets, stimulus.target_brightness), (distractors, stimulus.distractor_brightness))
    for curves, brightness in kinds:
        for ends in np.moveaxis(curves.reshape(count, -1, 4), 1, 0):
            drawn = np.flatnonzero(~np.isnan(ends[:, 0]))
            layer.draw(drawn, Paddles.from_ends(stimulus, ends[drawn]), brightness)
    image = layer.inside()
    grid = np.arange(side)
    for number in range(2):
        y, x = np.rint(markers[:, number]).T
        away = np.hypot(grid[:, None] - y[:, None, None], grid - x[:, None, None])
        image = np.maximum(image, coverage(away, stimulus.marker_radius))
    low, high = image.min(axis=(1, 2), keepdims=True), image.max(axis=(1, 2), keepdims=True)
    return np.rint((image - low) / (high - low) * 255).astype(np.uint8)
