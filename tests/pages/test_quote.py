"""The price check on the submission form: the same rules as a submission, and nothing stored."""

from __future__ import annotations

import pytest
from tests import factories
from tests.pages.reading import parsed, table, text

from longboard.registry.models import System
from longboard.submissions.models import Run, Submission

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked(client):
    factories.make_suite()
    factories.make_pool()
    factories.make_model("tiny")
    factories.make_model("vast", parameters=70_000_000_000, max_positions=2**20)
    factories.make_model("unknown", parameters=None, max_positions=None)
    client.force_login(factories.make_user())
    return {
        "model": "tiny",
        "suites": ["niah", "efficiency"],
        "context_lengths": ["1024", "4096"],
        "pools": ["local-cpu"],
    }


def test_every_run_has_time_memory_and_a_verdict_and_nothing_is_stored(client, asked):
    response = client.post("/submit/price/", asked)
    rows = table(response, "dense")[1:]
    assert [(row[0], row[1]) for row in rows] == [
        ("niah@1", "1K"), ("efficiency@1", "1K"), ("niah@1", "4K"), ("efficiency@1", "4K"),
    ]  # fmt: skip
    assert all(" to " in row[4] and row[5] and row[6].startswith("fits: ") for row in rows)
    assert [rows.objects.count() for rows in (Run, Submission, System)] == [0, 0, 0]
    assert parsed(response).xpath("//select[@name='model']//option[@selected]/@value") == ["tiny"], "the form is kept"


def test_what_does_not_fit_says_so_with_the_sum(client, asked):
    response = client.post("/submit/price/", asked | {"model": "vast"})
    assert "may not fit" in table(response, "dense")[1][6]
    assert "GiB" in table(response, "dense")[1][6]
    assert "4 may not fit" in text(parsed(response).get_element_by_id("quote"))


def test_a_model_of_unknown_size_is_not_guessed(client, asked):
    assert "not known" in table(client.post("/submit/price/", asked | {"model": "unknown"}), "dense")[1][6]


def test_a_request_that_would_be_refused_says_why_now(client, asked):
    response = client.post("/submit/price/", asked | {"context_lengths": ["65536"]})
    assert response.status_code == 422
    assert "has 32768 positions" in text(parsed(response).get_element_by_id("quote"))
    partial = client.post("/submit/price/", asked | {"context_lengths": ["65536"]}, headers={"HX-Request": "true"})
    assert partial.status_code == 200
    assert b"<html" not in partial.content
    assert b"32768 positions" in partial.content


def test_it_takes_a_signed_in_person_and_a_post(client, asked):
    assert client.get("/submit/price/").status_code == 405
    client.logout()
    assert client.post("/submit/price/", asked).status_code == 302
