"""axe finds nothing on any page: light, dark and high contrast, on a telephone and on a desk."""

from __future__ import annotations

import pytest
from tests import factories
from tests.e2e.test_browser import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("theme", ["light", "dark", "contrast"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_violation(open_page, site, width, theme):
    from axe_playwright_python.sync_playwright import Axe

    factories.make_user("grace", password=factories.PASSWORD)
    running = factories.make_run(factories.make_submission(), state="running", done=3, total=20)
    factories.make_attempt(running, log_tail="3 of 20")
    failed = site["systems"]["birch"].runs.get(state="failed")
    page = open_page("/", width=width, theme=theme)
    open_pages = [
        "/", "/boards/niah/?length=4096", "/boards/niah/?search=zzz&cost=x", "/models/", "/models/apple/", "/suites/",
        "/suites/niah/", "/hardware/", "/hardware/local-cpu/", "/nodes/", f"/runs/{site['run'].pk}/", f"/runs/{running.pk}/",
        f"/runs/{failed.pk}/", f"/submissions/{running.submission_id}/", "/accounts/sign-in/", "/accounts/sign-up/", "/nope",
        "/boards/niah/?task=all", "/boards/niah/?trust=self-reported&length=1024", f"/reports/{factories.make_report().pk}/",
        "/suites/lra/", "/boards/lra/?task=listops_short", "/methods/", "/methods/snapkv/", "/efficiency/kernels/",
    ]  # fmt: skip
    own_pages = ["/submit/", "/accounts/", "/accounts/tokens/", "/models/register/", "/models/upload/", "/reports/new/"]
    found = {}
    for path in [*open_pages, *own_pages]:
        if path == own_pages[0]:
            sign_in(page, "grace")
        page.goto(path)
        results = Axe().run(page)
        if results.violations_count:
            found[path] = [
                (v["id"], [node["target"] for node in v["nodes"]][:3]) for v in results.response["violations"]
            ]
    assert not found
