"""A real browser on Django's live server. Where there is no Chromium these tests are skipped, and say so."""

from __future__ import annotations

import os
import shutil

import pytest
from django.core.cache import cache
from tests import factories

from longboard.boards.ranking import rebuild_fronts

CHROMIUM = os.environ.get("LONGBOARD_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no chromium here: install it, or name it in LONGBOARD_CHROMIUM")
    # Playwright's sync API runs a loop in this thread, and Django would refuse the database because of it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def is_lost(answer) -> bool:
    """A stylesheet, script or picture that is not there: the page would be another one."""
    return "/static/" in answer.url and answer.status >= 400


@pytest.fixture
def open_page(chromium, live_server):
    """Opens pages of the site: `open_page("/path", width=360, theme="dark", javascript=False)`."""
    contexts, complaints = [], []

    def open_(path: str, *, width: int = 1280, theme: str = "light", javascript: bool = True, context=None):
        if context is None:
            context = chromium.new_context(
                base_url=live_server.url,
                viewport={"width": width, "height": 900},
                color_scheme="dark" if theme == "dark" else "light",
                contrast="more" if theme == "contrast" else "no-preference",
                java_script_enabled=javascript,
                reduced_motion="reduce",
            )
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8_000)
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "response", lambda answer: complaints.append(f"{answer.status} {answer.url}") if is_lost(answer) else None
        )
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not [line for line in complaints if "status of 4" not in line], "the browser complained"


@pytest.fixture
def site(transactional_db):
    """Three models at three lengths with samples, one failure, and a pool to submit to."""
    cache.clear()
    shares = {"apple": (0.95, 0.5, 0.1), "birch": (0.55, 0.5, 0.45), "cedar": (0.4, 0.35, 0.2)}
    times = {"apple": (100, 400, 1600), "birch": (60, 120, 240), "cedar": (150, 500, 2000)}
    lengths = (1024, 4096, 16384)
    systems = factories.make_board(
        [(slug, n, shares[slug][i], times[slug][i]) for slug in shares for i, n in enumerate(lengths)]
    )
    pool = factories.make_pool()
    for length in lengths:
        rebuild_fronts(hardware=pool.hardware, context_length=length, now=factories.NOW)
    run = factories.make_accepted_run(systems["apple"], factories.make_user("ada"), context_length=4096)
    factories.make_measurement(run, "accuracy", 0.5)
    for depth in (0.0, 0.25, 0.5, 0.75, 1.0):
        factories.make_measurement(run, "accuracy_by_depth", 0.5, depth=depth, n=4)
    for index in range(20):
        factories.make_sample(run, index, score=float(index % 2), answer="1234567" if index % 2 else "the whale")
    factories.make_run(
        factories.make_submission(systems["birch"].submissions.first().author, systems["birch"]),
        context_length=32_768, state="failed", failure_class="oom", failure_message="Prefill needs 9.7 GiB; there are 8.0.",
    )  # fmt: skip
    return {"systems": systems, "run": run}
