"""The typed client against the real API over HTTP: pages, refusals, waits, and a lost answer."""

from __future__ import annotations

import pytest
import requests
from django.utils import timezone
from tests import factories

from longboard.accounts.services import make_token
from longboard_worker.api import Longboard, calls
from longboard_worker.api.calls import ApiError
from longboard_worker.cli import main

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server):
    factories.make_suite()
    factories.make_pool()
    _, secret = make_token(user=factories.make_user(), name="t", scope="submit", days=1, now=timezone.now())
    return Longboard(live_server.url, token=secret)


def test_a_script_submits_watches_and_reads_numbers(site):
    factories.make_model("tiny")
    made = site.submit(
        model="tiny", suites=["niah"], context_lengths=[1024, 512], pools=["local-cpu"], idempotency_key="k"
    )
    again = site.submit(
        model="tiny", suites=["niah"], context_lengths=[1024, 512], pools=["local-cpu"], idempotency_key="k"
    )
    assert again.id == made.id
    assert [run.context_length for run in made.runs] == [512, 1024]
    assert site.run(made.runs[0].id).queue_place == 1
    assert not site.submission(made.id).is_final
    with pytest.raises(TimeoutError):
        site.wait(made.id, every_s=0.05, most_s=0.1)


def test_numbers_and_models_come_page_by_page_to_the_last(site):
    run = factories.make_accepted_run()
    for i in range(230):
        factories.make_measurement(run, "accuracy_by_depth", 0.5, depth=i / 230, n=10)
    for i in range(130):
        factories.make_model(f"m-{i:03}")
    numbers = list(site.measurements(suite="niah"))
    assert len({n.id for n in numbers}) == len(numbers) == 230
    assert len({m.slug for m in site.models()}) == factories.Model.objects.count() > 130


def test_a_refusal_says_why_and_which_field(site):
    with pytest.raises(ApiError) as refused:
        site.submit(model="nope", suites=["niah"], context_lengths=[1024], pools=["local-cpu"])
    assert (refused.value.status, refused.value.code, refused.value.field) == (404, "not_found", "model")
    with pytest.raises(ApiError, match="API token"):
        Longboard(site.base.removesuffix("/api/v1"), token="lb_nonsense").submit(
            model="x", suites=["niah"], context_lengths=[1], pools=["local-cpu"]
        )


def test_after_a_429_it_waits_as_long_as_the_site_asks(site, settings, monkeypatch):
    slept = []
    settings.REQUESTS_PER_MINUTE = {"anonymous": 1, "token": 1, "export": 1}
    monkeypatch.setattr(calls.time, "sleep", slept.append)
    site.suites()
    with pytest.raises(ApiError) as refused:
        site.suites()
    assert refused.value.code == "rate_limited"
    assert len(slept) == 3
    assert all(0.5 < s <= 75 for s in slept)


def test_a_lost_answer_is_asked_for_again(site, monkeypatch):
    real, lost = site.session.request, [2]

    def request(*args, **kwargs):
        if lost[0]:
            lost[0] -= 1
            raise requests.ConnectionError
        return real(*args, **kwargs)

    monkeypatch.setattr(site.session, "request", request)
    monkeypatch.setattr(calls.time, "sleep", lambda s: None)
    assert site.pools()[0].slug == "local-cpu"
    lost[0] = 9
    with pytest.raises(ApiError, match="No answer"):
        site.pools()


def test_the_command_line_submits_and_prints_the_address(site, monkeypatch, capsys):
    factories.make_model("tiny")
    monkeypatch.setenv("LONGBOARD_TOKEN", site.session.headers["Authorization"].removeprefix("Bearer "))
    where = ["site", "--site", site.base.removesuffix("/api/v1")]
    ask = ["--model", "tiny", "--suites", "niah", "--lengths", "1024", "--pools", "local-cpu"]
    assert main([*where, "submit", *ask]) == 0
    assert "/submissions/" in capsys.readouterr().out
    assert main([*where, "submit", *ask[:-1], "nope"]) == 1
    assert 'Pool "nope" is not known' in capsys.readouterr().err
    factories.make_measurement(factories.make_accepted_run(), "accuracy", 0.75)
    assert main([*where, "numbers", "--suite", "niah"]) == 0
    names, number = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    told = dict(zip(names, number, strict=True))
    wanted = {"hardware": "local-cpu", "metric": "accuracy", "context_length": "1024", "depth": "", "value": "0.75"}
    assert told.items() >= wanted.items()
