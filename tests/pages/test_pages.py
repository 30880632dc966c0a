"""Every other page: who may see it, what it says, and what it must never do."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone
from tests import factories
from tests.pages.reading import parsed, text

from longboard.submissions.models import Run, Submission

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    """An accepted run with numbers and samples, on a board."""
    factories.make_board([("apple", 1024, 0.9, 100.0)])
    system = factories.System.objects.get(model__slug="apple")
    run = factories.make_accepted_run(system, factories.make_user("ada"))
    factories.make_measurement(run, "accuracy", 0.9)
    for depth in (0.0, 0.5, 1.0):
        factories.make_measurement(run, "accuracy_by_depth", 0.75, depth=depth, n=4)
    for index in range(60):
        factories.make_sample(run, index, score=float(index % 7 != 0), answer="1234567" if index % 7 else "the whale")
    return run


def public_pages(run: Run) -> list[str]:
    return [
        "/", "/boards/niah/", "/models/", "/models/apple/", "/suites/", "/suites/niah/", "/suites/niah@1/",
        "/suites/efficiency/", "/hardware/", "/hardware/local-cpu/", "/nodes/", f"/submissions/{run.submission_id}/",
        f"/runs/{run.pk}/", "/no-such-page", "/models/no-such-model/",
    ]  # fmt: skip


PRIVATE = ["/submit/", "/accounts/", "/accounts/tokens/", "/models/register/"]


# --- All pages -------------------------------------------------------------------------------------------------------


def test_public_pages_set_no_cookie_and_run_no_script_of_their_own(client, run):
    for path in public_pages(run):
        response = client.get(path)
        assert response.status_code == (404 if "no-such" in path else 200), path
        assert not response.cookies, path
        page = parsed(response)
        assert not page.xpath("//script[not(@src)]"), path
        assert not page.xpath("//*[@onclick or @onchange or @onsubmit or @onload]"), path
        assert not [url for url in page.xpath("//@src | //link/@href") if url.startswith(("http", "//"))], path
        assert "script-src 'self'" in response["Content-Security-Policy"]
        assert "unsafe-eval" not in response["Content-Security-Policy"]


def test_every_page_has_one_title_one_main_heading_a_skip_link_and_its_language(client, run):
    client.force_login(factories.make_user())
    for path in [*public_pages(run), *PRIVATE]:
        page = parsed(client.get(path))
        assert len(page.xpath("//h1")) == 1, path
        assert page.xpath("//a[@class='skip']/@href") == ["#main"], path
        assert page.get("lang") == "en"
        assert page.xpath("//title")[0].text.endswith("Longboard") or path == "/", path
        ids = page.xpath("//@id")
        assert len(ids) == len(set(ids)), path


def test_every_link_on_a_public_page_leads_somewhere(client, run):
    seen = set()
    for path in public_pages(run):
        seen |= {
            url.partition("#")[0] for url in parsed(client.get(path)).xpath("//main//a/@href") if url.startswith("/")
        }
    broken = {url: status for url in seen if url and (status := client.get(url).status_code) not in (200, 302)}
    assert not broken


def test_private_pages_ask_strangers_to_sign_in_and_bring_them_back(client):
    for path in PRIVATE:
        assert client.get(path)["Location"] == f"/accounts/sign-in/?next={path}"


def test_the_health_check_speaks_for_the_database(client):
    response = client.get("/healthz")
    assert json.loads(response.content) == {"status": "ok", "database": "ok"}
    assert response["Cache-Control"] == "no-store"


def test_a_missing_page_says_what_is_missing(client):
    assert 'There is no model "zebra"' in text(parsed(client.get("/models/zebra/")))
    assert "Nothing lives at this address" in text(parsed(client.get("/zebra")))


def test_a_forged_form_is_refused_with_a_page_that_explains(run):
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    strict.force_login(run.submission.author)
    response = strict.post("/submit/", {"model": "apple"})
    assert response.status_code == 403
    assert "gone stale" in text(parsed(response))


def test_a_crash_shows_a_page_and_no_detail(client, monkeypatch):
    def crash(*_args):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("longboard.registry.views.suite_lines", crash)
    client.raise_request_exception = False
    response = client.get("/suites/")
    assert response.status_code == 500
    assert b"Something broke on our side" in response.content
    assert b"secret detail" not in response.content


def test_a_suites_page_names_each_task_once_beside_all_its_metrics(client):
    factories.make_suite("lra")
    page = parsed(client.get("/suites/lra/"))
    names = [text(head) for head in page.xpath("//section[@aria-labelledby='tasks']//th[@scope='rowgroup']")]
    assert len(names) == len(set(names)) > 5
    assert "1K tokens" in text(page)


def test_pages_exist_on_a_site_without_any_rows(client):
    for path in ("/", "/boards/", "/models/", "/suites/", "/hardware/", "/nodes/"):
        assert client.get(path, follow=True).status_code == 200, path


# --- Home and models -------------------------------------------------------------------------------------------------


def test_home_answers_the_question_at_a_length_that_the_reader_steps(client):
    factories.make_board([("apple", 1024, 0.9, 100.0), ("birch", 1024, 0.5, 10.0), ("apple", 4096, 0.4, 900.0)])
    home = client.get("/")
    assert "At 1K tokens on CPU, 2 cores, Apple is most accurate" in text(parsed(home))
    stepped = client.get("/?length=4096", headers={"HX-Request": "true"})
    assert "At 4K tokens" in stepped.content.decode()
    assert b"<html" not in stepped.content


def test_a_model_page_shows_facts_numbers_by_length_efficiency_and_runs(client, run):
    said = text(parsed(client.get("/models/apple/")))
    for part in ("LlamaForCausalLM", "32,768", "0.90", "(0.70–0.97)", "100 ms", "± 4", "niah@1 at 1K", "accepted"):
        assert part in said, part


def test_a_model_page_shows_one_task_at_a_time_where_most_was_measured(client, run):
    elsewhere = factories.make_pool("aa-first", hardware=factories.make_hardware("aa-first", title="Another"))
    few = factories.make_accepted_run(run.system, run.submission.author, pool=elsewhere)
    factories.make_cell(few, "accuracy", 0.11)
    for length, value in ((1024, 0.21), (4096, 0.22)):
        other = factories.make_accepted_run(
            run.system, run.submission.author, context_length=length, tasks=["niah_multikey_1"]
        )
        factories.make_cell(other, "accuracy", value)
    page = parsed(client.get("/models/apple/"))
    numbers = [text(cell) for cell in page.xpath("//table[contains(@class, 'matrix')]//td//b")]
    assert numbers == ["0.90"]  # that of the task, not whichever came last
    assert "Single needle in prose" in text(page.xpath("//p[@class='summary']")[0])
    assert "at 1K tokens, the longest measured" in text(page.xpath("//h2[@class='takeaway']")[0])
    asked = parsed(client.get("/models/apple/?task=niah_multikey_1"))
    assert [text(cell) for cell in asked.xpath("//table[contains(@class, 'matrix')]//td//b")] == ["0.21", "0.22"]


def test_the_heat_map_leads_from_a_cell_to_a_sample_in_two_clicks(client, run):
    cell = parsed(client.get("/models/apple/")).xpath("//table[contains(@class, 'heat')]//td/a")[1]
    assert text(cell) == "0.75 (0.30–0.95) n=4"
    samples = parsed(client.get(cell.get("href").partition("#")[0])).xpath("//ol[@class='samples']/li//summary")
    assert samples
    assert all("depth 50 %" in text(s) for s in samples)


# --- Runs and submissions --------------------------------------------------------------------------------------------


def test_a_run_page_has_numbers_samples_manifest_and_digest(client, run):
    run_bundle = factories.Bundle.objects.get(attempt__run=run)
    run_bundle.manifest = {"architecture": "LlamaForCausalLM", "hardware": {"cores": 2}}
    run_bundle.save()
    page = parsed(client.get(f"/runs/{run.pk}/"))
    for part in ("accepted", "0.90", "(0.70–0.97)", run_bundle.digest, "hardware.cores", "1234567"):
        assert part in text(page), part


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


# --- Submitting ------------------------------------------------------------------------------------------------------

FORM = {"model": "apple", "method": "none", "budget": "1", "dtype": "float32", "seed": "0", "idempotency_key": "k1"}


@pytest.fixture
def ada(client):
    factories.make_suite()
    factories.make_model("apple", max_positions=8192)
    factories.make_pool()
    user = factories.make_user("ada")
    client.force_login(user)
    return user


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


# --- Accounts --------------------------------------------------------------------------------------------------------


def test_a_person_signs_up_out_and_in_again(client):
    data = {"username": "grace", "password1": factories.PASSWORD, "password2": factories.PASSWORD}
    assert client.post("/accounts/sign-up/", data)["Location"] == "/accounts/"
    assert "grace" in text(parsed(client.get("/accounts/")))
    assert client.get("/accounts/sign-out/").status_code == 405, "a link must not sign anybody out"
    client.post("/accounts/sign-out/")
    assert client.get("/accounts/").status_code == 302
    wrong = client.post("/accounts/sign-in/", {"username": "grace", "password": "nope"})
    assert "do not belong together" in text(parsed(wrong))
    right = client.post("/accounts/sign-in/", {"username": "grace", "password": factories.PASSWORD, "next": "/submit/"})
    assert right["Location"] == "/submit/"
    assert client.post("/accounts/sign-in/", {"next": "https://evil.example/"}).status_code in (200, 302)


def test_signing_in_never_leads_off_the_site(client):
    user = factories.make_user(password=factories.PASSWORD)
    data = {"username": user.username, "password": factories.PASSWORD, "next": "https://evil.example/"}
    assert client.post("/accounts/sign-in/", data)["Location"] == "/"


def test_a_weak_password_is_refused_beside_its_field(client):
    response = client.post("/accounts/sign-up/", {"username": "grace", "password1": "12345", "password2": "12345"})
    assert response.status_code == 422
    assert "too short" in text(parsed(response))


def test_a_token_is_shown_once_and_can_be_revoked(client, ada):
    made = client.post("/accounts/tokens/", {"name": "laptop", "scope": "submit", "days": "30"})
    (secret,) = parsed(made).xpath("//pre/text()")
    assert re.fullmatch(r"lb_[\w-]{40,}", secret)
    assert "no-store" in made["Cache-Control"]
    later = client.get("/accounts/tokens/")
    assert secret.encode() not in later.content
    assert "laptop" in text(parsed(later))
    token = ada.api_tokens.get()
    client.post(f"/accounts/tokens/{token.pk}/revoke/")
    assert "revoked" in text(parsed(client.get("/accounts/tokens/")))


def test_nobody_revokes_anothers_token(client, ada):
    client.post("/accounts/tokens/", {"name": "laptop", "scope": "submit", "days": "30"})
    token = ada.api_tokens.get()
    client.force_login(factories.make_user())
    assert client.post(f"/accounts/tokens/{token.pk}/revoke/").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


def test_bad_token_settings_are_refused_beside_the_field(client, ada):
    response = client.post("/accounts/tokens/", {"name": "x", "scope": "submit", "days": "9999"})
    assert response.status_code == 422
    assert "366" in text(parsed(response).xpath("//ul[@class='errorlist']")[0])


def test_the_profile_lists_my_submissions_and_nobody_elses(client, ada):
    mine, other = factories.make_submission(ada, note="mine"), factories.make_submission(note="other")
    factories.make_run(mine)
    factories.make_run(other)
    said = text(parsed(client.get("/accounts/")))
    assert "mine" in said
    assert "queued" in said
    assert "other" not in said


# --- Nodes and the admin ---------------------------------------------------------------------------------------------


def test_hardware_pages_tell_living_nodes_from_silent_ones(client):
    factories.make_node(name="alive", last_seen_at=timezone.now())
    factories.make_node(name="gone", last_seen_at=timezone.now() - timedelta(days=2))
    page = parsed(client.get("/hardware/local-cpu/"))
    states = {
        text(row.xpath("./th")[0]): text(row.xpath("./td")[0]) for row in page.xpath("//tbody/tr") if row.xpath("./th")
    }
    assert states == {"alive": "alive", "gone": "silent"}


def test_a_pools_owner_makes_a_code_that_is_shown_once_with_the_commands(client):
    owner = factories.make_user()
    factories.make_pool(owner=owner)
    assert "Make an enrolment code" not in text(parsed(client.get("/nodes/")))
    client.force_login(owner)
    response = client.post("/pools/local-cpu/enrol/")
    (commands,) = parsed(response).xpath("//section[@class='secret']//pre/text()")
    assert re.search(r"longboard-worker enrol --site http\S+ --code lbe_\S+", commands)
    assert "no-store" in response["Cache-Control"]
    assert "lbe_" not in client.get("/nodes/").content.decode()


def test_nobody_else_makes_codes_for_a_pool(client):
    factories.make_pool()
    client.force_login(factories.make_user())
    response = client.post("/pools/local-cpu/enrol/", follow=True)
    assert "Only the owner of pool" in text(parsed(response))
    assert client.post("/pools/none/enrol/").status_code == 404


def test_the_admin_lists_and_opens_every_table(admin_client, run):
    from django.contrib import admin

    factories.make_front_entry(factories.make_cell(run, task="other"), on_front=True, probability=1.0)
    client, hidden = admin_client, ("token_digest", "payload_gz")
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert client.get(base).status_code == 200, base
        if (row := model._default_manager.first()) is not None:
            page = client.get(f"{base}{row.pk}/change/")
            assert page.status_code == 200, base
            assert not any(name in page.content.decode() for name in hidden), base
        if model._meta.app_label in ("results", "submissions", "boards"):
            assert client.get(f"{base}add/").status_code == 403, base
    registered = {model.__name__ for model in admin.site._registry}
    assert registered >= {"User", "ApiToken", "Model", "Method", "System", "Suite", "Hardware", "Pool", "Node", "Run"}
    assert registered >= {
        "EnrolmentCode",
        "Submission",
        "Attempt",
        "Bundle",
        "Measurement",
        "Sample",
        "Cell",
        "FrontEntry",
    }
