"""The kernels' page shows the committed measurement as it is, failures included, without a query."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from tests.pages.reading import parsed, text

from longboard.literature.kernel_pages import FILE, kernels_page


@pytest.mark.django_db
def test_the_page_names_device_and_commit_and_has_a_row_for_every_time_of_ours(client, django_assert_num_queries):
    parts = json.loads((settings.REPOSITORY / FILE).read_text())
    with django_assert_num_queries(0):
        response = client.get("/efficiency/kernels/")
    assert response.status_code == 200
    page = parsed(response)
    words = text(page)
    assert parts[0]["machine"]["device"] in words
    assert parts[0]["commit"] in words
    shapes = {
        (p["kernel"], r["shape"], r.get("bits")) for p in parts for r in p["rows"] if r["side"] == "ours" and "ms" in r
    }
    assert len(page.xpath("//tbody/tr")) == len(shapes)
    for check in (c for p in parts for c in p["checks"] if not c["passed"]):
        assert f"Failed: {check['shape']}" in words or f"; {check['shape']}" in words


def test_the_ratio_is_the_fastest_other_over_our_fastest():
    parts = {p["kernel"]: p for p in json.loads((settings.REPOSITORY / FILE).read_text())}
    page = kernels_page()
    assert page is not None
    for table in page.tables:
        for line in (x for x in table.lines if x.ratio and "bits" not in x.shape):
            same = [r for r in parts[table.slug]["rows"] if r["shape"] == line.shape and "ms" in r]
            ours = min(r["ms"] for r in same if r["side"] == "ours")
            assert line.ratio == pytest.approx(min(r["ms"] for r in same if r["side"] != "ours") / ours)


@pytest.mark.django_db
def test_times_have_their_unit_shapes_rise_and_each_operator_says_how_it_stands(client):
    page = parsed(client.get("/efficiency/kernels/"))
    assert {"Ours, ms", "Others, ms"} <= {text(head) for head in page.xpath("//th[@scope='col']")}
    decode = page.xpath("//section[@aria-labelledby='K1']")[0]
    shapes = [text(row) for row in decode.xpath(".//tbody/tr/th")]
    assert [s for s in shapes if s.startswith("B1 ")] == [f"B1 L{n}K, 16 bits" for n in (4, 16, 64, 256, 1024)]
    assert f"of {len(shapes)} shapes" in text(decode.xpath("./p")[0])


@pytest.mark.django_db
def test_an_installation_without_the_file_says_so(client, settings, tmp_path):
    settings.REPOSITORY = tmp_path
    kernels_page.cache_clear()
    assert "No measurement file is here" in text(parsed(client.get("/efficiency/kernels/")))
    kernels_page.cache_clear()
