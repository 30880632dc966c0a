"""Which cost and task a board opens with, and that an address always says which one it means."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from tests import factories
from tests.pages.reading import chosen, options, parsed

from longboard.boards.board_view import BoardView
from longboard.boards.metrics import board_info, costs_of
from longboard.registry.suites import suite_info

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("suite", "first"),
    [("kv", "cache_bytes"), ("niah", "ttft_ms"), ("babilong", "ttft_ms"), ("lra", "train_tokens_per_s")],
)
def test_a_board_opens_with_the_cost_that_its_suite_is_about(client, suite, first):
    factories.make_suite(suite)
    assert chosen(client.get(f"/boards/{suite}/"), "cost") == first


@pytest.mark.parametrize(("suite", "first"), [("recall", "phone_book"), ("niah", "single"), ("babilong", "qa1")])
def test_a_board_opens_with_the_task_that_tells_its_systems_apart(client, suite, first):
    info = board_info(suite_info(factories.make_suite(suite)))
    page = client.get(f"/boards/{suite}/")
    assert chosen(page, "task") == first
    assert options(page, "task") == [task.name for task in info.tasks]
    assert sorted(options(page, "task")) == sorted(
        {task.name for task in suite_info(factories.make_suite(suite)).tasks if "accuracy" in task.metrics} | {"all"}
    )
    for task in info.tasks:
        view = BoardView.from_query(info, {"task": task.name})
        asked = {name: values[0] for name, values in parse_qs(urlsplit(view.url()).query).items()}
        assert asked == ({} if task.name == first else {"task": task.name})


@pytest.mark.parametrize("suite", ["kv", "niah", "lra"])
def test_an_address_leads_back_to_its_cost_and_leaves_only_the_usual_one_out(suite):
    info = board_info(suite_info(factories.make_suite(suite)))
    costs = costs_of(info)
    assert len(set(costs)) == len(costs)
    for cost in costs:
        view = BoardView.from_query(info, {"cost": cost})
        asked = {name: values[0] for name, values in parse_qs(urlsplit(view.url()).query).items()}
        assert asked == ({} if cost == costs[0] else {"cost": cost})
        assert BoardView.from_query(info, asked).cost == cost


def test_every_cost_of_the_menu_is_shown_where_its_step_leads(client):
    factories.make_board([("apple", 1024, 0.9, 100.0), ("apple", 4096, 0.7, 500.0)])
    for cost in ("ttft_ms", "peak_memory_bytes"):
        step = parsed(client.get(f"/boards/niah/?length=1024&cost={cost}")).get_element_by_id("step-longer")
        assert chosen(client.get(step.get("href")), "cost") == cost
