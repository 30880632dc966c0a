"""Figures as data: steps through measured points, labels apart, axes from what is seen."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path

import pytest

from longboard.boards import figures
from longboard.boards.figures import NARROW, WIDE, FrontPoint, LengthSeries, draw_front, draw_lengths
from longboard.boards.labels import Anchor, Box, place
from longboard.boards.marks import COLOURS, DASHES, mark_of
from longboard.boards.templatetags.board_html import line_mark
from longboard.quantities import quantity
from longboard_tasks.catalogue.metrics import METRICS

ACCURACY, TTFT, DECODE, MEMORY = (
    METRICS[name] for name in ("accuracy", "ttft_ms", "decode_tokens_per_s", "peak_memory_bytes")
)


def point(
    key: int, gain: float, cost: float, *, on_front: bool = False, probability: float = 0.0, label: str = ""
) -> FrontPoint:
    return FrontPoint(
        system_id=key,
        label=label or f"System {key}",
        url=f"/models/m{key}/",
        gain=quantity(gain, max(0, gain - 0.1), min(1, gain + 0.1), n=20, unit="share"),
        cost=quantity(cost, cost * 0.9, cost * 1.1, n=5, unit="ms"),
        on_front=on_front,
        probability=probability,
    )


THREE = [
    point(1, 0.5, 10, on_front=True, probability=1.0),
    point(2, 0.9, 100, on_front=True, probability=0.6),
    point(3, 0.4, 300),
]


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_no_points_make_no_figure():
    assert draw_front([], gain=ACCURACY, cost=TTFT) == {}


def test_the_front_is_a_staircase_through_its_measured_points_only():
    figure = draw_front(THREE, gain=ACCURACY, cost=TTFT)
    spots = {p["name"]: (float(p["x"]), float(p["y"])) for p in figure["points"]}
    steps = corners(figure["steps"])
    assert steps[0] == spots["System 1"]
    assert spots["System 2"] in steps
    assert spots["System 3"] not in steps
    assert all(ax == bx or ay == by for (ax, ay), (bx, by) in pairwise(steps)), "a slanted step"


def test_where_more_is_better_the_staircase_starts_at_the_largest_cost_number():
    points = [point(1, 0.5, 200, on_front=True, probability=1), point(2, 0.9, 20, on_front=True, probability=1)]
    steps = corners(draw_front(points, gain=ACCURACY, cost=DECODE)["steps"])
    assert steps[0][0] > steps[-1][0] == WIDE.frame.left


@pytest.mark.parametrize(
    ("probability", "on_front", "drawn"), [(0.95, True, "sure"), (0.5, False, "maybe"), (0.02, False, "off")]
)
def test_marks_are_solid_hollow_or_dimmed_by_the_probability_of_the_front(probability, on_front, drawn):
    figure = draw_front([point(1, 0.5, 10, on_front=on_front, probability=probability)], gain=ACCURACY, cost=TTFT)
    assert figure["points"][0]["certainty"] == drawn


def test_both_intervals_are_drawn_and_surround_the_mark():
    for p in draw_front(THREE, gain=ACCURACY, cost=TTFT)["points"]:
        assert float(p["across"]["x1"]) < float(p["x"]) < float(p["across"]["x2"])
        assert float(p["along"]["y1"]) < float(p["y"]) < float(p["along"]["y2"])


def test_axes_come_from_the_visible_points():
    near = draw_front(THREE[:1], gain=ACCURACY, cost=TTFT)
    assert all(float(tick["text"].replace(",", "")) < 20 for tick in near["x_ticks"])
    assert len(draw_front(THREE, gain=ACCURACY, cost=TTFT)["x_ticks"]) >= 3


def test_a_cost_of_zero_never_meets_a_logarithmic_axis():
    figure = draw_front([point(1, 0.5, 0.0), point(2, 0.6, 500)], gain=ACCURACY, cost=TTFT)
    assert "log" not in figure["x_title"]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("block", range(3))
def test_up_to_twelve_labels_never_touch_each_other_nor_leave_the_frame(size, block):
    for seed in range(40):
        rng = random.Random(f"{block}/{seed}")
        spread = rng.choice((1.0, 0.2, 0.02))  # scattered, bunched, on one spot
        points = [
            point(
                k,
                0.5 + spread * (rng.random() - 0.5),
                100 * (1 + spread * rng.random()),
                probability=0.5,
                label="N" * rng.randint(5, 34),
            )
            for k in range(rng.randint(1, 12))
        ]
        boxes = [
            p["label"]["box"] for p in draw_front(points, gain=ACCURACY, cost=TTFT, size=size)["points"] if p["label"]
        ]
        assert len(boxes) == min(len(points), size.labels)
        for i, box in enumerate(boxes):
            assert size.frame.holds(box), f"seed {seed}: {box}"
            assert not any(box.overlap(other) for other in boxes[:i]), f"seed {seed}"


def test_a_label_keeps_off_other_marks_when_there_is_room():
    frame = Box(0, 0, 400, 300)
    marks = [Box(92, 92, 108, 108), Box(125, 92, 141, 108)]
    (box,) = place([Anchor(100, 100, 60, 16)], marks=marks, lines=[], frame=frame)
    assert not any(box.overlap(mark) for mark in marks)


def test_a_system_has_one_colour_and_shape_whatever_else_is_shown():
    alone = draw_front(THREE[1:2], gain=ACCURACY, cost=TTFT)["points"][0]["mark"]
    among = next(p for p in draw_front(THREE, gain=ACCURACY, cost=TTFT)["points"] if p["name"] == "System 2")["mark"]
    assert alone == among == mark_of(2)
    assert len({mark_of(k) for k in range(40)}) == 40


def test_marks_are_told_apart_without_colours_and_points_without_lines():
    for start in (0, 3, 1_000):
        marks = [mark_of(start + k) for k in range(40)]
        assert len({(m.path, m.dash) for m in marks[:20]}) == 20
        assert len({(m.number, m.path) for m in marks}) == 40
    assert {mark_of(k).number for k in range(40)} == set(range(8))
    twelve = [mark_of(k) for k in range(12)]
    for m, other in ((m, o) for m in twelve for o in twelve if m is not o and m.number == o.number):
        assert (m.path, m.dash) != (other.path, other.dash)
        assert m.dash != other.dash


def test_a_legend_shows_the_line_of_its_series():
    series = [LengthSeries(k, f"System {k}", ((1_024, quantity(0.5, 0.4, 0.6, n=9, unit="share")),)) for k in (1, 9)]
    drawn = draw_lengths(series, gain=ACCURACY)["series"]
    for s, k in zip(drawn, (1, 9), strict=True):
        assert s["mark"] == mark_of(k)
        legend = line_mark(mark_of(k))
        assert f'class="key {s["mark"].colour} {s["mark"].dash}"' in legend
        assert f'd="{s["mark"].path}"' in legend
    assert drawn[0]["mark"].colour == drawn[1]["mark"].colour
    assert drawn[0]["mark"].dash != drawn[1]["mark"].dash


def test_every_dash_and_colour_has_its_style_in_every_theme():
    folder = Path(figures.__file__).parents[1] / "static"
    tokens, board = ((folder / name).read_text() for name in ("tokens.css", "board.css"))
    for n in range(COLOURS):
        assert f".c{n} {{ --s: var(--c{n}); }}" in board
        assert tokens.count(f"--c{n}: #") == 2, "light and dark; high contrast keeps the one that it is over"
    styles = {n: re.search(rf"\.d{n} \.thread {{ stroke-dasharray: ([^;]+);", board) for n in range(1, DASHES)}
    assert len({found.group(1) for found in styles.values()}) == DASHES - 1
    assert "stroke-dasharray" not in re.search(r"\n\.thread {([^}]*)}", board).group(1)


def test_a_memory_axis_is_in_binary_units():
    points = [
        FrontPoint(1, "a", "/", THREE[0].gain, quantity(3 * 2**30, 3 * 2**30, 3 * 2**30, n=5, unit="bytes"), True, 1.0),
        FrontPoint(2, "b", "/", THREE[1].gain, quantity(2**29, 2**29, 2**29, n=5, unit="bytes"), True, 1.0),
    ]
    assert "GiB" in draw_front(points, gain=ACCURACY, cost=MEMORY)["x_title"]


def test_a_length_chart_has_a_tick_for_each_measured_length_and_no_other():
    series = [LengthSeries(1, "a", ((512, THREE[1].gain), (4096, THREE[0].gain)))]
    figure = draw_lengths(series, gain=ACCURACY)
    assert [tick["text"] for tick in figure["x_ticks"]] == ["512", "4K"]
    assert draw_lengths([], gain=ACCURACY) == {}


def test_every_coordinate_lies_inside_the_picture():
    figure = draw_front(THREE, gain=ACCURACY, cost=TTFT)
    for p in figure["points"]:
        assert 0 <= float(p["x"]) <= WIDE.width
        assert 0 <= float(p["y"]) <= WIDE.height
    assert figures.draw_front(THREE, gain=ACCURACY, cost=TTFT) == figure, "the same points draw the same picture"
