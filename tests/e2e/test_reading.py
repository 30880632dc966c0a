"""Comparing, exporting and looking back in Chromium: by mouse, by keyboard, with JavaScript off, and what hostile names do."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from tests import factories
from tests.e2e.test_browser import tables

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("javascript", [True, False])
def test_a_reader_ticks_two_systems_and_compares_them(open_page, site, javascript):
    page = open_page("/boards/niah/?length=1024", javascript=javascript)
    page.get_by_label("Compare Apple (float32)").check()
    page.get_by_label("Compare Birch (float32)").check()
    page.get_by_role("button", name="Compare the ticked systems").click()
    expect(page.get_by_role("heading", name="Compare 2 systems")).to_be_visible()
    expect(page.locator("#takeaway")).to_contain_text("surely more accurate")
    page.get_by_role("link", name="Where the second overtakes the first").click()
    expect(page.get_by_role("heading", name="Where one overtakes the other")).to_be_visible()
    expect(page.locator("table.dense")).to_contain_text("Accuracy")


def test_the_same_by_keyboard_alone(open_page, site):
    page = open_page("/boards/niah/?length=1024")
    for name in ("Apple", "Cedar"):
        page.get_by_label(f"Compare {name} (float32)").focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare the ticked systems").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Compare 2 systems")).to_be_visible()
    page.get_by_role("link", name="CSV").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert site["systems"]["cedar"].slug in download.value.path().read_text()


def test_a_reader_sets_the_threshold_and_takes_the_table_along(open_page, site):
    page = open_page("/boards/niah/?length=1024", javascript=False)
    page.get_by_role("link", name="Every length").click()
    page.get_by_label("Threshold").fill("0.5")
    page.get_by_role("button", name="Show").click()
    assert "threshold=0.5" in page.url
    expect(page.locator("#takeaway")).to_contain_text("0.5")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    assert '"threshold": 0.5' in download.value.path().read_text()


def test_a_cited_view_is_one_click_from_the_board_and_shows_the_same_table(open_page, site):
    page = open_page("/boards/niah/?length=4096&cost=peak_memory_bytes")
    before = tables(page)[0]
    page.get_by_role("link", name="Cite, embed").click()
    cited = urlsplit(str(page.locator("main a[href*='as_of=']").first.get_attribute("href")))
    page.goto(f"{cited.path}?{cited.query}")  # it names the site's own address, which in a test is another one
    expect(page.locator("#takeaway")).to_contain_text("At 4K tokens")
    assert tables(page)[0] == before


def test_nothing_that_a_person_wrote_runs_in_the_browser(open_page, site):
    hostile = (
        "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\"'><svg onload=alert(1)>"
    )
    factories.Model.objects.filter(slug="apple").update(title=hostile, summary=hostile, family='"><script>1</script>')
    apple, birch = site["systems"]["apple"].slug, site["systems"]["birch"].slug
    page = open_page("/")
    for path in (
        "/",
        "/boards/niah/",
        "/boards/niah/lengths/",
        f"/compare/?system={apple}&system={birch}",
        f"/systems/{apple}/",
        "/models/apple/",
        "/embed/niah/",
        "/boards/niah/cite/",
        f"/boards/niah/?search={hostile[:70]}",
    ):
        page.goto(path)
        assert page.title() != "owned", path
        assert page.locator("main img[src='x'], main script").count() == 0, path
