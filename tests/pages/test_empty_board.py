"""A board without a number says why, what it would show, how to fill it, and where there are numbers."""

from __future__ import annotations

import argparse
import shlex

import pytest
from tests import factories
from tests.pages.reading import parsed, text

from longboard.registry.services import sync_catalogue
from longboard_worker import site_commands

pytestmark = pytest.mark.django_db


def said(client, path):
    page = parsed(client.get(path)).xpath("//div[@class='emptiness']")[0]
    return text(page), [text(c) for c in page.xpath(".//pre")], {text(a): a.get("href") for a in page.xpath(".//a")}


def test_a_suite_that_trains_says_that_nothing_can_be_loaded_and_names_the_training(client):
    sync_catalogue()
    factories.make_board([("apple", 1024, 0.9, 10.0)])
    words, commands, links = said(client, "/boards/lra/")
    assert "Of what this site has received, nothing is of Long Range Arena (lra@1)." in words
    assert "a training of an architecture from scratch" in words
    assert "It will show accuracy against training rate of each system at 2,000 tokens" in words
    ask, alone = commands
    assert ask.endswith("--pools local-cpu --suites lra --tasks lra/listops")
    assert alone == "python -m longboard_tasks.suites.lra listops --mixer s4d"
    assert links["Board of Needle in a haystack"] == "/boards/niah/"
    assert client.get(links["Tasks and metrics of Long Range Arena"]).status_code == 200


def test_a_board_opens_with_a_task_that_has_numbers_and_shows_an_empty_one_to_who_asks_for_it(client):
    sync_catalogue()
    factories.make_cell(factories.make_run(suite=factories.Suite.objects.get(name="lra")), task="listops_short")
    assert client.get("/boards/lra/").headers["Location"] == "/boards/lra/?task=listops_short"
    assert "No system has accuracy on ListOps yet" in said(client, "/boards/lra/?task=listops")[0]
    assert "another seed can differ by more" in text(parsed(client.get("/boards/lra/?task=listops_short")))


def test_the_commands_are_ones_that_the_command_line_takes(client):
    sync_catalogue()
    factories.make_pool()
    parser = argparse.ArgumentParser()
    site_commands.add_site_commands(parser.add_subparsers())
    for suite in ("lra", "kv", "recall"):
        (ask,) = [c for c in said(client, f"/boards/{suite}/")[1] if " site submit " in c]
        parsed_ask = parser.parse_args(shlex.split(ask)[1:])
        assert parsed_ask.suites.split(",")[0] == suite
        assert client.get(f"/models/{parsed_ask.model}/").status_code == 200


def test_a_task_without_numbers_leads_to_those_of_its_suite_that_have(client):
    factories.make_board([("apple", 1024, 0.9, 10.0)])
    words, _, links = said(client, "/boards/niah/?task=vt")
    assert "No system has accuracy on Variable tracking yet; other tasks of Needle in a haystack have." in words
    assert "load_baselines" not in words
    assert client.get(links["Single needle in prose"]).status_code == 200


def test_runs_that_wait_or_failed_are_counted(client):
    for state in ("queued", "queued", "failed"):
        factories.make_run(
            state=state, context_length=2_048, pool=factories.make_pool("far", factories.make_hardware("far"))
        )
    assert "Runs of the suite without a result: 1 failed, 2 queued." in said(client, "/boards/niah/?task=vt")[0]


def test_a_board_of_a_day_before_its_first_number_says_when_that_came(client):
    factories.make_board([("apple", 1024, 0.9, 10.0)])
    words = said(client, "/boards/niah/?as_of=2026-11-01")[0]
    assert "By 2026-11-01 this site had no number of Needle in a haystack: the first came 2026-11-24." in words


def test_where_no_pool_takes_runs_of_the_public_nothing_is_to_be_submitted(client):
    sync_catalogue()
    factories.make_pool(accepts_public_runs=False)
    for suite in ("lra", "kv"):
        commands = said(client, f"/boards/{suite}/?task=listops_short" if suite == "lra" else f"/boards/{suite}/")[1]
        assert commands
        assert not [c for c in commands if " site submit " in c]
