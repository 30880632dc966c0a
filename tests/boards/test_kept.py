"""Columns that a process keeps: nothing is sent twice, and a change is never missed."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests import factories

from longboard.boards import summaries
from longboard.boards.kept import Kept, read_columns
from longboard.boards.models import Cell, Column
from longboard.boards.ranking import refresh
from longboard_tasks.catalogue.metrics import COST_TASK

pytestmark = pytest.mark.django_db


@pytest.fixture
def read():
    """Reads both axes at a length: {(metric, length): Read}."""
    factories.make_board([(slug, n, 0.5, 10.0) for slug in ("a", "b") for n in (1024, 4096)])
    niah, efficiency = factories.make_suite("niah"), factories.make_suite("efficiency")
    hardware = factories.make_hardware().pk
    lines = (niah.pk, "single", "accuracy", hardware), (efficiency.pk, COST_TASK, "ttft_ms", hardware)
    return lambda length: {(c.line[2], c.length): c for c in read_columns(*lines, length=length)}


def test_a_second_read_has_the_same_arrays_and_is_sent_none(read, django_assert_num_queries):
    first = read(1024)
    assert set(first) == {("accuracy", 1024), ("accuracy", 4096), ("ttft_ms", 1024)}
    with django_assert_num_queries(1):
        again = read(1024)
    for place, column in first.items():
        assert again[place].systems is column.systems
        assert again[place].numbers is column.numbers
    assert first["accuracy", 4096].numbers is None
    assert read(4096)["accuracy", 4096].systems is first["accuracy", 4096].systems


def test_without_a_length_both_axes_are_read_at_every_length_and_no_numbers(read):
    found = read(None)
    assert set(found) == {(metric, n) for metric in ("accuracy", "ttft_ms") for n in (1024, 4096)}
    assert all(column.numbers is None for column in found.values())


def test_a_changed_number_and_a_new_rank_are_read_at_once_even_within_one_tick_of_the_clock(read):
    first = read(1024)
    cell = Cell.objects.filter(metric="accuracy", context_length=1024).first()
    cell.value = 0.75
    summaries.write_cells([cell], now=factories.NOW)
    changed = read(1024)
    assert 0.75 in changed["accuracy", 1024].numbers.numbers["value"]
    assert changed["ttft_ms", 1024].numbers is first["ttft_ms", 1024].numbers
    assert not changed["accuracy", 1024].is_ranked
    refresh(hardware=factories.make_hardware(), context_length=1024, now=factories.NOW)
    ranked = read(1024)["accuracy", 1024]
    assert ranked.is_ranked
    assert list(ranked.numbers.numbers["best"]) == [1, 1]


def test_no_two_columns_are_of_one_revision(read):
    assert len(set(Column.objects.values_list("revision", flat=True))) == Column.objects.count()


def test_what_was_used_longest_ago_goes_first():
    kept, line, revisions = Kept(2), (1, "single", "accuracy", 1), [uuid4() for _ in range(3)]
    kept.put(line, 1024, revisions[0], "a")
    kept.put((2, "single", "accuracy", 1), 1024, revisions[1], "b")
    kept.of([line])
    kept.put(line, 2048, revisions[2], "c")
    assert kept.of([line, (2, "single", "accuracy", 1)]) == {revisions[0]: "a", revisions[2]: "c"}
    kept.put(line, 1024, revisions[1], "d")
    assert kept.of([line]) == {revisions[1]: "d", revisions[2]: "c"}
