from datetime import UTC, datetime

import pytest
from django.test import Client, TestCase
from django.utils import timezone
from tests.factories import (
    make_accepted_run,
    make_board,
    make_front_entry,
    make_measurement,
    make_model,
    make_pool,
    make_run,
    make_sample,
    make_submission,
    make_suite,
    make_user,
)

from longboard.accounts.services import make_token
from longboard.boards.models import Cell
from longboard.results.models import Bundle
from longboard.submissions.models import Run, Submission

pytestmark = pytest.mark.django_db

ASK = {"model": "small", "suites": ["niah"], "context_lengths": [512, 1024], "pools": ["local-cpu"]}


@pytest.fixture
def site():
    make_suite()
    make_model("small", max_positions=4_096)
    make_pool()


@pytest.fixture
def token():
    def make(user=None, **fields):
        defaults = {"name": "t", "scope": "submit", "days": 1, "now": timezone.now()}
        return {"Authorization": f"Bearer {make_token(user=user or make_user(), **(defaults | fields))[1]}"}

    return make


def post(client, path, body, headers=None):
    return client.post(f"/api/v1{path}", body, content_type="application/json", headers=headers or {})


def get(client, path, **query):
    return client.get(f"/api/v1{path}", query)


def test_submit_answers_201_with_the_runs_and_the_same_key_200_with_the_same_ones(client, site, token):
    auth = token()
    first = post(client, "/submissions", ASK | {"idempotency_key": "a"}, auth)
    again = post(client, "/submissions", ASK | {"idempotency_key": "a"}, auth)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert [(r["suite"], r["context_length"], r["state"]) for r in first.json()["runs"]] == [
        ("niah@1", 512, "queued"), ("niah@1", 1024, "queued"),
    ]  # fmt: skip
    assert first.json()["state"] == "queued"


@pytest.mark.parametrize(
    "change, status, code, field, says",
    [
        ({"model": "none-such"}, 404, "not_found", "model", "is not registered"),
        ({"suites": ["nope"]}, 404, "not_found", "suites", "There are: babilong, efficiency, "),
        ({"context_lengths": [9_999]}, 400, "bad_request", "context_lengths", "4096 positions"),
        ({"context_lengths": [0]}, 422, "invalid", "context_lengths/0", "greater than or equal to 1"),
        ({"context_lengths": []}, 400, "bad_request", "context_lengths", "at least one context length"),
        ({"context_lengths": ["long"]}, 422, "invalid", "context_lengths/0", "valid integer"),
        ({"colour": "red"}, 422, "invalid", "colour", "not permitted"),
        ({"budget": 7}, 422, "invalid", "budget", "less than or equal to 1"),
    ],
)
def test_a_wrong_request_says_what_is_wrong_where_and_stores_nothing(
    client, site, token, change, status, code, field, says
):
    answer = post(client, "/submissions", ASK | change, token())
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (status, code, field)
    assert says in error["message"]
    assert not Submission.objects.exists()


def test_a_body_that_is_no_json_is_refused(client, site, token):
    answer = client.post("/api/v1/submissions", "{oops", content_type="application/json", headers=token())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


