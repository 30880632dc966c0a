"""The journeys of a reader and of a submitter, in Chromium: by mouse, by keyboard, and with JavaScript off."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from tests import factories

from longboard.submissions.models import Run, Submission

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def tables(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in page.locator("main table").all_inner_texts()]


def sign_in(page: Page, username: str) -> None:
    page.goto("/accounts/sign-in/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.locator("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_a_newcomer_signs_up_makes_a_token_and_submits(open_page, site):
    page = open_page("/accounts/sign-up/")
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password", exact=True).fill(factories.PASSWORD)
    page.get_by_label("Password confirmation").fill(factories.PASSWORD)
    page.locator("main").get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", name="grace")).to_be_visible()

    page.get_by_role("link", name="API tokens").click()
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".secret pre")).to_contain_text("lb_")

    page.locator("header").get_by_role("link", name="Submit").click()
    page.get_by_label("Model").select_option("birch")
    page.get_by_label("32K").check()
    page.get_by_label("4K", exact=True).uncheck()
    page.get_by_label("Note").fill("from the browser")
    page.locator("main").get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="Submission of Birch (float32)")).to_be_visible()
    expect(page.locator("table.runs")).to_contain_text("niah@1 at 32K")
    assert Submission.objects.get(note="from the browser").runs.count() == 4


def test_a_refused_submission_keeps_what_was_typed(open_page, site):
    factories.make_user("grace", password=factories.PASSWORD)
    page = open_page("/")
    sign_in(page, "grace")
    page.goto("/submit/?model=apple")
    page.get_by_label("1M").check()
    page.get_by_label("Note").fill("too long a context")
    page.locator("main").get_by_role("button", name="Submit").click()
    expect(page.locator(".f-context_lengths .errorlist")).to_contain_text("32768")
    expect(page.get_by_label("Note")).to_have_value("too long a context")


def test_a_reader_steps_the_length_by_mouse_without_a_page_load(open_page, site):
    page = open_page("/boards/niah/?length=1024")
    expect(page.locator("#takeaway")).to_contain_text("At 1K tokens")
    page.evaluate("window.untouched = true")
    page.locator("#step-longer").click()
    expect(page.locator("#takeaway")).to_contain_text("At 4K tokens")
    assert "length=4096" in page.url
    assert page.evaluate("window.untouched"), "only the region was swapped"
    assert page.title().startswith("At 4K tokens")
    expect(page.locator("#c-length")).to_have_value("4096")
    page.go_back()
    expect(page.locator("#takeaway")).to_contain_text("At 1K tokens")
    page.get_by_label("Cost").select_option("peak_memory_bytes")
    expect(page.locator("#takeaway")).to_contain_text("memory")
    assert "cost=peak_memory_bytes" in page.url
    before = tables(page)
    page.reload()
    assert tables(page) == before, "the address is the view"


def test_a_reader_steps_the_length_by_keyboard_and_keeps_the_focus(open_page, site):
    page = open_page("/boards/niah/?length=1024")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.locator("#step-longer").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#takeaway")).to_contain_text("At 4K tokens")
    expect(page.locator("#step-longer")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#takeaway")).to_contain_text("At 16K tokens")


def test_arrow_keys_walk_along_the_chart_and_enter_opens_the_model(open_page, site):
    page = open_page("/boards/niah/?length=1024")
    points = page.locator("svg.wide a.point")
    points.first.focus()
    seen = set()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        seen.add(page.evaluate("document.activeElement.getAttribute('href')"))
    assert seen == {"/models/apple/", "/models/birch/", "/models/cedar/"}
    target = page.evaluate("document.activeElement.getAttribute('href')")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{target}")


def test_a_reader_drills_from_the_board_to_a_sample(open_page, site):
    page = open_page("/boards/niah/?length=4096")
    page.locator("table.board").get_by_role("link", name="Apple").click()
    page.locator("table.heat td a").first.click()
    expect(page.get_by_role("heading", name="Samples at depth 0 %")).to_be_visible()
    page.locator(".samples summary").first.click()
    expect(page.locator(".samples li").first).to_contain_text("special magic number for Oslo")


def test_explore_loads_plotly_from_this_site_with_the_same_points(open_page, site):
    page = open_page("/boards/niah/?length=1024")
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.get_by_role("link", name="Explore").click()
    expect(page.locator("#explore .plot-container")).to_be_visible(timeout=20_000)
    assert len(hosts) == 1
    assert page.evaluate("document.getElementById('explore').data.length") == 4


def test_a_run_page_follows_its_run_until_the_result_is_there(open_page, site):
    run = factories.make_run(factories.make_submission(), state="running", done=3, total=20)
    factories.make_attempt(run)
    page = open_page(f"/runs/{run.pk}/")
    expect(page.locator("#run")).to_contain_text("3 of 20")
    Run.objects.filter(pk=run.pk).update(done=15)
    expect(page.locator("#run")).to_contain_text("15 of 20", timeout=6_000)
    Run.objects.filter(pk=run.pk).update(state="failed", failure_class="oom", failure_message="It needs more memory.")
    expect(page.locator("#run")).to_contain_text("It needs more memory.", timeout=6_000)
    expect(page.locator("#run[hx-trigger]")).to_have_count(0)


def test_without_javascript_the_same_tables_are_there_and_every_control_works(open_page, site):
    longest = "/boards/niah/?length=16384"
    plain, scripted = open_page(longest, javascript=False), open_page(longest)
    assert tables(plain) == tables(scripted)
    plain.get_by_label("Cost").select_option("decode_tokens_per_s")
    plain.get_by_role("button", name="Show").click()
    scripted.get_by_label("Cost").select_option("decode_tokens_per_s")
    expect(scripted.locator("#takeaway")).to_contain_text("decodes")
    assert tables(plain) == tables(scripted)
    for page in (plain, scripted):
        page.locator("#step-shorter").click()
        expect(page.locator("#takeaway")).to_contain_text("At 4K tokens")
    assert tables(plain) == tables(scripted)


@pytest.mark.parametrize("width", [320, 768, 1920])
def test_no_page_scrolls_sideways(open_page, site, width):
    page = open_page("/", width=width)
    for path in (
        "/",
        "/boards/niah/",
        "/models/",
        "/models/apple/",
        "/nodes/",
        f"/runs/{site['run'].pk}/",
        "/accounts/sign-in/",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_text_in_the_charts_is_at_least_12_pixels(open_page, site):
    for width in (320, 600, 864, 900, 1280, 1920):
        page = open_page("/boards/niah/", width=width)
        sizes = page.evaluate(
            """[...document.querySelectorAll('svg.chart')].filter(svg => svg.getBoundingClientRect().width).map(svg =>
               [...svg.querySelectorAll('text')].map(t => parseFloat(getComputedStyle(t).fontSize))
                 .reduce((a, b) => Math.min(a, b)) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"""
        )
        assert len(sizes) == 1, f"one chart is shown at {width}"
        assert sizes[0] >= 11.9, f"{sizes[0]:.1f} px at {width}"
        page.close()
