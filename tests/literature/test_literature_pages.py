"""The efficiency, claims and literature pages: they stand almost without the database, say where a number is from, and show
failures as rows."""

from __future__ import annotations

import csv
import re

import pytest
from tests.pages.reading import parsed, text

from longboard.literature.catalogue import load_claims, load_papers
from longboard.literature.measurements import load_tables
from longboard.literature.metric_tables import takeaway
from longboard.literature.verdicts import WORDS
from longboard.quantities import quantity
from longboard_tasks.suites.efficiency.report import Report

PAGES = [
    "/efficiency/", "/efficiency/h100-80gb/", "/efficiency/h100-80gb/llama-1b/", "/efficiency/theory/",
    "/efficiency/costs/", "/efficiency/costs/?on=a100-80gb&length=4096&batch=8",
    "/efficiency/crossover/?a=llama-1b&b=mamba2-1b",
]  # fmt: skip
JUDGED = [
    "/claims/", "/claims/?verdict=holds&suite=costmodel", "/claims/ssm-characterization-01/", "/literature/",
    "/literature/?kind=Hybrids&search=mamba", "/literature/lra/",
]  # fmt: skip


@pytest.mark.parametrize("path", [*PAGES, *JUDGED])
@pytest.mark.django_db
def test_a_page_stands_without_a_script_or_a_cookie_and_asks_at_most_whether_a_result_is_new(
    client, path, django_assert_num_queries
):
    client.get("/claims/")
    with django_assert_num_queries(path in JUDGED):
        response = client.get(path)
    assert response.status_code == 200
    page = parsed(response)
    assert len(page.xpath("//h1")) == 1
    assert not page.xpath("//script[not(@src)]")
    assert not response.cookies
    assert not page.xpath("//table[not(.//th)]")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/efficiency/", "/efficiency/theory/"])
def test_every_chart_has_its_table_and_says_so(client, path):
    page = parsed(client.get(path))
    charts = page.xpath("//figure[contains(@class, 'front')]")
    assert charts
    for chart in charts:
        assert "table has the same numbers" in chart.xpath(".//svg/@aria-label")[0]
        assert chart.xpath("following::table")


@pytest.mark.django_db
def test_the_efficiency_page_names_device_day_and_libraries_and_keeps_failures_as_entries(client):
    table = load_tables()["h100-80gb"]
    page = text(parsed(client.get("/efficiency/")))
    for word in (
        table.device,
        table.measured_on,
        table.report.software["transformers"],
        "out of memory",
        "no time",
        "in one pass",
    ):
        assert word in page
    for system in table.systems:
        assert system in page


@pytest.mark.django_db
def test_unknown_names_are_told_what_there_is_and_unknown_filters_are_none(client):
    for path in ("/efficiency/nope/", "/efficiency/h100-80gb/nope/", "/claims/nope/", "/literature/nope/"):
        assert client.get(path).status_code == 404
    assert text(parsed(client.get("/claims/?verdict=nope&paper=x%00y&suite=z"))) == text(parsed(client.get("/claims/")))
    assert client.get("/efficiency/crossover/?a=nope&b=nope&on=%00").status_code == 200


@pytest.mark.django_db
def test_every_paper_and_every_claim_has_its_page(client):
    for paper in list(load_papers())[::7]:
        assert client.get(f"/literature/{paper}/").status_code == 200
    for claim in list(load_claims())[::9]:
        assert client.get(f"/claims/{claim}/").status_code == 200


@pytest.mark.django_db
def test_a_recalled_figure_is_shown_as_recalled_on_the_claims_page(client):
    page = parsed(client.get("/claims/?paper=jamba"))
    rows = page.xpath("//tbody/tr")
    assert len(rows) == sum(c.paper_id == "jamba" for c in load_claims().values())
    recalled = [row for row in rows if "recalled" in row.text_content()]
    assert len(recalled) == sum(c.paper_id == "jamba" and c.is_recalled for c in load_claims().values())


@pytest.mark.django_db
def test_the_navigation_leads_here_from_every_page(client):
    links = parsed(client.get("/literature/")).xpath("//nav[@aria-label='Site']//a/@href")
    assert {"/efficiency/", "/claims/", "/literature/"} <= set(links)


