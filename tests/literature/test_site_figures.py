"""Claims judged by what this site has measured: which numbers they take, how these are put together, where they lead."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from tests import factories
from tests.pages.reading import parsed, text

from longboard.literature.catalogue import load_claims
from longboard.literature.evidence import verdict_of
from longboard.literature.site_figures import SITE, pairs_of
from longboard.registry.models import Method, Model, System
from longboard.results.models import Bundle
from longboard_tasks.intervals import wilson

pytestmark = pytest.mark.django_db
PHONES = ("llama-3m", "mamba2-3m", "recall", "phone_book", "accuracy", (512, 2_048))


@pytest.fixture
def put():
    """Put a number of a zoo model on the site."""
    factories.make_suite("recall")
    systems: dict[tuple[object, ...], System] = {}

    def put_number(model, value, length=2_048, *, suite="recall", task="phone_book", metric="accuracy", n=40, **more):
        method, budget, settings = more.get("method", "none"), more.get("budget", 1.0), more.get("settings", {})
        kind = model, method, budget, str(settings), more.get("dtype", "float32")
        if kind not in systems:
            systems[kind] = factories.make_system(
                Model.objects.filter(slug=model).first() or factories.make_model(model),
                method=Method.objects.get(name=method), budget=budget, settings=settings, dtype=kind[-1],
            )  # fmt: skip
        run = factories.make_accepted_run(
            systems[kind], suite=factories.make_suite(suite), tasks=[task], context_length=length,
            pool=more.get("pool") or factories.make_pool(),
        )  # fmt: skip
        return factories.make_cell(run, metric, value, n=n, task=task, updated_at=more.get("at", factories.NOW))

    return put_number


def other_pool():
    return factories.make_pool("elsewhere", factories.make_hardware("other-gpu", title="Other GPU"))


def test_nothing_is_said_while_one_side_is_missing_or_stands_elsewhere(put):
    claim = load_claims()["empirical-mamba-03"]
    put("llama-3m", 0.9)
    assert verdict_of(claim).outcome == "not_measured"
    put("mamba2-3m", 0.1, pool=other_pool())
    put("mamba2-3m", 0.1, length=512)
    assert verdict_of(claim).outcome == "not_measured", "another machine, another length"
    put("mamba2-3m", 0.1, dtype="bfloat16")
    assert verdict_of(claim).outcome == "not_measured", "another number format"


def test_a_difference_is_in_points_at_the_longest_length_and_leads_to_the_comparison(put):
    for length, full, ssm in ((512, 1.0, 0.9), (2_048, 0.9, 0.1)):
        put("llama-3m", full, length)
        put("mamba2-3m", ssm, length)
    Bundle.objects.update(manifest={"started_at": "2026-11-20T08:00:00+00:00"})
    verdict = verdict_of(load_claims()["empirical-mamba-03"])
    evidence = verdict.evidence
    assert evidence.value == pytest.approx(80)
    # Of two shares, each n = 40: Newcombe's square-and-add of Wilson's ends, within two points of the site's score interval.
    (low_a, high_a), (low_b, high_b) = wilson(0.9, 40), wilson(0.1, 40)
    assert evidence.low == pytest.approx(100 * (0.8 - ((0.9 - low_a) ** 2 + (high_b - 0.1) ** 2) ** 0.5), abs=2)
    assert evidence.high == pytest.approx(100 * (0.8 + ((high_a - 0.9) ** 2 + (0.1 - low_b) ** 2) ** 0.5), abs=2)
    assert (verdict.outcome, verdict.sure) == ("holds", True)
    assert "0.90 against 0.10 at 2K" in evidence.basis
    assert evidence.measured_on == "2026-11-20", "by the bundle, not by the day on which it came here"
    address = urlsplit(evidence.url)
    assert address.path == "/compare/"
    assert parse_qs(address.query)["suite"] == ["recall@1"]
    assert len(parse_qs(address.query)["system"]) == 2


def test_of_several_machines_the_one_with_most_samples_then_the_newest_counts(put):
    elsewhere = other_pool()
    for pool, n, at, full in ((None, 40, 0, 0.5), (elsewhere, 80, 0, 0.75)):
        put("llama-3m", full, n=n, pool=pool, at=factories.NOW + timedelta(days=at))
        put("mamba2-3m", 0.0, n=n, pool=pool, at=factories.NOW + timedelta(days=at))
    (pair,) = pairs_of(*PHONES)
    assert (pair.subject.value, pair.subject.hardware.title) == (0.75, "Other GPU")
    third = factories.make_pool("third", factories.make_hardware("third-gpu", title="Third GPU"))
    put("llama-3m", 0.6, n=80, pool=third, at=factories.NOW + timedelta(days=1))
    put("mamba2-3m", 0.0, n=80, pool=third, at=factories.NOW + timedelta(days=1))
    assert [p.subject.hardware.title for p in pairs_of(*PHONES)] == ["Third GPU"]


def test_methods_are_taken_at_their_plain_settings_and_all_must_be_there(put):
    claim = load_claims()["longctx-bench-03"]
    words = {"suite": "kv", "task": "needle"}
    put("llama-3m", 1.0, **words)
    put("llama-3m", 0.4, method="h2o", budget=0.25, **words)
    put("llama-3m", 0.9, method="h2o", budget=0.5, **words)
    put("llama-3m", 0.8, method="streaming_llm", budget=0.25, settings={"question_aware": True}, **words)
    assert verdict_of(claim).outcome == "not_measured"
    put("llama-3m", 0.2, method="streaming_llm", budget=0.25, **words)
    verdict = verdict_of(claim)
    assert verdict.evidence.value == pytest.approx(100 * ((0.4 - 1) + (0.2 - 1)) / 2)
    assert (verdict.outcome, "scaled" in verdict.badges) == ("holds", True)


def test_a_rate_is_a_ratio_and_the_largest_of_all_places_counts(put):
    words = {"suite": "efficiency", "task": "generate", "metric": "decode_tokens_per_s", "n": 5}
    for length, full, lazy in ((32_768, 100.0, 150.0), (131_072, 50.0, 110.0)):
        put("llama-1b", full, length, **words)
        put("llama-1b", lazy, length, method="lazy_layers", budget=0.25, **words)
    evidence = verdict_of(load_claims()["lighttransfer-01"]).evidence
    assert evidence.value == pytest.approx(2.2)
    assert evidence.low < 2.2 < evidence.high
    assert "llama-1b at 32K 1.50, llama-1b at 128K 2.20" in evidence.basis


def test_a_new_result_is_on_the_page_at_once(client, put):
    page = "/claims/empirical-mamba-03/"
    assert "not measured" in text(parsed(client.get(page)))
    put("llama-3m", 0.9)
    put("mamba2-3m", 0.1)
    assert "80 points" in text(parsed(client.get(page)))
    assert "80 points" in text(parsed(client.get("/claims/")))


def test_every_claim_that_results_can_judge_is_in_the_catalogue():
    assert SITE.keys() <= load_claims().keys()
