"""The board: what it says, what it costs, and that every view of it is an address."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import random
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from tests import factories
from tests.pages.reading import chosen, options, parsed, table, text

from longboard.boards import plotly
from longboard.boards.exports import guarded
from longboard.boards.marks import mark_of
from longboard.boards.models import Column
from longboard.boards.ranking import rebuild_fronts
from longboard.results.models import Trust
from longboard.submissions.models import Run

pytestmark = pytest.mark.django_db

NUMBERS = [
    ("apple", 1024, 0.9, 100.0),
    ("birch", 1024, 0.6, 20.0),
    ("cedar", 1024, 0.3, 300.0),
    ("apple", 4096, 0.7, 500.0),
    ("birch", 4096, 0.55, 60.0),
]


@pytest.fixture
def systems():
    return factories.make_board(NUMBERS)


def test_the_table_has_each_systems_label_number_interval_n_and_trust(client, systems):
    rows = {
        row[1].split(" full attention")[0]: row for row in table(client.get("/boards/niah/?length=1024"), "board")[1:]
    }
    assert set(rows) == {systems[name].label for name in ("apple", "birch", "cedar")}
    rank, _, accuracy, n, cost, probability, trust = rows[systems["apple"].label]
    assert (accuracy, n, cost, trust) == ("0.90 (0.70–0.97)", "20", "100 ms ± 4", "measured")
    assert rank == "1", "0.9 and 0.6 of 20: apart, once 0.3 is out of the way"
    assert "front" in probability


def test_rows_are_ranked_by_accuracy_and_only_the_front_carries_its_flag(client, systems):
    rows = table(client.get("/boards/niah/?length=1024"), "board")[1:]
    assert [row[1].split()[0] for row in rows] == ["Apple", "Birch", "Cedar"]
    assert ["front" in row[5] for row in rows] == [True, True, False]


def test_the_title_is_a_sentence_with_the_answer(client, systems):
    title = text(parsed(client.get("/boards/niah/?length=1024")).get_element_by_id("takeaway"))
    assert title.startswith(
        "At 1K tokens on CPU, 2 cores, Apple is most accurate, 0.90 (0.70–0.97), though Birch may equal it"
    )
    assert "Birch reaches its first token 5.0× sooner, at 0.60 ± 0.21." in title


def test_every_point_of_the_chart_is_a_link_that_says_its_numbers(client, systems):
    page = parsed(client.get("/boards/niah/?length=1024"))
    links = page.xpath("//svg[contains(@class, 'wide')]//a")
    assert {link.get("href") for link in links} == {"/models/apple/", "/models/birch/", "/models/cedar/"}
    assert any("0.90 (0.70–0.97), n=20; 100 ms ± 4, n=5" in link.get("aria-label") for link in links)


def test_without_a_query_the_length_at_which_most_systems_have_both_numbers_is_shown(client, systems):
    assert chosen(client.get("/boards/niah/"), "length") == "1024"
    Column.objects.filter(metric="ttft_ms", context_length=1024).delete()
    cache.clear()
    assert chosen(client.get("/boards/niah/"), "length") == "4096", "1K has more accuracies, and an empty chart"
    assert text(parsed(client.get("/")).find_class("here")[0]) == "4K", "the home page is that board"
    assert chosen(client.get("/boards/niah/?as_of=2100-01-01"), "length") == "1024", "Cells still have both there"
    Column.objects.filter(metric="ttft_ms").delete()
    cache.clear()
    assert chosen(client.get("/boards/niah/"), "length") == "1024", "no chart anywhere: the most accuracies"


def test_of_lengths_with_as_many_points_the_longest_is_shown(client):
    factories.make_board([(slug, length, 0.5, 10.0) for slug in ("a", "b") for length in (1024, 4096, 2048)])
    assert chosen(client.get("/boards/niah/"), "length") == "4096"


def test_the_stepper_leads_to_the_next_length_and_back(client, systems):
    first = parsed(client.get("/boards/niah/?length=1024"))
    longer = first.get_element_by_id("step-longer").get("href")
    assert first.get_element_by_id("step-shorter").get("href") is None
    second = client.get(longer)
    assert chosen(second, "length") == "4096"
    assert parsed(second).get_element_by_id("step-shorter").get("href") == "/boards/niah/?length=1024"


def test_the_matrix_has_every_length_and_says_why_a_number_is_missing(client, systems):
    matrix = table(client.get("/boards/niah/?length=1024"), "matrix")
    assert matrix[0] == ["System", "1K", "4K"]
    assert matrix[1] == ["Apple", "0.90 n=20 (0.70–0.97)", "0.70 n=20 ± 0.22"]
    assert matrix[3][2] == "not run"


def test_missing_numbers_are_typed_and_rank_below_every_number(client, systems):
    niah = factories.make_suite("niah")
    short = factories.make_system(factories.make_model("short", max_positions=2048))
    factories.make_cell(factories.make_accepted_run(short), "accuracy", 0.99)
    for slug, fields in {
        "broken": {"state": Run.State.FAILED, "failure_class": "model_error"},
        "large": {"state": Run.State.FAILED, "failure_class": "oom"},
        "queued": {"state": Run.State.QUEUED},
        "refused": {"state": Run.State.REJECTED},
        "stopped": {"state": Run.State.CANCELLED},
    }.items():
        system = factories.make_system(factories.make_model(slug))
        factories.make_run(factories.make_submission(system=system), suite=niah, context_length=4096, **fields)
    rows = table(client.get("/boards/niah/?length=4096"), "board")[1:]
    said = {row[1].split()[0]: row[2] for row in rows}
    assert said | {"Apple": "", "Birch": ""} == {
        "Apple": "", "Birch": "",
        "Cedar": "not run",
        "Short": "exceeds position limit (2K)",
        "Broken": "failed: model error",
        "Large": "does not fit: out of memory",
        "Queued": "waiting for its run",
        "Refused": "failed: result rejected",
        "Stopped": "not run",
    }  # fmt: skip
    for sort in ("accuracy", "cost", "front"):
        rows = table(client.get(f"/boards/niah/?length=4096&sort={sort}"), "board")[1:]
        assert {row[1].split()[0] for row in rows[:2]} == {"Apple", "Birch"}, sort


def test_a_failed_run_is_one_click_away_from_its_cell(client, systems):
    system = factories.make_system(factories.make_model("broken"))
    run = factories.make_run(
        factories.make_submission(system=system), context_length=1024, state="failed", failure_class="timeout"
    )
    assert f"/runs/{run.pk}/".encode() in client.get("/boards/niah/?length=1024").content


def test_unknown_values_fall_back_and_the_page_says_so(client, systems):
    response = client.get(
        "/boards/niah/?length=777&cost=joules&hardware=abacus&family=tree&trust=blind&metric=luck&task=x&page=9&sort=z"
    )
    assert response.status_code == 200
    said = " ".join(text(node) for node in parsed(response).xpath("//p[contains(@class, 'message')]"))
    for sentence in (
        'There is no cost "joules" here; showing ttft_ms.',
        "Nothing was measured at 777 tokens here; showing 1K. There is 1K, 4K.",
        'There are no numbers on hardware "abacus"; showing CPU, 2 cores.',
        'There is no family "tree" here; showing all.',
        'There is no trust "blind" here; showing measured.',
        'There is no metric "luck" here; showing accuracy.',
        "There are 1 pages; showing the last.",
    ):
        assert sentence in said


@pytest.mark.parametrize(
    "query",
    [
        "length=-1",
        "length=9999999999999999999999",
        "length=%00",
        "hardware=%00&family=%00&search=%00",
        "page=0",
        "length=٣",
    ],
)
def test_no_query_breaks_the_page(client, systems, query):
    assert client.get(f"/boards/niah/?{query}").status_code == 200


@pytest.mark.parametrize("path", ["/boards/nope/", "/boards/niah@9/", "/boards/%00/", "/boards/nope/table.csv"])
def test_an_unknown_board_is_a_404_that_says_what_to_do(client, systems, path):
    response = client.get(path)
    assert response.status_code == 404
    assert "There is no board" in text(parsed(response))


def test_a_board_can_be_pinned_to_a_suite_version(client, systems):
    assert table(client.get("/boards/niah@1/"), "board") == table(client.get("/boards/niah/"), "board")


def test_an_efficiency_suite_leads_to_its_own_page(client, systems):
    assert client.get("/boards/efficiency/")["Location"] == "/suites/efficiency/"


def test_an_empty_board_says_how_to_fill_it(client):
    factories.make_suite()
    response = client.get("/boards/niah/")
    assert response.status_code == 200
    page = text(parsed(response))
    assert "This site has received no result at all yet." in page
    assert "It will show accuracy against time to first token (ttft) of each system" in page
    assert "manage.py load_baselines" in page
    assert (
        "longboard-worker site submit --model granite-hybrid-3m --pools POOL --suites niah,efficiency --lengths 512,2048"
        in page
    )
    assert "No node takes runs here yet" in page
    assert "Nothing has been measured in this suite yet" in page
    assert "Loosen a filter" not in page
    assert "at tokens" not in page
    assert not parsed(response).xpath("//form[@id='compare']")  # there is nothing to compare


# --- Filters ---------------------------------------------------------------------------------------------------------


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


# --- Cost ------------------------------------------------------------------------------------------------------------


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


def test_long_tables_come_in_pages_that_together_are_the_whole(client):
    factories.make_board([(f"m{i:03}", 1024, 0.5, 10 + i) for i in range(60)])
    seen, url = [], "/boards/niah/"
    while url:
        response = client.get(url)
        seen += [row[1].split()[0] for row in table(response, "board")[1:]]
        url = next(iter(parsed(response).xpath("//nav[@class='pages']/a[@rel='next']/@href")), "")
    assert len(seen) == len(set(seen)) == 60


# --- Caching, HTMX, security -----------------------------------------------------------------------------------------


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


# --- Addresses and exports -------------------------------------------------------------------------------------------


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


def test_where_guessing_scores_the_number_above_chance_stands_beside_the_raw_one(client):
    babilong, pool = factories.make_suite("babilong"), factories.make_pool()
    run = factories.make_accepted_run(factories.make_system(factories.make_model("guesser")), suite=babilong, pool=pool)
    factories.make_cell(run, "accuracy", 0.6, n=100)
    page = client.get("/boards/babilong/")
    row = table(page, "board")[1]
    assert row[2].startswith("0.60 ± 0.10")
    assert row[2].endswith("0.52 above chance"), "(0.60 - 1/6) / (1 - 1/6)"
    assert "Guessing without the context scores 0.17" in text(parsed(page))
    rows = list(
        csv.DictReader(io.StringIO(b"".join(client.get("/boards/babilong/table.csv").streaming_content).decode()))
    )
    assert float(rows[0]["normalised"]) == pytest.approx(0.52)
    factories.make_board([("apple", 1024, 0.9, 100.0)])
    assert "above chance" not in text(parsed(client.get("/boards/niah/")))


def test_a_large_board_says_what_a_small_one_says(client, systems, monkeypatch):
    """Large boards read less and in another order; the tables must not tell."""
    niah, efficiency = factories.make_suite("niah"), factories.make_suite("efficiency")
    for slug in ("broken", "late"):
        failed = factories.make_submission(system=factories.make_system(factories.make_model(slug)))
        for length in (1024, 4096):
            fields = {"context_length": length, "state": "failed", "failure_class": "oom"}
            factories.make_run(failed, suite=niah, **fields)
            if slug == "broken":  # neither number, each for a reason of its own
                factories.make_run(failed, suite=efficiency, **fields | {"failure_class": "timeout"})
    fields = {"context_length": 1024, "state": "failed", "failure_class": "oom"}
    cheap = factories.make_submission(system=factories.make_system(factories.make_model("costless")))
    factories.make_cell(factories.make_accepted_run(cheap.system), "accuracy", 0.5)
    factories.make_run(cheap, suite=efficiency, **fields)
    pages = [f"/boards/niah/?length={n}&sort={sort}" for n in (1024, 4096) for sort in ("accuracy", "cost", "front")]

    def said() -> list[object]:
        tables = [(table(client.get(p), "board"), [row[0] for row in table(client.get(p), "matrix")]) for p in pages]
        return [*tables, b"".join(client.get("/boards/niah/table.csv?length=1024").streaming_content)]

    small = said()
    assert "Costless" in str(small[0])
    assert str(small[0]).count("out of memory") >= 2
    cache.clear()
    monkeypatch.setattr("longboard.boards.queries.ALL_LENGTHS_UP_TO", 0)
    assert said() == small