@pytest.mark.django_db
def test_the_measurement_file_and_the_verdicts_can_be_taken_away(client):
    table = load_tables()["h100-80gb"]
    answer = client.get("/efficiency/h100-80gb.json")
    assert Report.model_validate_json(answer.content) == table.report
    assert client.get("/efficiency/nope.json").status_code == 404
    rows = list(csv.DictReader(client.get("/claims.csv").content.decode().splitlines()))
    assert [row["claim"] for row in rows] == list(load_claims())
    assert {row["verdict"] for row in rows} <= set(WORDS.values())
    assert all(row["ours"] for row in rows if row["verdict"] not in ("not measured",))


@pytest.mark.django_db
def test_the_cost_page_shows_the_worked_example_and_falls_back_on_nonsense(client):
    page = parsed(client.get("/efficiency/costs/?on=a100-80gb&length=65536"))
    (row,) = page.xpath("//tbody/tr[th[starts-with(normalize-space(), 'yi-34b')]]")
    assert "240 KiB" in text(row)  # 245,760 bytes a token
    assert "does not fit" in text(row)
    assert text(parsed(client.get("/efficiency/costs/?on=x&length=7&batch=%00"))) == text(
        parsed(client.get("/efficiency/costs/"))
    )


@pytest.mark.django_db
def test_no_page_writes_a_power_of_ten(client):
    for path in ("/efficiency/", "/efficiency/theory/", "/efficiency/crossover/", "/efficiency/kernels/", "/claims/"):
        assert not re.search(r"\d[eE][+-]?\d", text(parsed(client.get(path)).xpath("//main")[0])), path


def test_an_interval_that_has_a_width_never_reads_as_nothing():
    assert str(quantity(590, 589.8, 590.2, n=2, unit="ms")) == "590 ms ± 0.2, n=2"
    assert str(quantity(590.4, 590.3, 590.45, n=2, unit="ms")) == "590 ms (590.3–590.5), n=2"
    assert str(quantity(11.4, 11.32, 11.41, n=3, unit="ms")) == "11.4 ms (11.3–11.4), n=3"


@pytest.mark.django_db
def test_a_papers_figure_is_grouped_as_ours_beside_it_is(client):
    row = parsed(client.get("/claims/?paper=challenges-deploying")).xpath("//tbody/tr")[0]
    assert [text(cell) for cell in row.xpath("td[@class='num']")] == ["245,760 bytes"] * 2


def test_a_table_says_who_has_least_and_most_where_two_of_three_systems_were_measured_and_how_they_grew():
    found = {"a": {1024: 10.0, 4096: 20.0, 65536: 1.0}, "b": {1024: 40.0, 4096: 400.0}, "c": {1024: 1.0}}
    assert takeaway(found, "ms") == (
        "At 4K tokens a (20.0 ms) has the least and b (400 ms) the most; since 1K it went to 2.00 times its value for a "
        "and to 10.0 times for b."
    )
    assert takeaway(found, "ms", grows=False) == "At 4K tokens a (20.0 ms) has the least and b (400 ms) the most."
    assert takeaway({"a": {1024: 1.0}, "b": {}}, "ms") == ""


@pytest.mark.django_db
def test_every_figure_of_several_systems_has_its_sentence_and_the_tables_words_are_explained(client):
    page = parsed(client.get("/efficiency/"))
    for figure in page.xpath("//figure[count(.//*[@class='thread']) > 2]"):  # a line and its piece in the legend, each
        assert "has the least" in text(figure.xpath("preceding-sibling::p[@class='says']")[0])
    assert "launches differ by more than 3 %" in text(page)


@pytest.mark.django_db
def test_a_system_stands_beside_its_twin_with_our_kernels_and_a_table_of_several_machines_says_so(client):
    page = parsed(client.get("/efficiency/h200/"))
    rows = [text(a) for a in page.xpath("//section[@aria-labelledby='ttft']//tbody/tr/th")]
    assert rows[rows.index("mamba2-1b") + 1] == "mamba2-1b-longboard"
    assert "of 3 machines" in text(page)
    says = text(page.xpath("//section[@aria-labelledby='tpot']/p[@class='says']")[0])
    assert "times its value" not in says  # the host changes within a row


@pytest.mark.django_db
def test_two_systems_to_compare_are_chosen_of_two_kinds_and_tables_of_one_device_have_their_days(client):
    page = parsed(client.get("/efficiency/crossover/?on=h200"))
    assert page.xpath("//option[@selected]/text()")[1:] == ["llama-1b-longboard", "mamba2-1b-longboard"]
    tables = page.xpath("//select[@name='on']/option/text()")
    assert len(set(tables)) == len(tables)
    assert "n=5" in text(page)
    asked = parsed(client.get("/efficiency/crossover/?on=h200&a=llama-1b&b=mamba2-1b"))
    assert asked.xpath("//option[@selected]/text()")[1:] == ["llama-1b", "mamba2-1b"]


