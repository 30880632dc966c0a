"""What follows from an accepted result when the board is too large for its transaction, and repair."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.core.management import call_command
from tests import factories

from longboard.boards import columns, ranking, summaries
from longboard.boards.columns import Slice
from longboard.boards.models import Cell, Column, FrontEntry, PastCell
from longboard.boards.share_intervals import evidence, interval
from longboard_tasks.intervals import wilson

pytestmark = pytest.mark.django_db

LATER = factories.NOW + timedelta(hours=1)


def held(column: Column) -> list[tuple]:
    unpacked = Slice.unpack(column.systems, column.numbers)
    return [
        (int(s), float(n["value"]), float(n["low"]), float(n["high"]), int(n["n"]))
        for s, n in zip(unpacked.systems, unpacked.numbers, strict=True)
    ]


def everything() -> dict:
    return {str(c.pk): (held(c), c.size) for c in Column.objects.order_by("pk")}


def test_columns_say_what_the_cells_say_after_any_order_of_changes():
    systems = factories.make_board([(f"m{i}", 1024, 0.5, 10.0 + i) for i in range(12)])
    rng = np.random.default_rng(1)
    for _ in range(40):
        cell = Cell.objects.order_by("?").first()
        cell.value = float(rng.random())
        cell.ci_low, cell.ci_high = cell.value / 2, cell.value + 0.1
        summaries.write_cells([cell], now=LATER)
    for column in Column.objects.all():
        rows = Cell.objects.filter(
            suite=column.suite_id, task=column.task, metric=column.metric, context_length=column.context_length
        )
        expected = rows.order_by("system_id").values_list("system_id", "value", "ci_low", "ci_high", "n")
        assert held(column) == [tuple(row) for row in expected]
        assert column.size == len(systems)
    before = everything()
    columns.rebuild_all(now=LATER)
    assert everything() == before


def test_a_board_too_large_for_the_transaction_is_left_to_the_job_and_the_job_finishes_it(monkeypatch):
    systems = factories.make_board([(f"m{i}", 1024, 0.5 + i / 100, 10.0 + i) for i in range(6)])
    hardware = factories.make_hardware()
    place = {"hardware": hardware, "context_length": 1024}
    assert not ranking.refresh(**place, now=LATER, most=5)
    assert not FrontEntry.objects.exists()
    assert ranking.refresh_due(now=LATER) == 1
    assert {e.system_id for e in FrontEntry.objects.filter(cost_metric="ttft_ms", on_front=True)} == {
        s.pk for s in systems.values()
    }
    assert not Column.objects.filter(ranked_at=None).exists()
    assert ranking.refresh_due(now=LATER) == 0, "nothing is due twice"


def test_a_changed_number_drops_the_fronts_of_its_axis_and_no_others():
    factories.make_board([("a", 1024, 0.9, 100.0), ("b", 1024, 0.5, 10.0)])
    ranking.refresh(hardware=factories.make_hardware(), context_length=1024, now=factories.NOW)
    costs = set(FrontEntry.objects.values_list("cost_metric", flat=True))
    assert costs == {"ttft_ms", "peak_memory_bytes", "decode_tokens_per_s"}
    summaries.write_cells([Cell.objects.filter(metric="ttft_ms").first()], now=LATER)
    assert set(FrontEntry.objects.values_list("cost_metric", flat=True)) == costs - {"ttft_ms"}
    summaries.write_cells([Cell.objects.filter(metric="accuracy").first()], now=LATER)
    assert not FrontEntry.objects.exists()


def test_a_site_from_before_there_were_columns_heals_by_itself():
    factories.make_board([("a", 1024, 0.9, 100.0), ("b", 1024, 0.5, 10.0)])
    Column.objects.all().delete()
    ranking.refresh_due(now=LATER)
    assert Column.objects.filter(metric="accuracy", size=2).exists()
    assert FrontEntry.objects.exists()


def test_a_rebuild_works_the_cells_of_single_tasks_out_by_the_rule_of_today():
    scores = [1.0, 0.5, 0.5, 0.25, 0.75, 1.0, 0.0, 0.5]
    run = factories.make_accepted_run(suite=factories.make_suite("kv"))
    share = float(np.mean(scores))
    factories.make_measurement(run, value=share, n=len(scores), task="few_shot")
    for index, score in enumerate(scores):
        factories.make_sample(run, index, score=score, task="few_shot")
    # As an older version left it: partial scores counted as if each were right or wrong.
    low, high = wilson(share, len(scores))
    factories.make_cell(run, value=share, n=len(scores), task="few_shot", ci_low=low, ci_high=high)
    call_command("rebuild_boards", stdout=StringIO())
    cell = Cell.objects.get(task="few_shot")
    expected = interval([evidence(np.array(scores))])
    assert (cell.value, cell.ci_low, cell.ci_high) == pytest.approx((share, *expected))
    assert low < cell.ci_low < cell.ci_high < high
    assert np.frombuffer(cell.scores.scores, "<f4").tolist() == scores
    assert [(past.ci_low, past.since) for past in PastCell.objects.all()] == [(low, factories.NOW)]
    column = Column.objects.get(task="few_shot", metric="accuracy")
    assert held(column) == [(cell.system_id, cell.value, cell.ci_low, cell.ci_high, len(scores))]


def test_a_rebuild_that_changes_nothing_leaves_a_board_of_an_earlier_day_as_it_was():
    run = factories.make_accepted_run(suite=factories.make_suite("recall"))
    for task in ("copy", "ngram_prefix", "ngram_suffix", "phone_book", "mqar"):
        factories.make_measurement(run, task=task)
    summaries.update_summaries(run=run, now=factories.NOW)
    before = list(Cell.objects.order_by("pk").values())
    assert {cell["metric"] for cell in before} == {"accuracy", "mean_accuracy", "mean_above_chance"}
    call_command("rebuild_boards", stdout=StringIO())
    assert list(Cell.objects.order_by("pk").values()) == before
    assert not PastCell.objects.exists()


def test_a_run_of_other_tasks_leaves_a_tasks_number_and_its_run_alone():
    first = factories.make_accepted_run(suite=factories.make_suite("recall"))
    factories.make_measurement(first, task="copy")
    summaries.update_summaries(run=first, now=factories.NOW)
    second = factories.make_accepted_run(first.system, suite=first.suite)
    factories.make_measurement(second, task="phone_book")
    summaries.update_summaries(run=second, now=LATER)
    assert dict(Cell.objects.values_list("task", "last_run")) == {"copy": first.pk, "phone_book": second.pk}
    assert Cell.objects.get(task="copy").updated_at == factories.NOW
    assert not PastCell.objects.exists()
