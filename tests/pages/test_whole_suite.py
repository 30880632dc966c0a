"""One number for a whole suite: only where every task was measured, beside systems that are marked partial."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from tests import factories
from tests.pages.reading import options, parsed, table, text

from longboard.boards.models import Cell, CellScores
from longboard.boards.ranking import rebuild_fronts
from longboard.boards.summaries import rebuild_means, write_means
from longboard.registry.suites import suite_info
from longboard.results.models import Trust

pytestmark = pytest.mark.django_db

TASKS = ("copy", "mqar", "ngram_prefix", "ngram_suffix", "phone_book")


def measured(slug: str, shares: dict[str, float], *, length: int = 1_024, **fields) -> Cell:
    """Accuracy cells of one System, one for each given task, and what follows from them."""
    suite = factories.make_suite("recall")
    run = factories.make_accepted_run(
        factories.make_system(factories.make_model(slug)), suite=suite, context_length=length
    )
    for task, share in shares.items():
        cell = factories.make_cell(run, "accuracy", share, task=task, **fields)
    write_means(suite, run.system_id, cell.hardware_id, length, now=factories.NOW)
    return cell


@pytest.fixture
def suite():
    measured("whole", dict(zip(TASKS, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True)))
    measured("other", dict.fromkeys(TASKS, 0.3))
    measured("hollow", {"copy": 1.0, "mqar": 1.0})
    return factories.make_suite("recall")


def test_every_board_offers_the_mean_of_all_tasks(client, suite):
    response = client.get("/boards/recall/?task=all")
    *tasks, last = options(response, "task")
    assert (set(tasks), last) == ({t.name for t in suite_info(suite).tasks}, "all")
    assert options(response, "metric") == ["mean_accuracy", "mean_above_chance"]
    assert "All 5 tasks, mean" in response.content.decode()


def test_a_complete_set_is_ranked_and_a_partial_one_is_marked_and_never_ranked(client, suite):
    rows = table(client.get("/boards/recall/?task=all&length=1024"), "board")[1:]
    assert [row[1].split()[0] for row in rows] == ["Whole", "Other", "Hollow"]
    assert rows[0][2].startswith("0.70")
    assert rows[0][3] == "100"  # samples of all tasks together
    assert (rows[0][0], rows[1][0]) == ("1", "2")
    assert (rows[2][0], rows[2][2]) == ("–", "partial: 2 of 5 tasks")


def test_the_matrix_of_lengths_has_means_and_says_what_is_partial(client, suite):
    page = client.get("/boards/recall/lengths/?task=all")
    assert page.status_code == 200
    rows = table(page, "lengths")[1:]
    assert any("0.70" in cell for cell in rows[0])
    matrix = table(client.get("/boards/recall/?task=all&length=1024"), "matrix")[1:]
    assert any("partial: 2 of 5 tasks" in cell for row in matrix for cell in row)


def test_a_suite_that_nobody_has_measured_whole_still_shows_who_has_how_much(client):
    measured("hollow", {"copy": 1.0, "mqar": 1.0})
    response = client.get("/boards/recall/?task=all&length=1024")
    assert table(response, "board")[1][2] == "partial: 2 of 5 tasks"
    assert "no system has both" in text(parsed(response).get_element_by_id("takeaway"))


def test_the_export_has_the_mean_with_its_interval(client, suite):
    response = client.get("/boards/recall/table.csv?task=all&length=1024&metric=mean_above_chance")
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))
    whole = next(row for row in rows if row["model"] == "whole")
    assert float(whole["value"]) == pytest.approx(0.7)  # nothing in recall can be guessed
    assert float(whole["ci_low"]) < 0.7 < float(whole["ci_high"])
    assert next(row for row in rows if row["model"] == "hollow")["missing"] == "partial: 2 of 5 tasks"


def test_two_systems_are_compared_by_the_mean_too(client, suite):
    slugs = list(Cell.objects.filter(task="all", metric="mean_accuracy").values_list("system__slug", flat=True))
    assert len(slugs) == 2
    page = client.get("/compare/", {"system": slugs})
    assert "Mean accuracy over all tasks" in text(parsed(page))


def test_a_mean_is_trusted_as_its_least_trusted_task():
    cell = measured("mixed", {"copy": 0.5}, trust=Trust.REPRODUCED)
    rest = {task: 0.5 for task in TASKS if task != "copy"}
    for task, share in rest.items():
        factories.make_cell(cell.last_run, "accuracy", share, task=task)
    write_means(cell.suite, cell.system_id, cell.hardware_id, 1_024, now=factories.NOW)
    assert set(Cell.objects.filter(task="all").values_list("trust", flat=True)) == {Trust.MEASURED}


def test_the_set_at_a_short_length_is_the_tasks_that_fit(client):
    # Phone book and associative recall need more tokens.
    measured("short", {"copy": 0.5, "ngram_prefix": 0.7, "ngram_suffix": 0.6}, length=128)
    assert Cell.objects.get(metric="mean_accuracy").value == pytest.approx(0.6)


def test_a_rebuild_makes_the_same_means_from_the_cells(suite):
    before = list(
        Cell.objects.filter(task="all").order_by("pk").values_list("system", "metric", "value", "ci_low", "ci_high")
    )
    Cell.objects.filter(task="all").delete()
    assert rebuild_means(now=factories.NOW + timedelta(hours=1)) == 4
    after = list(
        Cell.objects.filter(task="all").order_by("pk").values_list("system", "metric", "value", "ci_low", "ci_high")
    )
    assert after == before


def test_scores_go_along_so_that_means_are_compared_sample_by_sample():
    import numpy as np

    suite = factories.make_suite("recall")
    run = factories.make_accepted_run(suite=suite)
    for task in TASKS:
        cell = factories.make_cell(run, "accuracy", 0.75, task=task, n=4)
        scores = np.array([1, 1, 1, 0], "<f4").tobytes()
        CellScores.objects.create(cell=cell, seeds=[[0, 4]], scores=scores)
    write_means(suite, run.system_id, cell.hardware_id, 1_024, now=factories.NOW)
    kept = CellScores.objects.get(cell__metric="mean_accuracy")
    assert kept.seeds == [[0, 20]]
    assert np.frombuffer(kept.scores, "<f4").mean() == pytest.approx(0.75)
    rebuild_fronts(hardware=cell.hardware, context_length=1_024, now=factories.NOW)