@pytest.mark.django_db
def test_theory_is_held_against_stock_code_and_our_kernels_apart_with_intervals_on_every_device(client):
    page = parsed(client.get("/efficiency/theory/?on=h200"))
    kinds = [text(dt) for dt in page.xpath("//dl[@class='facts']//dt")]
    assert {"prefill, measured over bound", "prefill, ours, measured over bound"} <= set(kinds)
    rows = [[text(cell) for cell in row] for row in page.xpath("//section[@aria-labelledby='times']//tbody/tr")]
    (measured,) = [row[4] for row in rows if row[:3] == ["mamba2-1b-longboard", "prefill, ours", "16K"]]
    assert measured.endswith("n=5")
    other = next(a for a in page.xpath("//p[@class='tools']/a") if "H100" in text(a))
    assert "NVIDIA H100" in text(
        parsed(client.get("/efficiency/theory/" + other.get("href"))).xpath("//p[@class='summary']")[0]
    )


@pytest.mark.django_db
def test_energies_of_one_system_stand_together_and_two_machines_are_named(client):
    page = parsed(client.get("/efficiency/h200/"))
    section = page.xpath("//section[@aria-labelledby='energy']")[0]
    rows = [tuple(text(cell) for cell in row.xpath("./th|./td")[:2]) for row in section.xpath(".//tbody/tr")]
    assert rows == sorted(rows)
    assert rows.count(("granite-h-1b", "decode")) == 2
    assert "are of two machines" in text(section)


@pytest.mark.django_db
def test_what_had_no_time_in_one_report_and_has_a_number_of_another_is_one_row(client):
    page = parsed(client.get("/efficiency/h200/mamba2-1b-longboard/"))
    (row,) = page.xpath("//tr[th[normalize-space()='decode, 16K, batch 8']]")
    assert "2.42 ms" in text(row)


@pytest.mark.django_db
def test_a_range_of_equal_ratios_and_one_claim_read_as_one_and_no_time_of_the_cost_model_is_nothing(client):
    assert not re.search(r"(\d\S*×) to \1", text(parsed(client.get("/efficiency/theory/?on=h200"))))
    assert not re.search(r"\b1 claims", text(parsed(client.get("/literature/"))))
    assert not re.search(r"\b0\.0 s\b", text(parsed(client.get("/efficiency/costs/"))))


@pytest.mark.django_db
def test_several_verdicts_of_a_paper_are_told_in_the_plural(client):
    told = text(parsed(client.get("/literature/")))
    assert not re.search(r"\b([2-9]|\d\d+) (holds|does not)\b", told)
    assert re.search(r"[2-9] do not hold here", told)


def test_reports_of_a_device_are_one_table_unless_they_read_a_system_in_different_ways():
    tables = load_tables()
    assert {"llama-1b", "mamba2-1b", "mamba2-1b-longboard"} <= set(tables["h200"].systems)
    assert tables["h200"].measured_on == "2026-11-27 and 2026-11-28"
    assert {"falcon-h1-1.5b-longboard", "granite-h-1b-longboard"} <= set(tables["h200"].systems)
    assert not {"h200-kernels", "h200-kernels-2"} & set(tables)
    chunks = [tables[slug].report.systems["mamba2-1b"].chunk for slug in ("h100-80gb", "h100-80gb-energy")]
    assert chunks == [512, 4096]


@pytest.mark.django_db
def test_of_several_searches_for_a_limit_the_furthest_is_shown_and_a_length_that_was_only_too_long_is_no_limit(client):
    table = load_tables()["h200"]
    page = parsed(client.get("/efficiency/h200/"))
    rows = [[text(cell) for cell in row] for row in page.xpath("//section[@aria-labelledby='limits']//tbody/tr")]
    assert len({tuple(row[:4]) for row in rows}) == len(rows) == len(table.report.limits)
    tokens = {tuple(row[i] for i in (0, 2, 3)): row[4] for row in rows if row[1].startswith("24")}
    assert tokens["qwen2.5-0.5b", "one shot", "full"].startswith("≥ 68,384")  # a later one: 2,992
    assert tokens["llama-1b", "one shot", "last"] == "below 204,704"
