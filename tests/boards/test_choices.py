"""What a board opens with when nobody has chosen."""

from __future__ import annotations

import pytest

from longboard.boards.board_view import BoardView
from longboard.boards.choices import choose_length


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
    assert choose_length(BoardView("niah"), counts, both)[1] == opened


def test_a_length_that_was_asked_for_is_kept_and_one_that_nobody_measured_is_told() -> None:
    counts = {512: 6, 16_384: 5}
    assert choose_length(BoardView("niah", length=512), counts, counts) == (BoardView("niah", length=512), 512)
    view, opened = choose_length(BoardView("niah", length=1_024), counts, counts)
    assert opened == 16_384
    assert "1K" in view.notices[0]
