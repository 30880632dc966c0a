"""The kernels' page shows the committed measurements as they are, device by device, failures included, without a query."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from tests.pages.reading import parsed, text

from longboard.literature.kernel_pages import FILES, kernels_page, kernels_pages

ADDRESS = "/efficiency/kernels/"


def read(device: str) -> list[dict]:
    return json.loads((settings.REPOSITORY / FILES[device]).read_text())


@pytest.mark.parametrize("device", FILES)
@pytest.mark.django_db
def test_the_page_names_device_and_commits_and_has_a_row_for_every_time_of_ours(
    device, client, django_assert_num_queries
):
    parts = read(device)
    with django_assert_num_queries(0):
        response = client.get(ADDRESS, {"device": device})
    assert response.status_code == 200
    page = parsed(response)
    words = text(page)
    assert f"One {parts[0]['machine']['device']}" in words
    assert [text(a) for a in page.xpath("//p[@class='tools']/a[@aria-current]")] == [parts[0]["machine"]["device"]]
    for part in parts:
        (said,) = page.xpath(f"//section[@aria-labelledby='{part['kernel']}']/p")
        assert f"Commit {part['commit']}." in text(said)
    shapes = {
        (p["kernel"], r["shape"], r.get("bits")) for p in parts for r in p["rows"] if r["side"] == "ours" and "ms" in r
    }
    assert len(page.xpath("//tbody/tr")) == len(shapes)
    for check in (c for p in parts for c in p["checks"] if not c["passed"]):
        assert f"Failed: {check['shape']}" in words or f"; {check['shape']}" in words


@pytest.mark.django_db
def test_the_page_opens_with_the_device_of_the_newest_times_and_a_name_that_none_has_falls_back_to_it(client):
    newest = max(FILES, key=lambda device: max(part["measured_at"] for part in read(device)))
    shown = text(parsed(client.get(ADDRESS, {"device": newest})))
    assert text(parsed(client.get(ADDRESS))) == shown
    assert text(parsed(client.get(ADDRESS, {"device": "abacus"}))) == shown


def test_an_operator_that_was_measured_again_elsewhere_says_that_its_commit_is_older():
    newest = {
        part["kernel"]: part for part in sorted((p for d in FILES for p in read(d)), key=lambda p: p["measured_at"])
    }
    for page in kernels_pages().values():
        for table in page.tables:
            assert bool(table.newer) == (table.commit != newest[table.slug]["commit"])
            assert not table.newer or newest[table.slug]["commit"] in table.newer
    assert {table.slug for table in kernels_pages()["h100"].tables if table.newer} >= {"K2", "K8"}


@pytest.mark.django_db
def test_what_only_another_device_has_is_named(client):
    assert (
        "Measured on another device only: Decode attention over 8-bit and 4-bit caches; Convolution and norms"
        in text(parsed(client.get(ADDRESS, {"device": "h200"})))
    )
    assert "Measured on another device only" not in text(parsed(client.get(ADDRESS, {"device": "h100"})))


@pytest.mark.parametrize("device", FILES)
def test_the_ratio_is_the_fastest_other_over_our_fastest(device):
    parts = {p["kernel"]: p for p in read(device)}
    page = kernels_page(device)
    assert page is not None
    for table in page.tables:
        for line in (x for x in table.lines if x.ratio and "bits" not in x.shape):
            same = [r for r in parts[table.slug]["rows"] if r["shape"] == line.shape and "ms" in r]
            ours = min(r["ms"] for r in same if r["side"] == "ours")
            assert line.ratio == pytest.approx(min(r["ms"] for r in same if r["side"] != "ours") / ours)


def test_a_peer_without_a_time_says_why(settings, tmp_path):
    part = next(p for p in read("h100") if p["kernel"] == "K2")
    shape = part["rows"][0]["shape"]
    part["rows"] = [part["rows"][0], {"shape": shape, "side": "mamba_ssm", "failed": "no time"}]
    settings.REPOSITORY = tmp_path
    path = tmp_path / FILES["h100"]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([part]))
    kernels_pages.cache_clear()
    page = kernels_page()
    kernels_pages.cache_clear()
    assert page is not None
    (line,) = page.tables[0].lines
    assert (line.peers, line.ratio) == ("mamba_ssm: no time", None)


@pytest.mark.parametrize("device", FILES)
@pytest.mark.django_db
def test_times_have_their_unit_shapes_rise_and_each_operator_says_how_it_stands(device, client):
    page = parsed(client.get(ADDRESS, {"device": device}))
    assert {"Ours, ms", "Others, ms"} <= {text(head) for head in page.xpath("//th[@scope='col']")}
    decode = page.xpath("//section[@aria-labelledby='K1']")[0]
    shapes = [text(row) for row in decode.xpath(".//tbody/tr/th")]
    assert [s for s in shapes if s.startswith("B1 ")] == [f"B1 L{n}K, 16 bits" for n in (4, 16, 64, 256, 1024)]
    assert f"of {len(shapes)} shapes" in text(decode.xpath("./p")[0])


@pytest.mark.django_db
def test_an_installation_without_the_files_says_so(client, settings, tmp_path):
    settings.REPOSITORY = tmp_path
    kernels_pages.cache_clear()
    assert "No measurement file is here" in text(parsed(client.get(ADDRESS)))
    kernels_pages.cache_clear()
