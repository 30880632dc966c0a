"""Runs and submissions: what their pages say, while they run and after, and who may steer them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from tests import factories
from tests.pages.reading import parsed, text

from longboard.submissions.models import Run

pytestmark = pytest.mark.django_db


def test_a_run_page_has_numbers_samples_manifest_and_digest(client, run):
    run_bundle = factories.Bundle.objects.get(attempt__run=run)
    run_bundle.manifest = {"architecture": "LlamaForCausalLM", "hardware": {"cores": 2}}
    run_bundle.save()
    page = parsed(client.get(f"/runs/{run.pk}/"))
    for part in ("accepted", "0.90", "(0.70–0.97)", run_bundle.digest, "hardware.cores", "1234567"):
        assert part in text(page), part


def test_a_training_that_states_no_rate_says_why_beside_its_numbers(client, run):
    run_bundle = factories.Bundle.objects.get(attempt__run=run)
    run_bundle.manifest = {"settings": {"rates": "left out: the machine had other work"}}
    run_bundle.save()
    numbers = parsed(client.get(f"/runs/{run.pk}/")).xpath("//section[@aria-labelledby='measurements']")[0]
    assert "Training and inference rates: left out: the machine had other work." in text(numbers)


def test_samples_come_in_pages_that_together_are_the_whole(client, run):
    seen, url = [], f"/runs/{run.pk}/"
    while url:
        page = parsed(client.get(url.partition("#")[0]))
        seen += [text(s).split(",")[0].split()[-1] for s in page.xpath("//ol[@class='samples']/li//summary")]
        url = next(iter(page.xpath("//nav[@aria-label='Pages of samples']/a[@rel='next']/@href")), "")
    assert [int(index) for index in seen] == list(range(60))


def test_only_the_wrong_answers_can_be_listed(client, run):
    answers = [text(a) for a in parsed(client.get(f"/runs/{run.pk}/?only=wrong")).xpath("//span[@class='answer']")]
    assert len(answers) == 9
    assert set(answers) == {"the whale"}


@pytest.mark.parametrize("query", ["after=x", "after=single:999999999999", "depth=nan", "only=<b>", "after=%00:1"])
def test_no_query_breaks_a_run_page(client, run, query):
    assert client.get(f"/runs/{run.pk}/?{query}").status_code == 200


def test_the_bundle_downloads_byte_for_byte(client, run):
    response = client.get(f"/runs/{run.pk}/bundle.json")
    assert response.content == b"{}"
    assert "attachment" in response["Content-Disposition"]


def test_a_running_run_polls_and_without_javascript_reloads(client):
    submission = factories.make_submission()
    run = factories.make_run(
        submission, state="running", done=7, total=20, tokens=28_672, eta_s=74, started_at=timezone.now()
    )
    factories.make_attempt(run, log_tail="sample 7 of 20")
    page = client.get(f"/runs/{run.pk}/")
    assert parsed(page).xpath("//div[@id='run']/@hx-trigger") == ["every 2s"]
    assert b'<noscript><meta http-equiv="refresh"' in page.content
    poll = client.get(f"/runs/{run.pk}/", headers={"HX-Request": "true"})
    said = text(parsed(poll))
    for part in ("running", "7 of 20", "28.7K tokens", "about 1 min 14 s left", "sample 7 of 20"):
        assert part in said, part
    assert "HX-Refresh" not in poll
    assert "no-cache" in poll["Cache-Control"]


def test_the_last_poll_loads_the_whole_page_and_a_finished_page_polls_no_more(client, run):
    poll = client.get(f"/runs/{run.pk}/", headers={"HX-Request": "true"})
    assert poll["HX-Refresh"] == "true"
    assert b"every 2s" not in client.get(f"/runs/{run.pk}/").content
    other = client.get(f"/submissions/{run.submission_id}/", headers={"HX-Request": "true"})
    assert other["HX-Refresh"] == "true"


def test_a_queued_run_knows_its_place(client):
    submission = factories.make_submission()
    runs = [factories.make_run(submission, queued_at=factories.NOW + timedelta(seconds=k)) for k in range(3)]
    factories.make_run(submission, priority=5, queued_at=factories.NOW + timedelta(hours=1))
    assert "Place 4 in its pool" in text(parsed(client.get(f"/runs/{runs[2].pk}/")))


def test_a_failed_run_says_what_happened_and_who_can_act(client):
    message = "Prefill needs 86.7 GiB at context 524288; this node has 80.0. Try budget 0.5."
    run = factories.make_run(state="failed", failure_class="oom", failure_message=message)
    factories.make_attempt(
        run, closed_as="failed", closed_at=factories.NOW, failure_message=message, log_tail="last words"
    )
    said = text(parsed(client.get(f"/runs/{run.pk}/")))
    for part in ("Out of memory.", message, "Who can act: its author.", "last words", "Attempts"):
        assert part in said, part


@pytest.mark.parametrize(
    ("who", "buttons"),
    [("stranger", []), ("author", ["Cancel this run"]), ("staff", ["Cancel this run"]), ("other", [])],
)
def test_only_its_author_and_staff_are_offered_to_stop_a_run(client, who, buttons):
    author = factories.make_user("author")
    run = factories.make_run(factories.make_submission(author))
    users = {
        "author": author,
        "staff": factories.make_user("staff", is_staff=True),
        "other": factories.make_user("other"),
    }
    if who in users:
        client.force_login(users[who])
    assert [text(b) for b in parsed(client.get(f"/runs/{run.pk}/")).xpath("//main//button")] == buttons


def test_an_author_cancels_a_run_and_queues_it_again(client):
    author = factories.make_user()
    run = factories.make_run(factories.make_submission(author))
    client.force_login(author)
    client.post(f"/runs/{run.pk}/cancel/")
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED
    assert "Run it again" in text(parsed(client.get(f"/runs/{run.pk}/")))
    client.post(f"/runs/{run.pk}/rerun/")
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED


def test_somebody_else_cannot_cancel_a_run_and_is_told_why(client):
    run = factories.make_run()
    client.force_login(factories.make_user())
    for path in (f"/runs/{run.pk}/cancel/", f"/submissions/{run.submission_id}/cancel/"):
        response = client.post(path, follow=True)
        assert "Only the author of a submission" in text(parsed(response))
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED
    assert client.get(f"/runs/{run.pk}/cancel/").status_code == 405
