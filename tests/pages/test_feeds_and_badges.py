"""Feeds, badges, embedded fronts and citations, and what a hostile name does in each of them."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from lxml import etree
from tests import factories
from tests.pages.reading import parsed, table, text

from longboard.boards.summaries import write_cells

pytestmark = pytest.mark.django_db

ATOM = {"a": "http://www.w3.org/2005/Atom"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> ]]> & \x0b{}\\input{/etc/passwd}"


@pytest.fixture
def systems():
    return factories.make_board([("apple", 1024, 0.9, 100.0), ("birch", 1024, 0.6, 20.0), ("cedar", 1024, 0.3, 300.0)])


def test_the_feed_has_the_newest_numbers_first_and_an_id_that_stays(client, systems):
    cell = systems["cedar"].cells.get(metric="accuracy")
    cell.value = 0.35
    write_cells([cell], now=factories.NOW + timedelta(hours=1))
    feed = etree.fromstring(client.get("/feeds/niah/results.atom").content)
    titles = feed.xpath("a:entry/a:title/text()", namespaces=ATOM)
    assert titles[0].startswith("Cedar (float32): Accuracy 0.35")
    assert len(titles) == 3
    first = feed.xpath("a:entry/a:id/text()", namespaces=ATOM)
    cell.value = 0.36
    write_cells([cell], now=factories.NOW + timedelta(hours=2))
    again = etree.fromstring(client.get("/feeds/niah/results.atom").content)
    assert again.xpath("a:entry/a:id/text()", namespaces=ATOM) == first
    assert feed.xpath("a:updated/text()", namespaces=ATOM) != again.xpath("a:updated/text()", namespaces=ATOM)
    assert len(etree.fromstring(client.get("/feeds/results.atom").content).xpath("a:entry", namespaces=ATOM)) == 12
    assert client.get("/feeds/nope/results.atom").status_code == 404


def test_a_badge_says_the_place_of_a_system(client, systems):
    badge = etree.fromstring(client.get("/badges/niah/apple.svg?length=1024").content)
    assert badge.get("aria-label") == "niah@1 at 1K: 0.90 (0.70–0.97), on the front (P 0.97)"
    other = client.get(f"/badges/niah/{systems['cedar'].slug}.svg?length=1024")
    assert "rank 2–3" in etree.fromstring(other.content).get("aria-label")
    assert other["Content-Type"].startswith("image/svg+xml")
    assert client.get("/badges/niah/nope.svg").status_code == 404


def test_the_front_can_be_framed_by_anybody_and_nothing_else_can(client, systems):
    page = client.get("/embed/niah/?length=1024")
    assert "X-Frame-Options" not in page
    assert "frame-ancestors *" in page["Content-Security-Policy"]
    assert "script-src" not in page["Content-Security-Policy"]
    assert not page.cookies
    assert not parsed(page).xpath("//script")
    assert len(parsed(page).xpath("//svg[contains(@class, 'wide')]//a")) == 3
    board = client.get("/boards/niah/")
    assert board["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in board["Content-Security-Policy"]


def test_a_citation_pins_version_place_and_moment_and_keeps_showing_the_view(client, systems, settings):
    page = client.get("/boards/niah/cite/?length=1024")
    (address,) = {a for a in parsed(page).xpath("//a/@href") if "as_of=" in a}
    target = urlsplit(address)
    assert target.path == "/boards/niah@1/"
    before = [row[1:5] for row in table(client.get("/boards/niah/?length=1024"), "board")]
    cell = systems["apple"].cells.get(metric="accuracy")
    cell.value = 0.1
    write_cells([cell], now=factories.NOW + timedelta(days=365))
    cited = client.get(f"{target.path}?{target.query}")
    assert [row[1:5] for row in table(cited, "board")] == before
    bib = client.get("/boards/niah/cite.bib?length=1024").content.decode()
    assert bib.startswith("@misc{longboard_niah1_1024_")
    assert "as_of" in bib
    cff = client.get("/boards/niah/cite.cff?length=1024").content.decode()
    assert cff.startswith("cff-version: 1.2.0")
    assert client.get("/boards/niah/cite.doc").status_code == 404


def test_hostile_names_stay_text_everywhere(client, systems):
    factories.Model.objects.filter(slug="apple").update(title=HOSTILE)
    assert etree.fromstring(client.get("/feeds/results.atom").content) is not None
    assert etree.fromstring(client.get("/badges/niah/apple.svg").content) is not None
    pair = f"system={systems['apple'].slug}&system={systems['birch'].slug}"
    for path in (
        "/embed/niah/",
        "/boards/niah/",
        "/boards/niah/cite/",
        "/boards/niah/lengths/",
        f"/systems/{systems['apple'].slug}/",
        f"/compare/?{pair}",
    ):
        page = client.get(path)
        assert page.status_code == 200, path
        assert b"<script>alert" not in page.content, path
        assert b"<img src=x" not in page.content, path
        assert "onerror" in text(parsed(page)), f"{path}: the name is there, as text"
    import yaml

    assert yaml.safe_load(client.get("/boards/niah/cite.cff").content)["type"] == "dataset"
