"""The form: what it offers, what it makes of a request, and why it refuses one."""

from __future__ import annotations

import pytest
from tests import factories
from tests.pages.reading import parsed, text

from longboard.submissions.models import Submission

pytestmark = pytest.mark.django_db


FORM = {"model": "apple", "method": "none", "budget": "1", "dtype": "float32", "seed": "0", "idempotency_key": "k1"}


def test_the_form_offers_lengths_pools_suites_and_each_models_limit(client, ada):
    page = parsed(client.get("/submit/?model=apple"))
    assert page.xpath("//select[@name='model']//option[@selected]/text()") == ["Apple (apple), up to 8K"]
    lengths = page.xpath("//input[@name='context_lengths']/@value")
    assert (lengths[0], lengths[-1], len(lengths)) == ("512", "1048576", 12)
    assert page.xpath("//input[@name='suites']/@value") == ["babilong", "kv", "lra", "niah", "recall", "efficiency"]


def test_the_form_opens_with_a_model_that_can_do_what_is_ticked_beside_it(client, ada):
    factories.make_suite()
    page = parsed(client.get("/submit/"))
    groups = page.xpath("//select[@name='model']/optgroup")
    assert [group.get("label").split(":")[0] for group in groups] == [
        "Trained weights",
        "Random weights",
        "Architectures",
    ]
    first = page.xpath("//select[@name='model']//option/@value")[0]
    assert first in groups[0].xpath("./option/@value")
    sent = client.post(
        "/submit/", FORM | {"model": first, "suites": ["niah"], "context_lengths": ["1024"], "pools": ["local-cpu"]}
    )
    assert sent.status_code == 302
    ticked = parsed(client.get("/submit/?model=llama-1b")).xpath("//input[@name='suites'][@checked]/@value")
    assert ticked == ["efficiency"]  # its weights are random


def test_the_list_of_models_begins_with_those_that_have_weights(client):
    factories.make_suite()
    page = parsed(client.get("/models/"))
    assert text(page.xpath("//th[@scope='rowgroup']")[0]) == "Trained weights"
    assert "granite-hybrid-3m" in text(page.xpath("//tbody[1]/tr[2]")[0])


def test_a_good_request_becomes_a_submission_and_twice_the_same_stays_one(client, ada):
    data = FORM | {
        "suites": ["niah", "efficiency"],
        "context_lengths": ["1024", "4096"],
        "pools": ["local-cpu"],
        "note": "hi",
    }
    first, second = client.post("/submit/", data), client.post("/submit/", data)
    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"]
    (submission,) = Submission.objects.all()
    assert submission.runs.count() == 4
    said = text(parsed(client.get(first["Location"])))
    for part in ("niah@1 at 1K", "efficiency@1 at 4K", "queued", "ada", "hi"):
        assert part in said, part


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"context_lengths": ["16384"]}, "context_lengths", "8192"),
        ({"context_lengths": []}, "context_lengths", "Choose at least one context length."),
        ({"suites": []}, "suites", "Choose at least one suite."),
        ({"pools": []}, "pools", "Choose at least one pool."),
        ({"model": "nope"}, "model", "not one of the available choices"),
        ({"samples": "0"}, "samples", "greater than or equal to 1"),
        ({"budget": "0.5"}, "budget", "takes no budget"),
        ({"budget": "0"}, "budget", "greater than 0"),
    ],
)
def test_a_refused_request_comes_back_with_the_reason_beside_the_field(client, ada, change, field, words):
    good = {"suites": ["niah"], "context_lengths": ["1024"], "pools": ["local-cpu"], "note": "kept"}
    response = client.post("/submit/", FORM | good | change)
    assert response.status_code == 422
    (place,) = parsed(response).xpath(f"//div[contains(@class, 'f-{field}')]")
    assert words in text(place.xpath(".//ul[@class='errorlist']")[0])
    assert parsed(response).xpath("//input[@name='note']/@value") == ["kept"], "nothing typed is lost"
    assert not Submission.objects.exists()


def test_who_has_no_pool_to_choose_is_told_what_to_do(client):
    client.force_login(factories.make_user())
    assert "No pool takes your runs here yet" in text(parsed(client.get("/submit/")))


def test_a_private_pool_is_offered_to_its_owner_alone(client, ada):
    other = factories.make_user()
    factories.make_pool("secret", title="Secret", accepts_public_runs=False, owner=other)
    assert b"secret" not in client.get("/submit/").content
    client.force_login(other)
    assert b"secret" in client.get("/submit/").content


def test_a_hub_model_is_registered_by_repository_and_commit(client, ada):
    commit = "a" * 40
    response = client.post("/models/register/", {"repository": "org/Name", "revision": commit, "title": "Big One"})
    assert response.status_code == 302
    assert "Big One" in text(parsed(client.get(response["Location"])))
    refused = client.post("/models/register/", {"repository": "org/Name", "revision": "main"})
    assert refused.status_code == 422
    assert "40-digit commit hash" in text(parsed(refused).xpath("//ul[@class='errorlist']")[0])
