"""What a board shows of its rows, in which front, at which cost in statements."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from tests import factories
from tests.pages.reading import options, parsed, table, text

from longboard.boards.ranking import rebuild_fronts
from longboard.results.models import Trust

pytestmark = pytest.mark.django_db


def test_a_filter_narrows_the_rows_and_works_the_front_out_among_them(client, systems):
    response = client.get("/boards/niah/?length=1024&search=cedar")
    rows = table(response, "board")[1:]
    assert [row[1].split()[0] for row in rows] == ["Cedar"]
    assert "1.00 front" in rows[0][5]
    assert "2 hidden by the filters, and the front is that of the ones shown" in text(parsed(response))


def test_family_and_hardware_are_offered_with_counts(client, systems):
    other = factories.make_pool("gpu", factories.make_hardware("gpu", title="GPU", kind="cuda"))
    factories.make_board([("dune", 8192, 0.4, 9.0)], pool=other)
    response = client.get("/boards/niah/?hardware=gpu")
    assert options(response, "hardware") == ["local-cpu", "gpu"]
    assert options(response, "length") == ["8192"]
    assert [row[1].split()[0] for row in table(response, "board")[1:]] == ["Dune"]


def test_self_reported_numbers_show_only_when_asked_for(client, systems):
    claimed = factories.make_system(factories.make_model("claim"))
    factories.make_cell(factories.make_accepted_run(claimed), "accuracy", 1.0, trust=Trust.SELF_REPORTED)
    assert "Claim" not in str(table(client.get("/boards/niah/?length=1024"), "board"))
    assert "Claim" in str(table(client.get("/boards/niah/?length=1024&trust=self-reported"), "board"))


def test_the_stored_front_is_what_the_page_shows(client, systems):
    from longboard.boards.models import FrontEntry

    rebuild_fronts(hardware=factories.make_hardware(), context_length=1024, now=factories.NOW)
    FrontEntry.objects.filter(system=systems["birch"], cost_metric="ttft_ms").update(probability=0.37)
    rows = table(client.get("/boards/niah/?length=1024"), "board")[1:]
    assert rows[1][5] == "0.37 front"
    assert rows[2][5] == "0.00", "what no draw puts on the front has no row"


def test_a_stored_front_older_than_a_number_is_worked_out_anew(client, systems):
    rebuild_fronts(hardware=factories.make_hardware(), context_length=1024, now=factories.NOW - timedelta(hours=1))
    assert table(client.get("/boards/niah/?length=1024"), "board")[1][1].startswith("Apple")
    run = factories.make_accepted_run(systems["cedar"], context_length=1024)
    factories.make_cell(run, "accuracy", 1.0, n=500, updated_at=factories.NOW + timedelta(hours=1))
    rows = table(client.get("/boards/niah/?length=1024"), "board")[1:]
    assert (rows[0][1].split()[0], rows[0][5]) == ("Cedar", "0.99 front")


@pytest.mark.parametrize("cost", ["decode_tokens_per_s", "peak_memory_bytes"])
def test_other_costs_change_the_axis_and_know_their_direction(client, systems, cost):
    response = client.get(f"/boards/niah/?length=1024&cost={cost}&sort=cost")
    values = [row[4] for row in table(response, "board")[1:]]
    assert len(values) == 3
    order = parsed(response).xpath("//th[@aria-sort]/@aria-sort")
    assert order == ["descending" if cost == "decode_tokens_per_s" else "ascending"]
    assert table(response, "board")[1][1].startswith("Birch")


@pytest.mark.parametrize("size", [10, 200])
def test_a_board_costs_at_most_six_statements_however_many_systems(client, size):
    rng = random.Random(1)
    factories.make_board([(f"m{i}", length, rng.random(), 10 + i) for i in range(size) for length in (1024, 4096)])
    rebuild_fronts(hardware=factories.make_hardware(), context_length=1024, now=factories.NOW)
    client.get("/boards/niah/?length=4096")  # a process reads the Systems' titles once
    with CaptureQueriesContext(connection) as statements:
        response = client.get("/boards/niah/?length=1024")
    assert response.status_code == 200
    assert len(table(response, "board")) == 1 + min(size, 50)
    assert len(statements) <= 6, [s["sql"][:100] for s in statements]
    with CaptureQueriesContext(connection) as statements:
        client.get("/boards/niah/?length=1024")
    assert len(statements) == 1, "a region that was rendered once is kept"
    with CaptureQueriesContext(connection) as statements:
        client.get("/boards/niah/")
    assert len(statements) <= 7, "to choose a length takes one more, where the longest already tells systems apart"


def test_long_tables_come_in_pages_that_together_are_the_whole(client):
    factories.make_board([(f"m{i:03}", 1024, 0.5, 10 + i) for i in range(60)])
    seen, url = [], "/boards/niah/"
    while url:
        response = client.get(url)
        seen += [row[1].split()[0] for row in table(response, "board")[1:]]
        url = next(iter(parsed(response).xpath("//nav[@class='pages']/a[@rel='next']/@href")), "")
    assert len(seen) == len(set(seen)) == 60
