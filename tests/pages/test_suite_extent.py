"""The list of suites says how much has been measured in each."""

from __future__ import annotations

import pytest
from tests import factories
from tests.pages.reading import parsed, text

pytestmark = pytest.mark.django_db


def said(client, suite):
    page = parsed(client.get("/suites/"))
    return text(page.xpath(f"//section[.//a[@href='/suites/{suite}/']]//p[@class='tools']")[0])


def test_a_suite_says_how_many_systems_lengths_and_machines_it_has(client):
    factories.make_board([("apple", 1024, 0.9, 100.0)])
    assert said(client, "niah").startswith("one system, 1K tokens, on 1 machine.")
    elsewhere = factories.make_pool("elsewhere", factories.make_hardware("other-gpu", title="Other GPU"))
    factories.make_board([("birch", 1024, 0.6, 20.0), ("cedar", 4096, 0.3, 300.0)], pool=elsewhere)
    factories.make_board([("birch", 1024, 0.7, 20.0)])
    assert said(client, "niah").startswith("2 systems side by side, 1K to 4K tokens, on 2 machines.")
    assert said(client, "lra").startswith("Nothing measured yet.")


def test_the_page_asks_twice_however_much_there_is(client, django_assert_num_queries):
    factories.make_board([(f"m{i}", 1024 * 2**i, 0.5, 10.0) for i in range(4)])
    with django_assert_num_queries(2):
        client.get("/suites/")
