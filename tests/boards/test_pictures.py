"""One picture for every order and page of a table, and another one as soon as a number differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lxml import html
from tests import factories
from tests.boards.test_figures import ACCURACY, DECODE, THREE, TTFT

from longboard.boards.figures import NARROW, draw_front
from longboard.boards.pictures import draw_wide_and_narrow
from longboard.quantities import quantity

REST = np.array([0.6, 0.7]), np.array([50.0, 150.0])


def test_both_forms_are_those_that_are_drawn_alone():
    pair = draw_wide_and_narrow(THREE, gain=ACCURACY, cost=TTFT, rest=REST)
    words = {"gain": ACCURACY, "cost": TTFT, "rest": REST}
    assert pair == (draw_front(THREE, **words), draw_front(THREE, **words, size=NARROW))
    assert draw_wide_and_narrow(list(THREE), gain=ACCURACY, cost=TTFT, rest=REST)[0] is pair[0], "drawn once"


@pytest.mark.parametrize(
    "changed",
    [
        {"points": [*THREE[:2], replace(THREE[2], gain=quantity(0.41, 0.3, 0.5, n=20, unit="share"))]},
        {"points": [*THREE[:2], replace(THREE[2], label="Another name")]},
        {"points": [*THREE[:2], replace(THREE[2], probability=0.2)]},
        {"rest": (REST[0], np.array([50.0, 90.0]))},
        {"rest": (REST[0][::-1].copy(), REST[1])},
        {"cost": DECODE},
    ],
    ids=["number", "name", "probability", "dot", "gains of the dots", "cost"],
)
def test_whatever_it_shows_makes_another_picture(changed):
    asked = {"points": THREE, "gain": ACCURACY, "cost": TTFT, "rest": REST}
    assert draw_wide_and_narrow(**asked) != draw_wide_and_narrow(**asked | changed)


@pytest.mark.django_db
def test_an_order_of_the_table_does_not_change_the_picture(client):
    # More Systems than get a mark of their own, many of them equals.
    factories.make_board([(f"m{i:03}", 1024, (i % 7) / 10, 100.0 * (1 + i % 5)) for i in range(120)])
    pages = [
        html.fromstring(client.get(f"/boards/niah/?sort={sort}").content) for sort in ("accuracy", "cost", "front")
    ]
    first, *others = ([html.tostring(svg) for svg in page.xpath("//svg[contains(@class, 'chart')]")] for page in pages)
    assert len(first) == 2
    assert all(other == first for other in others)
