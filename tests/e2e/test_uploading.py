"""Uploading a model and reporting results in Chromium: by the page's script, after a broken line, with JavaScript off."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests import factories
from tests.checkpoints.checkpoint_files import GOOD
from tests.e2e.test_browser import sign_in

from longboard.checkpoints.models import Checkpoint, CheckpointFile
from longboard.registry.models import Model
from longboard.reports.models import Report

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FILES = [{"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in GOOD.items()]
LINES = "niah,single,accuracy,4096,0.84,0.76,0.90,100\nefficiency,generate,ttft_ms,4096,212,208,217,5"


@pytest.fixture
def grace(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return factories.make_user("grace", password=factories.PASSWORD)


def test_the_page_sends_pieces_and_goes_on_after_the_line_was_dead(open_page, site, grace, monkeypatch):
    monkeypatch.setattr("longboard.checkpoints.services.MAX_CHUNK_BYTES", 100)  # pieces of 50 bytes
    page = open_page("/models/upload/")
    sign_in(page, "grace")
    page.goto("/models/upload/")
    sent = []

    def cut(route):
        sent.append(route.request.url)
        if len(sent) > 3:
            return route.fulfill(
                status=400, json={"error": {"code": "x", "message": "The line went dead.", "field": ""}}
            )
        return route.continue_()

    page.route("**/files/**", cut)
    page.get_by_label("Title").fill("Mine")
    page.get_by_label("Files").set_input_files(FILES)
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".progress-line")).to_contain_text("The line went dead.")
    received = sum(f.received for f in CheckpointFile.objects.all())
    assert 100 <= received <= 150
    page.unroute("**/files/**")
    again = []
    page.on("request", lambda request: again.append(request.post_data_buffer) if request.method == "PUT" else None)
    page.reload()
    expect(page.locator("main")).to_contain_text("Choose the same files again to go on")
    page.get_by_label("Title").fill("Mine")
    page.get_by_label("Files").set_input_files(FILES)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="Mine")).to_be_visible()
    assert sum(map(len, again)) == sum(map(len, GOOD.values())) - received, "only what was missing"
    assert Checkpoint.objects.get().model == Model.objects.get(source="upload")


def test_a_refusal_of_the_files_is_told_on_the_page(open_page, site, grace):
    page = open_page("/models/upload/")
    sign_in(page, "grace")
    page.goto("/models/upload/")
    page.get_by_label("Title").fill("Mine")
    page.get_by_label("Files").set_input_files(
        [*FILES, {"name": "run.py", "mimeType": "text/x-python", "buffer": b"x"}]
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".progress-line")).to_contain_text("is not taken")


def test_with_javascript_off_one_form_uploads_and_another_reports(open_page, site, grace):
    page = open_page("/", javascript=False)
    sign_in(page, "grace")
    page.goto("/models/upload/")
    page.get_by_label("Title").fill("Plain")
    page.get_by_label("Files").set_input_files(FILES)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="Plain")).to_be_visible()
    Model.objects.filter(source="upload").update(max_positions=8192)
    page.goto("/reports/new/")
    page.get_by_label("Hardware").fill("local-cpu")
    page.get_by_label("Source").fill("https://example.org/paper")
    page.get_by_label("Numbers").fill(LINES)
    page.get_by_role("button", name="Report").click()
    expect(page.locator("table.reported")).to_contain_text("0.84")
    page.goto("/boards/niah/?length=4096&trust=self-reported")
    expect(page.locator("table.board")).to_contain_text("self-reported")
    page.goto(f"/reports/{Report.objects.get().pk}/")
    page.get_by_label("Why").fill("A bug.")
    page.get_by_role("button", name="Withdraw this report").click()
    expect(page.locator("main")).to_contain_text("Withdrawn on")
    page.goto("/boards/niah/?length=4096&trust=self-reported")
    expect(page.locator("table.board")).not_to_contain_text("self-reported")
