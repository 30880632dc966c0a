"""The exhaustive sweeps in Chromium: `make test-web-long`. They take minutes, so the everyday run leaves them out.

axe on every page in three themes at three widths, and 500 random views whose permalinks show the same tables in a fresh
browser, half of them with JavaScript off.
"""

from __future__ import annotations

import os
import random
from urllib.parse import urlencode

import pytest
from tests import factories
from tests.e2e.test_browser import sign_in, tables

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(os.environ.get("LONGBOARD_WEB_LONG") != "1", reason="minutes long: make test-web-long"),
]

VIEWS = int(os.environ.get("LONGBOARD_WEB_VIEWS", "500"))


def every_page(site) -> tuple[list[str], list[str]]:
    """Addresses that anybody can read, and those of a signed-in person."""
    running = factories.make_run(factories.make_submission(), state="running", done=3, total=20)
    factories.make_attempt(running, log_tail="3 of 20")
    failed = site["systems"]["birch"].runs.get(state="failed")
    apple, birch, cedar = (site["systems"][name].slug for name in ("apple", "birch", "cedar"))
    node = factories.make_node(name="box")
    report = factories.make_report(site["systems"]["cedar"])
    withdrawn = factories.make_report(site["systems"]["birch"], withdrawn_at=factories.NOW)
    open_pages = [
        "/", "/boards/niah/?length=4096", "/boards/niah/?search=zzz&cost=x", "/boards/niah/?as_of=2026-11-24",
        "/boards/niah/?task=all", "/boards/niah/lengths/?task=all", "/boards/niah/?trust=self-reported&length=1024",
        "/boards/niah/?cost=usd_per_million_output_tokens", "/boards/niah/?cost=decode_j_per_token",
        f"/reports/{report.pk}/", f"/reports/{withdrawn.pk}/", f"/systems/{site['systems']['cedar'].slug}/",
        "/boards/niah/lengths/?threshold=0.5", "/boards/niah/cite/", "/embed/niah/?length=1024",
        f"/compare/?system={apple}&system={birch}&system={cedar}", f"/compare/?system={apple}",
        f"/crossover/?system={apple}&system={birch}", f"/systems/{apple}/", "/models/", "/models/apple/", "/suites/",
        "/suites/niah/", "/hardware/", "/hardware/local-cpu/", "/nodes/", f"/nodes/{node.pk}/", "/claims/", "/literature/",
        "/efficiency/", f"/runs/{site['run'].pk}/", f"/runs/{running.pk}/", f"/runs/{failed.pk}/",
        f"/submissions/{running.submission_id}/", "/accounts/sign-in/", "/accounts/sign-up/", "/nope",
        "/suites/lra/", "/boards/lra/?task=listops_short", "/methods/", "/methods/snapkv/", "/efficiency/kernels/",
    ]  # fmt: skip
    return open_pages, [
        "/submit/", "/accounts/", "/accounts/tokens/", "/accounts/webhooks/", "/models/register/", "/models/upload/",
        "/reports/new/",
    ]  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark", "contrast"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_axe_finds_nothing_on_any_page(open_page, site, width, theme, capsys):
    from axe_playwright_python.sync_playwright import Axe

    factories.make_user("grace", password=factories.PASSWORD)
    page = open_page("/", width=width, theme=theme)
    open_pages, own_pages = every_page(site)
    found = {}
    for path in [*open_pages, *own_pages]:
        if path == own_pages[0]:
            sign_in(page, "grace")
        page.goto(path)
        results = Axe().run(page)
        if results.violations_count:
            found[path] = [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in results.response["violations"]]
    with capsys.disabled():
        print(f"\naxe, {theme}, {width} px: {len(open_pages) + len(own_pages)} pages, {len(found)} with violations")
    assert not found


def random_view(rng: random.Random) -> str:
    path = rng.choice(["/boards/niah/", "/boards/niah@1/", "/boards/niah/lengths/"])
    query = {
        "length": rng.choice(["", "1024", "4096", "16384", "77"]),
        "cost": rng.choice(
            ["", "ttft_ms", "peak_memory_bytes", "usd_per_million_output_tokens", "decode_j_per_token", "nonsense"]
        ),
        "task": rng.choice(["", "", "all", "vt"]),
        "hardware": rng.choice(["", "local-cpu", "abacus"]),
        "family": rng.choice(["", "full attention", "none"]),
        "trust": rng.choice(["", "measured", "self-reported", "reproduced"]),
        "search": rng.choice(["", "a", "birch", "zzz", "ä<b>&"]),
        "sort": rng.choice(["", "cost", "front"]),
        "threshold": rng.choice(["", "0.3", "0.55", "9"]),
        "order": rng.choice(["", "effective", "name"]),
        "as_of": rng.choice(["", "", "2026-11-24", "2026-11-25T10:00:00", "2020-01-01"]),
        "page": rng.choice(["", "1", "3"]),
    }
    kept = [(k, v) for k, v in query.items() if v and rng.random() < 0.6]
    rng.shuffle(kept)
    return f"{path}?{urlencode(kept)}" if kept else path


def test_permalinks_show_the_same_tables_in_a_fresh_browser(open_page, chromium, live_server, site, capsys):
    rng = random.Random("permalinks")
    page, different = open_page("/"), []
    fresh = {
        script: chromium.new_context(base_url=live_server.url, java_script_enabled=script) for script in (True, False)
    }
    for number in range(VIEWS):
        view = random_view(rng)
        page.goto(view)
        link = page.get_by_role("link", name="Link to this view").get_attribute("href")
        if number % 50 == 0:  # a browser that has seen nothing
            for script, context in fresh.items():
                context.close()
                fresh[script] = chromium.new_context(base_url=live_server.url, java_script_enabled=script)
        other = fresh[number % 2 == 0].new_page()
        other.goto(str(link))
        again = other.get_by_role("link", name="Link to this view").get_attribute("href")
        if tables(page) != tables(other) or again != link:
            different.append((view, link, again))
        other.close()
    for context in fresh.values():
        context.close()
    with capsys.disabled():
        print(f"\npermalinks: {VIEWS} views, {len(different)} differ")
    assert not different
