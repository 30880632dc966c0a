"""Every other page: who may see it, what it says, and what it must never do."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone
from tests import factories
from tests.pages.reading import parsed, text

from longboard.submissions.models import Run

pytestmark = pytest.mark.django_db


def public_pages(run: Run) -> list[str]:
    return [
        "/", "/boards/niah/", "/models/", "/models/apple/", "/suites/", "/suites/niah/", "/suites/niah@1/",
        "/suites/efficiency/", "/hardware/", "/hardware/local-cpu/", "/nodes/", f"/submissions/{run.submission_id}/",
        f"/runs/{run.pk}/", "/no-such-page", "/models/no-such-model/",
    ]  # fmt: skip


PRIVATE = ["/submit/", "/accounts/", "/accounts/tokens/", "/models/register/"]


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


def test_a_model_whose_speed_alone_was_measured_does_not_read_as_unmeasured(client):
    run = factories.make_accepted_run(suite=factories.make_suite("efficiency"))
    factories.make_cell(run, "ttft_ms", 20.0)
    page = text(parsed(client.get(f"/models/{run.system.model.slug}/")))
    assert "Efficiency by context length" in page
    assert "has been measured" not in page
    (row,) = parsed(client.get(f"/models/{run.system.model.slug}/")).xpath(
        "//section[@aria-labelledby='efficiency-title']//tbody/tr"
    )
    assert text(row.xpath("./th")[0]) == "float32", "the model's title is the page's"


def test_a_hardware_leads_to_what_whole_models_take_on_it(client):
    factories.make_hardware(
        "nvidia-h200", title="NVIDIA H200", bandwidth_bytes_per_s=4_800_000_000_000, peak_flops=989 * 10**12
    )
    page = parsed(client.get("/hardware/nvidia-h200/"))
    assert "4.8 TB/s" in text(page)
    assert "989 TFLOP/s" in text(page)
    (link,) = page.xpath("//a[starts-with(@href, '/efficiency/h200')]")
    assert "Time to first token" in text(parsed(client.get(link.get("href"))))


def test_hardware_pages_tell_living_nodes_from_silent_ones(client):
    factories.make_node(name="alive", last_seen_at=timezone.now())
    factories.make_node(name="gone", last_seen_at=timezone.now() - timedelta(days=2))
    page = parsed(client.get("/hardware/local-cpu/"))
    states = {
        text(row.xpath("./th")[0]): text(row.xpath("./td")[0]) for row in page.xpath("//tbody/tr") if row.xpath("./th")
    }
    assert states == {"alive": "alive", "gone": "silent"}


def test_a_hardwares_boards_count_a_system_once_however_many_tasks_it_has(client):
    run = factories.make_run()
    for task in ("single", "multi_key"):
        factories.make_cell(run, task=task)
    factories.make_cell(factories.make_run(), task="single")
    rows = parsed(client.get(f"/hardware/{run.pool.hardware.slug}/")).xpath(
        "//section[@aria-labelledby='boards']//tbody/tr"
    )
    assert [text(row.xpath("./td")[-1]) for row in rows] == ["2"]


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
