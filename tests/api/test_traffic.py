"""Rate limits to the request, ETags, signed cursors."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from django.core.cache import cache, caches
from django.utils import timezone
from tests import factories

from longboard.accounts.services import make_token
from longboard.api.paging import after_pk, position_of
from longboard.errors import BadRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _few(settings):
    cache.clear()
    caches["traffic"].clear()
    settings.REQUESTS_PER_MINUTE = {"anonymous": 5, "token": 8, "export": 2}


def bearer(user):
    _, secret = make_token(user=user, name="t", scope="read", days=1, now=timezone.now())
    return {"Authorization": f"Bearer {secret}"}


def statuses(client, path, times, **options):
    return [client.get(path, **options).status_code for _ in range(times)]


def test_the_request_after_the_limit_is_refused_with_when_to_come_back(client, monkeypatch):
    monkeypatch.setattr("longboard.api.traffic.time.time", lambda: 1_000_000_010.0)
    assert statuses(client, "/api/v1/suites", 6) == [200] * 5 + [429]
    refused = client.get("/api/v1/suites")
    assert refused.json()["error"]["code"] == "rate_limited"
    assert refused["Retry-After"] == "10"
    assert refused["RateLimit-Remaining"] == "0"
    monkeypatch.setattr("longboard.api.traffic.time.time", lambda: 1_000_000_021.0)
    again = client.get("/api/v1/suites")
    assert (again.status_code, again["RateLimit-Remaining"]) == (200, "4")


def test_a_token_has_a_count_of_its_own(client):
    headers = bearer(factories.make_user())
    assert statuses(client, "/api/v1/suites", 5) == [200] * 5
    assert statuses(client, "/api/v1/suites", 9, headers=headers) == [200] * 8 + [429]


@pytest.mark.parametrize("prefix", ["lb_", "lbn_", ""])
def test_made_up_tokens_are_no_way_around_the_limit(client, prefix):
    headers = [{"Authorization": f"Bearer {prefix}{n}"} for n in range(6)]
    assert client.get("/api/v1/suites", headers=headers[0]).status_code in (200, 401)
    assert [client.get("/api/v1/suites", headers=one).status_code == 429 for one in headers[1:]] == [False] * 4 + [True]


def test_a_forwarded_address_is_not_believed_without_a_proxy(client):
    answers = [client.get("/api/v1/suites", headers={"X-Forwarded-For": f"10.0.0.{i}"}).status_code for i in range(6)]
    assert answers == [200] * 5 + [429]


def test_behind_a_proxy_the_entry_that_it_added_counts(client, settings):
    settings.BEHIND_TLS = True
    answers = [
        client.get("/api/v1/suites", headers={"X-Forwarded-For": f"1.2.3.{i}, 9.9.9.9"}).status_code for i in range(6)
    ]
    assert answers == [200] * 5 + [429]
    assert client.get("/api/v1/suites", headers={"X-Forwarded-For": "9.9.9.9, 8.8.8.8"}).status_code == 200


def test_exports_are_counted_apart_and_pages_are_not(client):
    factories.make_board([("apple", 1024, 0.9, 100.0)])
    assert statuses(client, "/export/measurements.csv", 3) == [200, 200, 429]
    assert statuses(client, "/boards/niah/table.csv", 1) == [429]
    assert statuses(client, "/boards/niah/", 7) == [200] * 7


def test_an_unchanged_answer_is_a_304(client):
    factories.make_suite()
    first = client.get("/api/v1/suites")
    assert client.get("/api/v1/suites", headers={"If-None-Match": first["ETag"]}).status_code == 304
    factories.make_model("fresh")
    models = client.get("/api/v1/models")
    factories.make_model("fresher")
    assert client.get("/api/v1/models", headers={"If-None-Match": models["ETag"]}).status_code == 200


@pytest.mark.parametrize("position", [1, 2**40, "some-slug"])
def test_a_cursor_gives_back_its_position(position):
    assert position_of("runs", after_pk("runs", position)) == str(position)


@pytest.mark.parametrize("forged", ["x", "MQ", "MQ.000000000000", "é.x", "....", "MQ==.abc", "\x00"])
def test_a_forged_cursor_and_one_of_another_list_are_refused(forged):
    with pytest.raises(BadRequest, match="not one of this list"):
        position_of("runs", forged)
    with pytest.raises(BadRequest):
        position_of("samples", after_pk("runs", 1))


ANOTHER_PROCESS = """
import sys; [sys.path.insert(0, r) for r in ("platform", "tasks")]
import django; django.setup()
from longboard.api.traffic import _count
print(*(_count(sys.argv[1], 0.0) for _ in range(3)))
"""
REDIS = os.environ.get("LONGBOARD_TEST_REDIS_URL", "")


@pytest.mark.skipif(not REDIS, reason="no Redis to test on: LONGBOARD_TEST_REDIS_URL")
def test_all_processes_of_a_site_with_redis_count_together(tmp_path):
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "longboard.settings",
        "LONGBOARD_BROKER_URL": REDIS,
        "LONGBOARD_DATA_DIR": str(tmp_path),
    }
    asked = [sys.executable, "-c", ANOTHER_PROCESS, uuid.uuid4().hex]
    counts = [subprocess.check_output(asked, env=environment, text=True).split() for _ in range(2)]
    assert counts == [["1", "2", "3"], ["4", "5", "6"]]


def test_while_redis_is_away_requests_are_counted_in_the_process(client, settings):
    away = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = settings.CACHES | {"traffic": away}
    assert statuses(client, "/api/v1/suites", 6) == [200] * 5 + [429]
