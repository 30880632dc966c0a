"""Every view of a board is an address, cached, safe, and the same in every format."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import random
from urllib.parse import urlsplit

import pytest
from tests import factories
from tests.pages.reading import parsed, table

from longboard.boards import plotly
from longboard.boards.exports import guarded
from longboard.boards.marks import mark_of

pytestmark = pytest.mark.django_db


def test_an_unchanged_board_is_answered_with_304_and_a_changed_one_is_not(client, systems):
    first = client.get("/boards/niah/?length=1024")
    again = client.get("/boards/niah/?length=1024", headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    assert not again.content
    assert "public" in again["Cache-Control"]
    factories.make_board([("dune", 1024, 1.0, 5.0)])
    fresh = client.get("/boards/niah/?length=1024", headers={"If-None-Match": first["ETag"]})
    assert fresh.status_code == 200
    assert "Dune" in str(table(fresh, "board"))


def test_htmx_gets_the_region_alone_and_caches_keep_the_two_apart(client, systems):
    page = client.get("/boards/niah/")
    region = client.get("/boards/niah/", headers={"HX-Request": "true"})
    assert b"<html" in page.content
    assert b"<html" not in region.content
    assert table(page, "board") == table(region, "board")
    assert page["ETag"] != region["ETag"]
    for response in (page, region):
        assert "HX-Request" in response["Vary"]
        assert "Cookie" in response["Vary"]
    restored = client.get("/boards/niah/", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert b"<html" in restored.content


def test_a_signed_in_readers_board_is_private(client, systems):
    client.force_login(factories.make_user())
    response = client.get("/boards/niah/")
    assert "private" in response["Cache-Control"]


def test_names_from_people_are_text_not_markup(client):
    factories.make_board([("x", 1024, 0.5, 10.0)])
    model = factories.Model.objects.get(slug="x")
    model.title = '<script>alert(1)</script>"><img src=x onerror=1>'
    model.save()
    for path in ("/", "/boards/niah/", "/models/", "/models/x/", "/boards/niah/?search=<script>alert(1)</script>"):
        assert b"<script>alert" not in client.get(path).content
        assert b"<img src=x" not in client.get(path).content


def test_a_permalink_shows_the_same_tables_in_a_fresh_browser(client, systems):
    from django.test import Client

    rng = random.Random(7)
    factories.make_board([("dune", 1024, 0.3, 80.0)], pool=factories.make_pool("gpu", factories.make_hardware("gpu")))
    for _ in range(40):
        query = {
            "length": rng.choice(["", "1024", "4096", "77"]),
            "cost": rng.choice(["", "ttft_ms", "decode_tokens_per_s", "nonsense"]),
            "hardware": rng.choice(["", "local-cpu", "gpu"]),
            "family": rng.choice(["", "full attention", "none"]),
            "trust": rng.choice(["", "measured", "self-reported", "reproduced"]),
            "search": rng.choice(["", "a", "birch", "zzz"]),
            "sort": rng.choice(["", "cost", "front"]),
        }
        first = client.get("/boards/niah/", query)
        (link,) = parsed(first).xpath("//a[text()='Link to this view']/@href")
        second = Client().get(link)
        for name in ("board", "matrix"):
            assert table(first, name) == table(second, name), (query, link)
        (again,) = parsed(second).xpath("//a[text()='Link to this view']/@href")
        assert again == link, "a permalink is its own permalink"


def test_the_csv_has_the_rows_of_the_page_with_every_digit(client, systems):
    response = client.get("/boards/niah/table.csv?length=1024")
    assert response["Content-Type"].startswith("text/csv")
    assert "attachment" in response["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))
    assert [row["model"] for row in rows] == ["apple", "birch", "cedar"]
    assert float(rows[0]["value"]) == 0.9
    assert (
        float(rows[0]["ci_low"])
        == factories.Cell.objects.get(system=systems["apple"], metric="accuracy", context_length=1024).ci_low
    )
    assert (rows[0]["cost_metric"], float(rows[0]["cost_value"]), rows[0]["on_front"]) == ("ttft_ms", 100.0, "1")


@pytest.mark.parametrize("head", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_text_that_a_spreadsheet_would_run_is_disarmed(client, head):
    factories.make_board([("x", 1024, 0.5, 10.0)])
    factories.Model.objects.filter(slug="x").update(title=head)
    body = b"".join(client.get("/boards/niah/table.csv").streaming_content).decode()
    (row,) = csv.DictReader(io.StringIO(body, newline=""))
    assert row["system"].startswith("'" + head)


@pytest.mark.parametrize("number", [-1.5, 0.25, -3, 10**9])
def test_numbers_stay_numbers_in_the_csv(number):
    assert guarded(number) == number
    assert guarded("plain") == "plain"


def test_the_figure_for_exploring_has_the_points_of_the_page(client, systems):
    figure = json.loads(client.get("/boards/niah/figure.json?length=1024").content)
    front, *points = figure["data"]
    assert front["line"]["shape"] == "hv"
    assert (front["x"], front["y"]) == ([20.0, 100.0], [0.6, 0.9])
    assert {p["name"]: (p["x"], p["y"]) for p in points}["Cedar"] == ([300.0], [0.3])
    for p in points:
        mark = mark_of(systems[p["name"].lower()].pk)
        assert (p["meta"]["colour"], p["marker"]["symbol"].removesuffix("-open")) == (mark.number, mark.symbol)


def test_plotly_comes_from_here_and_never_on_first_view(client, systems):
    page = client.get("/boards/niah/")
    assert not [src for src in parsed(page).xpath("//script/@src") if "plotly" in src]
    (address,) = parsed(page).xpath("//a[@data-explore]/@data-plotly")
    script = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert script["Content-Encoding"] == "gzip"
    assert "immutable" in script["Cache-Control"]
    assert 300_000 < len(script.content) < 400_000, "the basic bundle, not the whole library"
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert gzip.decompress(script.content) == plain.content
    assert hashlib.sha256(plain.content).hexdigest() == plotly.SHA256
    assert client.get("/plotly-0.0.0.min.js").status_code == 404


def test_the_first_view_weighs_under_100_kb_and_its_scripts_under_40(client, systems):
    from django.contrib.staticfiles import finders

    page = client.get("/boards/niah/")
    packed = {"page": len(gzip.compress(page.content))}
    for address in [
        *parsed(page).xpath("//script/@src"),
        *parsed(page).xpath("//link[@rel='stylesheet' or @rel='icon']/@href"),
    ]:
        assert not urlsplit(address).netloc, "nothing from a third party"
        with open(finders.find(address.removeprefix("/static/")), "rb") as file:
            packed[address] = len(gzip.compress(file.read()))
    assert sum(packed.values()) < 100_000, packed
    assert sum(size for name, size in packed.items() if name.endswith(".js")) < 40_000, packed
