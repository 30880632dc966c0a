"""Cost in money and in energy: a price of the hardware with its source, against the plain definition."""

from __future__ import annotations

import csv
import io
from datetime import date

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from tests import factories
from tests.pages.reading import options, parsed, table, text

from longboard.boards.models import Cell
from longboard.boards.ranking import rebuild_fronts
from longboard.fleet.models import Hardware

pytestmark = pytest.mark.django_db

NUMBERS = [("apple", 1024, 0.9, 100.0), ("birch", 1024, 0.6, 20.0), ("cedar", 1024, 0.3, 300.0)]


@pytest.fixture
def hardware():
    systems = factories.make_board(NUMBERS)
    for slug, tpot, prefill in (("apple", 20.0, 4_000.0), ("birch", 5.0, 9_000.0), ("cedar", 40.0, 1_000.0)):
        run = factories.Run.objects.filter(system=systems[slug], suite__kind="efficiency").get()
        for metric, value in (("tpot_ms", tpot), ("prefill_tokens_per_s", prefill)):
            factories.make_cell(run, metric, value, task="generate")
    row = Hardware.objects.get(slug="local-cpu")
    rebuild_fronts(hardware=row, context_length=1024, now=factories.NOW)
    return row


def set_price(row: Hardware, usd: float = 3.6) -> None:
    row.usd_per_hour, row.price_source, row.price_url = usd, "A provider's price list", "https://example.org/prices"
    row.price_day = date(2026, 11, 1)
    row.full_clean()
    row.save()


def test_money_is_the_hours_price_times_the_time_that_a_million_tokens_take(client, hardware):
    set_price(hardware)  # 3.6 USD an hour: a thousandth of a dollar a second
    for cost, definition in (
        ("usd_per_million_output_tokens", lambda ms: 1e6 * ms / 1_000 / 3_600 * 3.6),
        ("usd_per_million_prompt_tokens", lambda rate: 1e6 / rate / 3_600 * 3.6),
    ):
        response = client.get(f"/boards/niah/table.csv?length=1024&cost={cost}")
        rows = {r["model"]: r for r in csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode()))}
        rate = {"usd_per_million_output_tokens": "tpot_ms"}.get(cost, "prefill_tokens_per_s")
        for cell in Cell.objects.filter(metric=rate).select_related("system__model"):
            row = rows[cell.system.model.slug]
            assert float(row["cost_value"]) == pytest.approx(definition(cell.value))
            ends = sorted((definition(cell.ci_low), definition(cell.ci_high)))
            assert [float(row["cost_ci_low"]), float(row["cost_ci_high"])] == pytest.approx(ends)


def test_the_front_in_money_is_the_front_in_the_rate_that_it_follows(client, hardware):
    set_price(hardware)
    for cost, rate in (
        ("usd_per_million_output_tokens", "tpot_ms"),
        ("usd_per_million_prompt_tokens", "prefill_tokens_per_s"),
    ):
        money = table(client.get(f"/boards/niah/?length=1024&cost={cost}"), "board")[1:]
        time = table(client.get(f"/boards/niah/?length=1024&cost={rate}"), "board")[1:]
        assert [(row[1], row[5]) for row in money] == [(row[1], row[5]) for row in time]


def test_the_price_stands_on_the_page_with_its_source(client, hardware):
    set_price(hardware)
    page = client.get("/boards/niah/?length=1024&cost=usd_per_million_output_tokens")
    assert "3.6 USD an hour (A provider's price list, 2026-11-01)" in text(parsed(page))
    assert "Birch gives output tokens 4.0× cheaper" in text(parsed(page).get_element_by_id("takeaway"))
    assert "3.6 USD an hour (A provider's price list, 2026-11-01)" in text(parsed(client.get("/hardware/local-cpu/")))


def test_without_a_price_there_is_no_money_and_the_page_says_why(client, hardware):
    rows = table(client.get("/boards/niah/?length=1024&cost=usd_per_million_output_tokens"), "board")[1:]
    assert {row[4] for row in rows} == {"no price for this hardware"}
    assert not any("front" in row[5] for row in rows)


def test_a_new_price_shows_at_once(client, hardware):
    address = "/boards/niah/?length=1024&cost=usd_per_million_output_tokens"
    set_price(hardware, 3.6)
    before = table(client.get(address), "board")
    set_price(hardware, 7.2)
    after = table(client.get(address), "board")
    assert before[1][4].split()[0] == "20.0"
    assert after[1][4].split()[0] == "40.0"


def test_money_takes_no_statement_more_than_time(client, hardware):
    set_price(hardware)
    client.get("/boards/niah/")  # the process has read the Systems
    with CaptureQueriesContext(connection) as statements:
        client.get("/boards/niah/?length=1024&cost=usd_per_million_prompt_tokens")
    assert len(statements) <= 6


def test_a_price_without_a_source_is_refused(hardware):
    hardware.usd_per_hour = 2.0
    with pytest.raises(ValidationError, match="needs its source"):
        hardware.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        hardware.save()


def test_the_api_gives_the_front_in_money(client, hardware):
    set_price(hardware)
    query = {"context_length": 1024, "hardware": "local-cpu", "cost_metric": "usd_per_million_output_tokens"}
    rows = client.get("/api/v1/boards/niah", query).json()["rows"]
    assert {row["model"]: row["cost"] for row in rows} == pytest.approx({"apple": 20.0, "birch": 5.0, "cedar": 40.0})
    assert {row["model"] for row in rows if row["on_front"]} == {"apple", "birch"}


def test_energy_is_a_cost_of_every_board(client, hardware):
    response = client.get("/boards/niah/?length=1024&cost=decode_j_per_token")
    assert {"decode_j_per_token", "prefill_j_per_token"} <= set(options(response, "cost"))
    assert {row[4] for row in table(response, "board")[1:]} == {"not measured"}
