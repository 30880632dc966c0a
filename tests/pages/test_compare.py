"""Compare, crossover, the length matrix, a System's history, and the table of each as CSV, JSON and Parquet."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from datetime import timedelta

import numpy as np
import pytest
from tests import factories
from tests.pages.reading import parsed, table, text

from longboard.boards.models import CellScores, PastCell
from longboard.boards.summaries import write_cells
from longboard.results.models import Bundle

pytestmark = pytest.mark.django_db

LATER = factories.NOW + timedelta(days=2)


@pytest.fixture
def systems():
    return factories.make_board(
        [
            ("apple", 1024, 0.9, 10.0), ("apple", 4096, 0.8, 40.0), ("apple", 16384, 0.2, 160.0),
            ("birch", 1024, 0.6, 20.0), ("birch", 4096, 0.6, 25.0), ("birch", 16384, 0.6, 30.0),
            ("cedar", 1024, 0.5, 300.0),
        ]
    )  # fmt: skip


def address(systems, *names, path="/compare/"):
    return f"{path}?" + "&".join(f"system={systems[name].slug}" for name in names)


def answers(cell, right):
    scores = np.array(right, "<f4")
    CellScores.objects.create(cell=cell, seeds=[[0, len(right)]], scores=scores.tobytes())


def test_two_systems_stand_side_by_side_with_differences_to_the_first(client, systems):
    response = client.get(address(systems, "apple", "birch"))
    (accuracy, efficiency) = parsed(response).xpath("//table[@class='compare']")
    lines = [[text(cell) for cell in row.xpath("./th|./td")] for row in accuracy.xpath(".//tbody/tr")]
    assert [line[1] for line in lines] == ["1K", "4K", "16K"]
    assert lines[2][2].startswith("0.20 n=20")
    assert "+0.40 (0.09 to 0.63) better" in lines[2][3]
    costs = [[text(cell) for cell in row.xpath("./th|./td")] for row in efficiency.xpath(".//tbody/tr")]
    ttft = next(line for line in costs if line[0].startswith("Time to first") and line[1] == "16K")
    assert "×0.188" in ttft[3]
    assert "better" in ttft[3]


def test_numbers_that_never_varied_have_a_ratio_without_an_interval(client, systems):
    for name, size in (("apple", 3_000_000.0), ("birch", 1_719_000.0), ("cedar", 3_000_000.0)):
        run = systems[name].cells.filter(context_length=1024).first().last_run
        sized = {"task": "generate", "suite": factories.make_suite("efficiency"), "ci_low": size, "ci_high": size}
        factories.make_cell(run, "cache_bytes", size, **sized)
    table = parsed(client.get(address(systems, "apple", "birch", "cedar"))).xpath("//table[@class='compare']")[1]
    lines = [[text(cell) for cell in row.xpath("./th|./td")] for row in table.xpath(".//tbody/tr")]
    cache = next(line for line in lines if "cache" in line[0].lower())
    assert cache[3].endswith("×0.573 better")
    assert cache[4].endswith("×1.00 equal")


def test_systems_that_answered_the_same_samples_are_compared_sample_by_sample(client, systems):
    for name, right in (("apple", [1.0] * 18 + [0.0] * 2), ("birch", [1.0] * 12 + [0.0] * 8)):
        answers(systems[name].cells.get(metric="accuracy", context_length=1024), right)
    response = client.get(address(systems, "apple", "birch"))
    assert b"paired on 20 samples" in response.content
    rows = list(
        csv.DictReader(io.StringIO(read(client.get(address(systems, "apple", "birch", path="/compare/table.csv")))))
    )
    birch = [r for r in rows if (r["system"], r["metric"]) == (systems["birch"].slug, "accuracy")]
    row = next(r for r in birch if r["context_length"] == "1024")
    assert float(row["difference"]) == pytest.approx(-0.3)
    assert row["paired_samples"] == "20"
    assert float(row["difference_low"]) < -0.3 < float(row["difference_high"]) < 0


def read(response) -> str:
    return b"".join(response.streaming_content).decode()


@pytest.mark.parametrize("names", [(), ("apple",), ("apple", "apple")])
def test_fewer_than_two_systems_are_refused_with_a_sentence(client, systems, names):
    response = client.get(address(systems, *names))
    assert response.status_code == 400
    assert "Choose 2 to 5 systems" in text(parsed(response))


def test_unknown_systems_and_more_than_five_are_refused(client, systems):
    assert client.get("/compare/?system=nope&system=nada").status_code == 400
    assert client.get("/compare/?" + "&".join(f"system=s{i}" for i in range(6))).status_code == 400
    assert client.get("/compare/?system=%00&system=%00x").status_code == 400


def test_settings_that_differ_are_listed_and_equal_ones_only_counted(client, systems):
    page = client.get(address(systems, "apple", "cedar"))
    settings = {row[0]: row[1:] for row in table(page, "dense")[1:]}
    assert settings["model.id"] == ["apple", "cedar"]
    assert "runtime.dtype" not in settings


def test_the_board_offers_its_systems_for_comparison_without_javascript(client, systems):
    page = parsed(client.get("/boards/niah/?length=1024"))
    ticks = page.xpath("//input[@type='checkbox'][@form='compare']")
    assert {t.get("value") for t in ticks} == {s.slug for s in systems.values()}
    (form,) = page.xpath("//form[@id='compare']")
    assert form.get("action") == "/compare/"


def test_a_crossover_is_found_between_the_lengths_where_the_order_turns(client, systems):
    response = client.get(address(systems, "apple", "birch", path="/crossover/"))
    rows = {row[0]: row for row in table(response, "dense")[1:]}
    accuracy = rows["Accuracy"]
    place = int(accuracy[2].replace(",", ""))
    assert 4096 < place < 16384
    assert accuracy[5] == "3 (1K to 16K)"
    ttft = rows["Time to first token (TTFT)"]
    assert 1024 < int(ttft[2].replace(",", "")) < 4096
    assert ttft[4] == "100%"
    assert re.fullmatch(r"[0-9,]+–[0-9,]+", ttft[3])
    assert client.get(address(systems, "apple", "birch", "cedar", path="/crossover/")).status_code == 400
    other = client.get(address(systems, "birch", "apple", path="/crossover/"))
    assert {row[0]: row for row in table(other, "dense")[1:]}["Accuracy"][2] == "never here"


# --- The length matrix -----------------------------------------------------------------------------------------------


def test_the_length_matrix_ranks_complete_rows_and_marks_partial_ones(client, systems):
    rows = {row[0]: row for row in table(client.get("/boards/niah/lengths/?threshold=0.55"), "lengths")[1:]}
    assert [rows[name][1] for name in ("Apple", "Birch", "Cedar")] == ["1–2", "1–2", "–"]
    assert (rows["Apple"][2][:4], rows["Birch"][2][:4]) == ("0.68", "0.60")  # each ± 0.12 or more: not told apart
    assert "partial: 1 of 3 lengths" in rows["Cedar"][2]
    assert rows["Apple"][3].startswith("4K")
    assert rows["Birch"][3].startswith("16K")
    assert rows["Cedar"][3].startswith("none")


def test_the_sentence_above_the_lengths_is_of_every_length_or_says_where_the_last_one_ends(client, systems):
    birch = text(parsed(client.get("/boards/niah/lengths/?threshold=0.55")))
    assert "Birch holds accuracy of 0.55 or more at every length measured" in birch
    assert "3 systems, 2 of them at every length. Bars are 95 % intervals." in birch
    assert "up to 1K tokens, and none longer" in text(parsed(client.get("/boards/niah/lengths/?threshold=0.85")))


def test_the_threshold_is_the_readers_and_a_bad_one_is_named(client, systems):
    page = client.get("/boards/niah/lengths/?threshold=0.85")
    assert table(page, "lengths")[1][3].startswith("1K")
    for bad in ("2", "nan", "-1", "x", "0"):
        assert "is not a threshold" in text(parsed(client.get(f"/boards/niah/lengths/?threshold={bad}")))


def test_the_area_is_the_mean_over_the_logarithm_of_the_length(client, systems):
    rows = json.loads(read(client.get("/boards/niah/lengths/table.json")))["rows"]
    apple = next(r for r in rows if r["model"] == "apple")
    assert apple["area"] == pytest.approx((0.9 + 0.8) / 4 + (0.8 + 0.2) / 4)
    assert apple["area_ci_low"] < apple["area"] < apple["area_ci_high"]


def table_row(node) -> list[str]:
    return [text(cell) for cell in node.xpath(".//tbody/tr[1]/*")]


# --- History and the time machine ------------------------------------------------------------------------------------


def change(systems, value=0.1):
    cell = systems["apple"].cells.get(metric="accuracy", context_length=1024)
    old = cell.value
    cell.value, cell.ci_low, cell.ci_high = value, 0.05, 0.3
    write_cells([cell], now=LATER)
    return old


def test_a_changed_number_keeps_what_it_said_before(client, systems):
    change(systems)
    assert PastCell.objects.get().value == 0.9
    page = client.get(f"/systems/{systems['apple'].slug}/")
    current, history = parsed(page).xpath("//table[contains(@class, 'dense')]")
    assert "0.10" in text(current)
    assert "0.90" in text(history)
    assert table_row(history)[-2:] == ["2026-11-24 12:00", "2026-11-26 12:00"]


def test_as_of_shows_the_board_as_it_stood(client, systems):
    pages = ["/boards/niah/?length=1024", "/boards/niah/?length=1024&cost=decode_tokens_per_s&sort=cost"]
    before = [[row[:7] for row in table(client.get(page), "board")] for page in pages]
    change(systems)
    factories.make_board([("dune", 1024, 1.0, 5.0)])
    factories.Cell.objects.filter(system__model__slug="dune").update(updated_at=LATER)
    for page, rows in zip(pages, before, strict=True):
        assert table(client.get(page), "board") != rows
        then = [row[:7] for row in table(client.get(f"{page}&as_of=2026-11-24"), "board")]
        assert [row[1:5] for row in then] == [row[1:5] for row in rows]
        assert [row[5].split()[-1:] for row in then] == [row[5].split()[-1:] for row in rows], "the front of that day"
    assert "0.90" in text(parsed(client.get("/boards/niah/lengths/?as_of=2026-11-25T00:00:00")))


@pytest.mark.parametrize("bad", ["yesterday", "2026-13-01", "0001-01-01", "9999-12-31", "2026-11-24T99", "\x00"])
def test_a_moment_that_is_none_is_named(client, systems, bad):
    response = client.get("/boards/niah/", {"as_of": bad})
    assert response.status_code == 200
    assert "is not a date such as" in text(parsed(response))


# --- Exports ---------------------------------------------------------------------------------------------------------


def test_csv_json_and_parquet_of_a_board_have_equal_values(client, systems):
    import pyarrow.parquet as pq

    plain = list(csv.DictReader(io.StringIO(read(client.get("/boards/niah/table.csv?length=1024")))))
    rows = json.loads(read(client.get("/boards/niah/table.json?length=1024")))["rows"]
    packed = pq.read_table(io.BytesIO(b"".join(client.get("/boards/niah/table.parquet?length=1024").streaming_content)))
    assert packed.to_pylist() == rows
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == plain
    assert len(rows) == 3


def test_a_format_that_there_is_not_is_a_404(client, systems):
    for path in ("/boards/niah/table.xlsx", "/boards/niah/lengths/table.exe", "/export/measurements.zip"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_full_export_has_every_measurement_and_a_checksum_over_all_before_it(client, kind):
    run = factories.make_accepted_run()
    for i in range(450):
        factories.make_measurement(run, "accuracy_by_depth", 0.5, depth=i / 450, n=10)
    Bundle.objects.update(manifest={"started_at": "2026-11-20T09:00:00+01:00"})
    body = b"".join(client.get(f"/export/measurements.{kind}").streaming_content)
    *lines, last = body.splitlines(keepends=True)
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    assert digest.encode() in last
    assert b"450" in last
    assert len(lines) == 450 + (kind == "csv")
    first = json.loads(lines[0]) if kind == "jsonl" else next(csv.DictReader(io.StringIO(body.decode())))
    assert (first["system"], float(first["value"])) == (run.system.slug, 0.5)
    assert first["measured_at"] == "2026-11-20T08:00:00+00:00"


def test_without_a_choice_the_suite_is_shown_on_which_the_systems_meet(client, systems):
    recall = factories.make_suite("recall")
    for length in (512, 1024, 2048, 4096, 8192):  # more numbers, all of one System
        run = factories.make_accepted_run(systems["apple"], suite=recall, context_length=length)
        factories.make_cell(run, "accuracy", 0.5)
    page = parsed(client.get(address(systems, "apple", "birch")))
    assert page.xpath("//select[@name='suite']/option[@selected]/@value") == ["niah@1"]
