"""Pathfinder's images: a flood fill along the drawn curves finds every label, and the counts are those of the knobs."""

import itertools

import numpy as np
import pytest

from longboard_tasks.suites.lra.pathfinder import STIMULI, Scenes, make_block

FINE = 8  # oracle's pixels in one pixel: curves that do not touch stay apart


def block(task: str, count: int) -> Scenes:
    return make_block(task, split="test", seed=0, block=0, count=count)


@pytest.fixture(scope="module", params=[("pathfinder32", 120), ("pathx128", 12)], ids=lambda pair: pair[0])
def drawn(request):
    task, count = request.param
    return STIMULI[task], block(task, count)


def curve_map(curves: np.ndarray, side: int) -> np.ndarray:
    """All curves with their gaps closed, as one fine black and white picture: nothing says which pixel is whose."""
    grid = np.zeros((side * FINE, side * FINE), dtype=bool)
    for curve in curves:
        points = curve.reshape(-1, 2)
        for start, end in itertools.pairwise(points):
            line = start + np.linspace(0, 1, 200)[:, None] * (end - start)
            y, x = np.clip(np.rint((line + 0.5) * FINE).astype(int), 1, side * FINE - 2).T
            grid[y, x] = True
            grid[y + 1, x] = True  # no diagonal steps: four neighbours connect
    return grid


def flood(grid: np.ndarray, start: tuple[int, int]) -> set[tuple[int, int]]:
    seen, waiting = {start}, [start]
    while waiting:
        y, x = waiting.pop()
        for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if near not in seen and grid[near]:
                seen.add(near)
                waiting.append(near)
    return seen


def find_circles(image: np.ndarray, radius: float) -> set[tuple[int, int]]:
    """Places around which a whole disc is white, by the picture alone."""
    reach = int(radius)
    disc = [
        (dy, dx)
        for dy in range(-reach, reach + 1)
        for dx in range(-reach, reach + 1)
        if np.hypot(dy, dx) <= radius - 0.5
    ]
    side = image.shape[0]
    padded = np.pad(image, reach)
    around = np.stack([padded[reach + dy : reach + dy + side, reach + dx : reach + dx + side] for dy, dx in disc])
    return set(map(tuple, np.argwhere(around.min(axis=0) == 255)))


def test_a_flood_fill_along_the_curves_gives_every_label(drawn):
    stimulus, scenes = drawn
    for targets, distractors, markers, label in zip(
        scenes.targets, scenes.distractors, scenes.markers, scenes.labels, strict=True
    ):
        curves = [*targets, *(curve for curve in distractors if not np.isnan(curve).any())]
        grid = curve_map(curves, stimulus.side)
        (y0, x0), (y1, x1) = np.rint((markers + 0.5) * FINE).astype(int)
        assert grid[y0, x0]
        assert grid[y1, x1]
        assert ((y1, x1) in flood(grid, (y0, x0))) == bool(label)


def test_labels_are_balanced_and_do_not_follow_the_order(drawn):
    _, scenes = drawn
    assert scenes.labels.sum() * 2 == len(scenes.labels)
    halves = scenes.labels[: len(scenes.labels) // 2].mean()
    assert 0.15 < halves < 0.85


def test_every_curve_has_its_paddles_gaps_and_turns(drawn):
    stimulus, scenes = drawn
    kinds = [scenes.targets.reshape(-1, stimulus.contour, 4)]
    distractors = scenes.distractors.reshape(-1, stimulus.distractor_contour, 4)
    kinds.append(distractors[~np.isnan(distractors[:, 0, 0])])
    assert stimulus.distractor_contour == 4
    for curves in kinds:
        assert np.isfinite(curves).all()
        lengths = np.linalg.norm(curves[..., 2:] - curves[..., :2], axis=-1)
        np.testing.assert_allclose(lengths, stimulus.length)
        step = curves[..., 2:] - curves[..., :2]
        angle = np.arctan2(step[..., 0], step[..., 1])
        turn = np.abs((np.diff(angle, axis=1) + np.pi) % (2 * np.pi) - np.pi)
        assert turn.max() <= np.pi / 2 / stimulus.continuity + 1e-9
        # From the end of one paddle to the start of the next: a margin on, then a margin in the new direction.
        gap = np.linalg.norm(curves[:, 1:, :2] - curves[:, :-1, 2:], axis=-1)
        margin = gap / 2 / np.cos(turn / 2)
        assert np.isclose(margin[..., None], stimulus.margins, atol=1e-6).any(axis=-1).all()
        assert curves.min() > 0
        assert curves.max() < stimulus.side - 1


def test_seeds_lie_their_distance_apart_and_circles_stand_on_ends(drawn):
    stimulus, scenes = drawn
    seeds = scenes.targets[:, :, 0, :2]
    apart = np.linalg.norm(seeds[:, 0] - seeds[:, 1], axis=-1)
    assert np.abs(apart - stimulus.seed_distance).max() < 1.0  # the second one is rounded to a pixel
    room = 2 * stimulus.seed_distance
    assert seeds[:, 0].min() >= room
    assert seeds[:, 0].max() < stimulus.side - room
    for number in range(len(scenes.labels)):
        ends = scenes.targets[number, :, -1, 2:]
        assert (scenes.markers[number, 1] == ends).all(axis=1).any()
        assert (scenes.markers[number, 0] == seeds[number]).all(axis=1).any()


def test_the_two_target_curves_never_come_closer_than_their_masks_allow(drawn):
    stimulus, scenes = drawn
    closest = 2 * (stimulus.thickness / 2 + min(stimulus.margins)) - 1.8  # soft edges overlap, pixels are coarse
    fractions = np.linspace(0, 1, 25)[:, None]
    for first, second in scenes.targets:
        one, two = (
            (c[:, None, :2] + fractions * (c[:, None, 2:] - c[:, None, :2])).reshape(-1, 2) for c in (first, second)
        )
        assert np.linalg.norm(one[:, None] - two[None], axis=-1).min() > closest


def test_the_picture_shows_both_circles_and_uses_the_whole_range(drawn):
    stimulus, scenes = drawn
    assert scenes.images.dtype == np.uint8
    assert (scenes.images.min(axis=(1, 2)) == 0).all()
    assert (scenes.images.max(axis=(1, 2)) == 255).all()
    found = sum(
        any(np.hypot(y - place[0], x - place[1]) <= 1.5 for place in find_circles(image, stimulus.marker_radius))
        for image, markers in zip(scenes.images, scenes.markers, strict=True)
        for y, x in markers
    )
    assert found == 2 * len(scenes.images)


def test_most_distractors_find_room(drawn):
    stimulus, scenes = drawn
    missing = np.isnan(scenes.distractors[..., 0, 0]).mean()
    assert missing < (0.25 if stimulus.side == 32 else 0.08)


def test_a_block_is_a_function_of_task_split_seed_and_number():
    one = make_block("pathfinder32", split="train", seed=1, block=2, count=8)
    again = make_block("pathfinder32", split="train", seed=1, block=2, count=8)
    other = make_block("pathfinder32", split="train", seed=1, block=3, count=8)
    assert (one.images == again.images).all()
    assert (one.labels == again.labels).all()
    assert (one.images != other.images).any()
    with pytest.raises(KeyError, match="no stimulus"):
        make_block("pathfinder64", split="train", seed=0, block=0)