@pytest.mark.parametrize(
    "header, says",
    [
        ({}, "Send a token"),
        ({"Authorization": "Bearer lb_wrong"}, "not known"),
        ({"Authorization": "Bearer lbn_node"}, "for people"),
    ],
)
def test_without_a_good_token_nothing_is_submitted(client, site, header, says):
    answer = post(client, "/submissions", ASK, header)
    assert answer.status_code == 401
    assert says in answer.json()["error"]["message"]
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_reading_token_cannot_submit(client, site, token):
    answer = post(client, "/submissions", ASK, token(scope="read"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")


def test_a_signed_in_browser_may_submit_only_with_its_csrf_token(site):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_user())
    refused = post(browser, "/submissions", ASK)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")
    assert "X-CSRFToken" in refused.json()["error"]["message"]
    assert not Submission.objects.exists()


def test_a_script_without_a_token_is_asked_for_one(site):
    answer = post(Client(enforce_csrf_checks=True), "/submissions", ASK)
    assert answer.status_code == 401
    assert "Send a token: Authorization: Bearer" in answer.json()["error"]["message"]


def test_cancel_and_rerun_are_for_the_author(client, token):
    author = make_user()
    run = make_run(make_submission(author))
    assert post(client, f"/runs/{run.pk}/cancel", {}, token()).status_code == 403
    assert post(client, f"/runs/{run.pk}/cancel", {}, token(author)).json()["state"] == "cancelled"
    assert post(client, f"/runs/{run.pk}/rerun", {}, token(author)).json()["state"] == "queued"
    assert post(client, f"/runs/{run.pk}/rerun", {}, token(author)).status_code == 409


def test_a_queued_run_knows_its_place(client):
    make_run(priority=1)
    behind = make_run()
    assert get(client, f"/runs/{behind.pk}").json()["queue_place"] == 2


def test_unknown_things_are_404_in_the_one_format(client):
    for path in ("/runs/00000000-0000-0000-0000-000000000000", "/submissions/00000000-0000-0000-0000-000000000000"):
        answer = get(client, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_measurements_come_in_pages_that_lose_and_repeat_nothing(client):
    run = make_accepted_run()
    ids = [make_measurement(run, depth=n / 10, metric="accuracy_by_depth").pk for n in range(7)]
    seen, cursor = [], ""
    while cursor is not None:
        page = get(client, "/measurements", limit=3, cursor=cursor).json()
        seen += [row["id"] for row in page["items"]]
        cursor = page["next"]
    assert seen == ids


def test_measurements_can_be_narrowed(client):
    run = make_accepted_run()
    make_measurement(run, "accuracy", 0.5)
    make_measurement(run, "accuracy_by_depth", 0.5, depth=0.0)
    rows = get(client, "/measurements", metric="accuracy", suite="niah", context_length=1024).json()["items"]
    assert [(r["metric"], r["value"], r["n"]) for r in rows] == [("accuracy", 0.5, 20)]
    assert get(client, "/measurements", metric="ttft_ms").json()["items"] == []


def test_numbers_and_runs_say_when_they_were_measured(client):
    run = make_accepted_run()
    make_measurement(run)
    Bundle.objects.filter(attempt__run=run).update(manifest={"started_at": "2026-11-20T09:00:00+01:00"})
    (row,) = get(client, "/measurements").json()["items"]
    assert datetime.fromisoformat(row["measured_at"]) == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert get(client, f"/runs/{run.pk}").json()["measured_at"] == row["measured_at"]
    assert get(client, f"/runs/{make_run().pk}").json()["measured_at"] is None


@pytest.mark.parametrize("cursor", ["x", "%00", "YWZ0ZXI6LTE=", "YWZ0ZXI6OTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
def test_a_forged_cursor_is_refused(client, cursor):
    assert get(client, "/measurements", cursor=cursor).status_code == 400


def test_samples_of_a_run_are_readable(client):
    run = make_accepted_run()
    for index in range(3):
        make_sample(run, index)
    page = get(client, f"/runs/{run.pk}/samples", limit=2).json()
    assert [s["index"] for s in page["items"]] == [0, 1]
    assert [s["index"] for s in get(client, f"/runs/{run.pk}/samples", cursor=page["next"]).json()["items"]] == [2]


def test_the_board_gives_both_numbers_and_the_front(client):
    make_board([("good", 1024, 0.9, 500.0), ("quick", 1024, 0.4, 50.0)])
    for cell in Cell.objects.filter(metric="accuracy"):
        make_front_entry(cell, on_front=True, probability=0.9)
    board = get(client, "/boards/niah", context_length=1024, hardware="local-cpu").json()
    assert [(r["model"], r["gain"], r["cost"], r["on_front"]) for r in board["rows"]] == [
        ("good", 0.9, 500.0, True), ("quick", 0.4, 50.0, True),
    ]  # fmt: skip
    assert get(client, "/boards/niah", context_length=512, hardware="local-cpu").json()["rows"] == []
    assert get(client, "/boards/nope", context_length=512, hardware="local-cpu").status_code == 404
    wrong = get(client, "/boards/niah", context_length=512, hardware="local-cpu", cost_metric="love")
    assert "There are: ttft_ms" in wrong.json()["error"]["message"]


def test_the_board_lists_dominated_systems_too_and_works_out_a_front_that_is_not_stored(client):
    make_board([("good", 1024, 0.9, 500.0), ("quick", 1024, 0.4, 50.0), ("poor", 1024, 0.1, 5_000.0)])
    board = get(client, "/boards/niah", context_length=1024, hardware="local-cpu").json()
    assert [(r["model"], r["on_front"]) for r in board["rows"]] == [("good", True), ("quick", True), ("poor", False)]
    assert board["rows"][2]["front_probability"] == 0.0


def test_a_hub_model_must_be_pinned(client, token):
    auth = token()
    loose = post(client, "/models", {"repository": "state-spaces/mamba-130m-hf", "revision": "main"}, auth)
    assert loose.status_code == 400
    assert "40-digit commit hash" in loose.json()["error"]["message"]
    pinned = {"repository": "state-spaces/mamba-130m-hf", "revision": "a" * 40}
    first, second = post(client, "/models", pinned, auth), post(client, "/models", pinned, auth)
    assert first.json() == second.json()
    assert first.json()["source"] == "hub"


def test_the_schema_is_openapi_3_1_and_the_docs_page_needs_nobody_else(client):
    assert client.get("/api/v1/openapi.json").json()["openapi"].startswith("3.1")
    page = client.get("/api/v1/docs").content.decode()
    assert "://" not in page.replace("http://www.w3.org", "")


def test_a_submission_is_stored_whole_with_its_hints_sent_after_commit(client, site, token, monkeypatch):
    sent = []
    monkeypatch.setattr("longboard.submissions.dispatch.send_hints", sent.extend)
    with TestCase.captureOnCommitCallbacks(execute=True):
        post(client, "/submissions", ASK, token())
    assert sorted(sent) == sorted((str(run.pk), "pool.local-cpu") for run in Run.objects.all())
    assert Run.objects.filter(hinted_at=None).count() == 0
