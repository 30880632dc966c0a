"""What a board opens with when nobody has chosen."""

from __future__ import annotations

import pytest

from longboard.boards.board_view import BoardView
from longboard.boards.choices import choose_length, tells_apart
from longboard.boards.columns import Slice


def always(_: int) -> bool:
    return True


@pytest.mark.parametrize(
    ("counts", "both", "opened"),
    [
        ({512: 6, 2_048: 6, 16_384: 5, 65_536: 2}, {512: 6, 2_048: 6, 16_384: 5, 65_536: 2}, 16_384),
        ({512: 8, 1_024: 6, 4_096: 5}, {512: 8, 1_024: 6, 4_096: 5}, 1_024),  # three in four of the fullest
        ({512: 6, 2_048: 6, 16_384: 6}, {512: 4, 2_048: 3}, 2_048),  # a chart needs both numbers
        ({512: 6, 2_048: 5}, {}, 2_048),
    ],
)
def test_a_board_opens_at_the_longest_length_that_most_systems_reach(counts, both, opened) -> None:
    assert choose_length(BoardView("niah"), counts, both, always)[1] == opened


def test_a_length_that_was_asked_for_is_kept_and_one_that_nobody_measured_is_told() -> None:
    counts = {512: 6, 16_384: 5}
    assert choose_length(BoardView("niah", length=512), counts, counts, always) == (BoardView("niah", length=512), 512)
    view, opened = choose_length(BoardView("niah", length=1_024), counts, counts, always)
    assert opened == 16_384
    assert "1K" in view.notices[0]


def test_lengths_at_which_every_system_is_wrong_are_passed_over_for_one_that_tells_them_apart() -> None:
    counts = {512: 5, 1_024: 5, 2_048: 5, 4_096: 5, 65_536: 1}
    asked = []

    def tells(length: int) -> bool:
        asked.append(length)
        return length <= 1_024

    assert choose_length(BoardView("recall"), counts, counts, tells)[1] == 1_024
    assert asked == [4_096, 2_048, 1_024], "from the longest on, and no further than need be"
    assert choose_length(BoardView("recall"), counts, counts, lambda length: False)[1] == 4_096


@pytest.mark.parametrize(
    ("intervals", "apart"),
    [
        ([(0.0, 0.09), (0.0, 0.2), (0.03, 0.2)], False),
        ([(0.0, 0.09), (0.1, 0.4)], True),
        ([(0.9, 1.0)], False),
        ([], False),
    ],
)
def test_intervals_tell_systems_apart_where_two_have_nothing_in_common(intervals, apart) -> None:
    rows = [(system, low, low, high, 20, "measured") for system, (low, high) in enumerate(intervals)]
    assert tells_apart(Slice.from_rows(rows).numbers) is apart
