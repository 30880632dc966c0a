"""The board: what it says."""

from __future__ import annotations

import csv
import io

import pytest
from django.core.cache import cache
from tests import factories
from tests.pages.reading import chosen, parsed, table, text

from longboard.boards.models import Column
from longboard.submissions.models import Run

pytestmark = pytest.mark.django_db


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
    assert client.get("/boards/efficiency/lengths/")["Location"] == "/suites/efficiency/"
    assert client.get("/boards/nothing/lengths/").status_code == 404


def test_an_empty_board_says_how_to_fill_it(client):
    factories.make_suite()
    response = client.get("/boards/niah/")
    assert response.status_code == 200
    page = text(parsed(response))
    assert "This site has received no result at all yet." in page
    assert "It will show accuracy against time to first token (TTFT) of each system" in page
    assert "manage.py load_baselines" in page
    assert "site submit" not in page, "there is no pool to name"
    assert "longboard-worker evaluate --model" in page
    assert "No node takes runs here yet" in page
    assert "Nothing has been measured in this suite yet" in page
    assert "Loosen a filter" not in page
    assert "at tokens" not in page
    assert not parsed(response).xpath("//form[@id='compare']")  # there is nothing to compare


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


def test_a_board_praises_no_system_above_one_whose_cost_is_missing(client):
    factories.make_board([("apple", 1024, 0.5, 10.0), ("birch", 1024, 0.3, 5.0)])
    factories.make_cell(factories.make_run(system=factories.make_system(factories.make_model("cedar"))), value=1.0)
    title = text(parsed(client.get("/boards/niah/?length=1024")).xpath("//*[@class='takeaway']")[0])
    assert "Apple is most accurate of those with both numbers" in title
