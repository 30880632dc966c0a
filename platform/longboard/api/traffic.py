"""What every answer of the API carries: rate limits, and ETags on reads.

Counts live for a minute in the cache `traffic`: in Redis where the site has one, so that all its processes count together; in
the process's own memory where it has none, or while Redis is away. Nodes have their own pace (leases, beats) and are not counted.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.core.cache import cache, caches
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers
from redis.exceptions import RedisError

from longboard.accounts.models import digest_secret
from longboard.accounts.services import is_token

log = logging.getLogger(__name__)

WINDOW_S = 60
NODE_ROUTES = ("/api/v1/nodes/", "/api/v1/attempts/", "/api/v1/runs/claim", "/api/v1/runs/export")
TABLES = ("/table.csv", "/table.json", "/table.parquet")


class ApiTraffic:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        kind = _kind(request)
        if not kind:
            return self.get_response(request)
        limit = settings.REQUESTS_PER_MINUTE[kind]
        now = time.time()
        left = limit - _count(f"{kind}/{_caller(request)}", now)
        wait = max(1, round(WINDOW_S - now % WINDOW_S))
        if left < 0:
            response: HttpResponseBase = JsonResponse(
                {
                    "error": {
                        "code": "rate_limited",
                        "message": f"More than {limit} requests a minute. Try again in {wait} s"
                        + (", or send a token for more." if kind == "anonymous" else "."),
                        "field": "",
                    }
                },
                status=429,
                headers={"Retry-After": str(wait)},
            )
        else:
            response = self.get_response(request)
        response.headers["RateLimit-Limit"] = str(limit)
        response.headers["RateLimit-Remaining"] = str(max(0, left))
        response.headers["RateLimit-Reset"] = str(wait)
        return _with_etag(request, response)


def _kind(request: HttpRequest) -> str:
    """Which limit counts for a request; empty for none."""
    path = request.path
    if path.startswith("/export/") or path.endswith(TABLES):
        return "export"
    if not path.startswith("/api/"):
        return ""
    if path.startswith(NODE_ROUTES):
        return ""
    return "token" if _token(request) else "anonymous"


def _token(request: HttpRequest) -> str:
    """The digest of the API token that came along; empty for none. Made-up ones count by address: anybody can write many."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return ""
    name = f"token/{digest_secret(token)[:32]}"
    known = cache.get(name)
    if known is None:
        known = is_token(token)
        cache.set(name, known, WINDOW_S)
    return name if known else ""


def _caller(request: HttpRequest) -> str:
    """The token's digest, or the address. A forwarded address counts only behind our own proxy, and only its own entry."""
    if token := _token(request):
        return token
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.BEHIND_TLS else ""
    address = forwarded.rsplit(",", 1)[-1].strip() or request.META.get("REMOTE_ADDR", "")
    return hashlib.sha256(address.encode()).hexdigest()[:32]


def _count(key: str, now: float) -> int:
    """How many requests this caller has made in this minute, this one included."""
    name = f"traffic/{key}/{int(now // WINDOW_S)}"
    try:
        return _counted(caches["traffic"], name)
    except RedisError as error:
        log.warning("requests are counted in this process alone", extra={"error": type(error).__name__})
        return _counted(cache, name)


def _counted(store: BaseCache, name: str) -> int:
    store.add(name, 0, WINDOW_S * 2)
    try:
        return store.incr(name)
    except ValueError:  # it expired in between
        return 1


def _with_etag(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD") or response.status_code != 200 or response.streaming:
        return response
    if not isinstance(response, HttpResponse) or response.has_header("ETag"):
        return response
    etag = f'W/"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    response.headers["ETag"] = etag
    response.headers.setdefault("Cache-Control", "no-cache")
    patch_vary_headers(response, ["Authorization", "Cookie"])
    return get_conditional_response(request, etag=etag, response=response) or response
