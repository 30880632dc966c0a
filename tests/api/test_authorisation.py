"""Who may do what: every route of the site, asked by every role, equals the committed table.

A route without a row fails, and so does a row without a route. After a change that is meant:

    make authorisation-table          # writes tests/api/authorisation.tsv again; then read its diff

A cell is the answer's status. `w` behind it: the request wrote to the database (what a session, a token's last use and a
node's last sign of life write is left out). Each request is rolled back, so every one finds the same world.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from tests.factories import (
    make_accepted_run,
    make_attempt,
    make_board,
    make_measurement,
    make_node,
    make_pool,
    make_run,
    make_sample,
    make_submission,
    make_suite,
    make_user,
)
from tests.signing import REPORT, make_key

from longboard.accounts.services import make_token
from longboard.api.api import api
from longboard.checkpoints.models import Checkpoint
from longboard.fleet.credentials import make_token as make_node_token
from longboard.reports.models import Report
from longboard.submissions.models import Run
from longboard.webhooks.services import make_webhook

pytestmark = pytest.mark.django_db

TABLE = Path(__file__).with_name("authorisation.tsv")
ROLES = ("anonymous", "other", "owner", "node", "other node", "moderator", "admin")
NONE = "00000000-0000-0000-0000-000000000000"
DIGEST = "0" * 64
# Written by every visit, whatever it asks for.
BOOKKEEPING = re.compile(
    r'"django_session"|UPDATE "fleet_node" SET "last_seen_at"|UPDATE "accounts_apitoken" SET "last_used_at"|"last_login"'
)
WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


class World:
    """One of everything: a person's run that a node works on, an accepted run, a queued one, a pool, a board."""

    def __init__(self) -> None:
        systems = make_board([("model-a", 1_024, 0.9, 100.0), ("model-b", 1_024, 0.7, 50.0)])
        owner, self.now = make_user("owner"), timezone.now()
        self.people = {
            "other": make_user("other"),
            "owner": owner,
            "moderator": make_user("moderator", is_staff=True),
            "admin": make_user("admin", is_staff=True, is_superuser=True),
        }
        pool = make_pool("owners-pool", owner=owner)
        self.nodes = {"node": make_node(pool, "box", owner=owner), "other node": make_node(make_pool(), "stranger")}
        submission = make_submission(owner, next(iter(systems.values())))
        held = {"created_at": self.now, "queued_at": self.now, "pool": pool, "samples": 5}
        self.running = make_run(submission, state=Run.State.RUNNING, fence=1, started_at=self.now, **held)
        self.attempt = make_attempt(
            self.running, self.nodes["node"], leased_at=self.now, started_at=self.now,
            lease_until=self.now + timezone.timedelta(hours=1),
        )  # fmt: skip
        self.queued = make_run(submission, **held)
        self.accepted = make_accepted_run(author=owner, system=submission.system, pool=pool)
        make_measurement(self.accepted)
        make_sample(self.accepted)
        self.report = Report.objects.create(
            author=owner,
            system=submission.system,
            hardware_text="Ours",
            source_url="https://example.org/",
            created_at=self.now,
        )
        token, _ = make_token(user=owner, name="theirs", scope="submit", days=1, now=self.now)
        self.values: dict[str, Any] = {
            "run_id": self.running.pk,
            "submission_id": submission.pk,
            "attempt_id": self.attempt.pk,
            "node_id": self.nodes["node"].pk,
            "token_id": token.pk,
            "claim_id": "none",
            "paper_id": "none",
            "report_id": self.report.pk,
            "checkpoint_id": Checkpoint.objects.create(
                owner=owner, title="Ours", request_digest=DIGEST, size=2, created_at=self.now, touched_at=self.now
            ).pk,
            "webhook_id": make_webhook(user=owner, url="https://hooks.example.org/x", now=self.now).pk,
            "suite": "niah",
            "system": submission.system.slug,
            "name": "niah",
            "version": "0",
            "kind": "csv",
            "id": owner.pk,
            "object_id": owner.pk,
            "content_type_id": 1,
            "app_label": "fleet",
            "url": "nowhere",
        }

    def value(self, route: str, name: str) -> str:
        """What stands for a route's parameter. A parameter that is not known here wants a line in `values`."""
        if name == "slug":
            slugs = {
                "methods": "snapkv",
                "models": "model-a",
                "hardware": "local-cpu",
                "pools": "owners-pool",
                "systems": self.values["system"],
            }
            return slugs.get(route.split("/")[0], "model-a")
        if name == "object_id" and not route.startswith("admin/r/"):  # the admin's page of a row that is there
            app, model = route.split("/")[1:3]
            row = apps.get_model(app, model)._default_manager.order_by("pk").first()
            return str(row.pk if row else 1)
        # The rerun of a run that has ended, the deletion of a row that is there: whatever the route is about.
        if name == "run_id" and route.endswith(("rerun", "rerun/", "bundle.json")):
            return str(self.accepted.pk)
        assert name in self.values, f"{route}: say in World.values what stands for <{name}>"
        return str(self.values[name])


def routes(resolver: Any = None, prefix: str = "") -> Iterator[str]:
    """Every route of the URLconf, as written."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, path)
        elif isinstance(pattern, URLPattern):
            yield path


def plain(route: str) -> str:
    """Without converters' types and regular expressions: stable across versions of the libraries."""
    route = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route).replace("^", "").replace("$", "")
    return "/" + re.sub(r"<\w+:(\w+)>", r"<\1>", route)


def methods_of(route: str) -> tuple[str, ...]:
    """An API route's own methods; of a page's, reading and writing; of the admin's, reading: staff get nothing else there."""
    if route.startswith("/admin"):
        return ("GET",)
    if not route.startswith("/api/v1/"):
        return ("GET", "POST")
    wanted = re.sub(r"<(\w+)>", r"{\1}", route)
    found = api.get_openapi_schema()["paths"].get(wanted)
    return tuple(sorted(verb.upper() for verb in found)) if found else ("GET",)


def bodies(world: World) -> dict[str, Any]:
    """What a request has to bring to get past its schema; anything else gets an empty object."""
    fence = {"fence": 1}
    return {
        "/api/v1/models": {"repository": "owner/name", "revision": "a" * 40},
        "/api/v1/submissions": {
            "model": "model-a", "suites": ["niah"], "context_lengths": [1024], "pools": ["local-cpu"], "samples": 5,
        },
        "/api/v1/reports": {
            "model": "model-a", "hardware": "Ours", "source": "https://example.org/paper",
            "numbers": [
                {
                    "suite": "niah", "task": "single", "metric": "accuracy", "context_length": 1024, "value": 0.5, "n": 10,
                    "ci_low": 0.2, "ci_high": 0.8,
                }
            ],
        },
        "/api/v1/checkpoints": {
            "title": "Mine", "files": [{"name": "config.json", "size": 2}, {"name": "model.safetensors", "size": 10}],
        },
        "/api/v1/runs/cancel": {"runs": [str(world.queued.pk)]},
        "/api/v1/nodes/<node_id>/state": {"state": "paused"},
        "/api/v1/nodes/enrol": {
            "code": "lbe_wrong", "name": "new", "public_key": make_key()[1], "report": REPORT.model_dump(mode="json"),
        },
        "/api/v1/nodes/challenge": {"node": NONE},
        "/api/v1/nodes/token": {"node": NONE, "challenge": "x", "signature": "0" * 128},
        "/api/v1/nodes/rotate": {"public_key": make_key()[1], "signature": "0" * 128},
        "/api/v1/attempts/<attempt_id>/start": fence,
        "/api/v1/attempts/<attempt_id>/beat": fence,
        "/api/v1/attempts/<attempt_id>/fail": fence | {"failure_class": "oom", "message": "Why."},
        "/api/v1/attempts/<attempt_id>/complete": fence
        | {"sha256": DIGEST, "public_key": make_key()[1], "signature": "0" * 128},
        "/api/v1/attempts/<attempt_id>/bundle": {
            "payload": "{}", "public_key": world.nodes["node"].public_key, "signature": "0" * 128,
        },
        "/nodes/<node_id>/state/": {"state": "paused"},
    }  # fmt: skip


QUERIES = {
    "/api/v1/boards/<suite>": "?context_length=1024&hardware=local-cpu",
    "/api/v1/attempts/<attempt_id>/orders": "?fence=1",
    "/api/v1/attempts/<attempt_id>/checkpoint": "?fence=1",
    "/api/v1/attempts/<attempt_id>/checkpoint/<name>": "?fence=1",
    "/api/v1/checkpoints/<checkpoint_id>/files/<name>": f"?offset=0&sha256={DIGEST}",
    "/api/v1/attempts/<attempt_id>/bundle": "?fence=1",
    "/api/v1/attempts/<attempt_id>/upload": f"?fence=1&offset=0&sha256={DIGEST}",
}


class Visitor:
    """A role with its credentials: a session on pages, a token in the API; a node has nothing but its token."""

    def __init__(self, world: World, role: str) -> None:
        self.pages, self.headers = Client(raise_request_exception=False), {}
        if role in world.nodes:
            self.headers = {"Authorization": f"Bearer {make_node_token(world.nodes[role])}"}
        elif role in world.people:
            self.pages.force_login(world.people[role])
            _, secret = make_token(user=world.people[role], name="sweep", scope="submit", days=1, now=world.now)
            self.headers = {"Authorization": f"Bearer {secret}"}
        self.api = Client(raise_request_exception=False)
        self.cookies = self.pages.cookies.copy()

    def ask(self, method: str, route: str, url: str, body: Any) -> str:
        """Status and whether it wrote; then everything is undone."""
        written: list[str] = []

        def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if WRITES.match(sql) and not BOOKKEEPING.search(sql):
                written.append(sql)
            return execute(sql, params, many, context)

        is_api = route.startswith("/api/")
        client = self.api if is_api else self.pages
        self.pages.cookies = self.cookies.copy()  # the visit before may have signed out
        how: dict[str, Any] = {"headers": self.headers}
        if method != "GET":
            how |= {"data": body, "content_type": "application/json"} if is_api else {"data": body}
        with transaction.atomic():
            with connection.execute_wrapper(watch):
                response = getattr(client, method.lower())(url, **how)
                if response.streaming:
                    b"".join(response.streaming_content)
            transaction.set_rollback(True)
        return f"{response.status_code}{'w' if written else ''}"


def sweep() -> list[tuple[str, ...]]:
    """(route, method, one cell a role), sorted."""
    logging.disable(logging.CRITICAL)  # a refusal a line, thousands of them
    make_suite()
    world = World()
    visitors = {role: Visitor(world, role) for role in ROLES}
    known_bodies = bodies(world)
    table = set()
    for pattern in sorted(set(routes())):
        route = plain(pattern)
        url = re.sub(r"<(\w+)>", lambda found, r=route: world.value(r.strip("/"), found[1]), route)
        for method in methods_of(route):
            answers = [
                visitors[role].ask(method, route, url + QUERIES.get(route, ""), known_bodies.get(route, {}))
                for role in ROLES
            ]
            table.add((route, method, *answers))
    logging.disable(logging.NOTSET)
    return sorted(table)


def read_table() -> list[tuple[str, ...]]:
    lines = TABLE.read_text().splitlines()
    return [tuple(line.split("\t")) for line in lines[1:]]


def test_every_route_answers_every_role_as_the_committed_table_says():
    found = sweep()
    if os.environ.get("WRITE_AUTHORISATION"):
        header = ("route", "method", *ROLES)
        TABLE.write_text("\n".join("\t".join(row) for row in [header, *found]) + "\n")
        return
    expected = read_table()
    new = [f"+ {' '.join(row)}" for row in found if row not in expected]
    gone = [f"- {' '.join(row)}" for row in expected if row not in found]
    print(f"{len(found)} rows, {len(found) * len(ROLES)} requests")
    assert not new + gone, "make authorisation-table, then look at the diff:\n" + "\n".join(
        sorted(gone + new, key=lambda x: x[2:])
    )


# Routes that somebody without an account may write through: to get an account, to sign in, to enrol a machine.
OPEN_TO_ALL = {"/api/v1/nodes/enrol", "/api/v1/nodes/challenge", "/api/v1/nodes/token", "/accounts/sign-up/"}


def cells(**wanted: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    for route, method, *answers in read_table():
        yield route, method, dict(zip(ROLES, answers, strict=True))


def test_nobody_without_an_account_writes_anything_and_nothing_breaks():
    for route, method, by_role in cells():
        assert not by_role["anonymous"].endswith("w") or route in OPEN_TO_ALL, (route, method)
        assert not any(answer.startswith("5") for answer in by_role.values()), (route, method, by_role)


def test_reading_writes_nothing():
    for route, method, by_role in cells():
        if method == "GET":
            assert not any(answer.endswith("w") for answer in by_role.values()), (route, by_role)


def test_a_person_cannot_touch_what_is_anothers():
    """What has an id of something of the owner's in its path is written by its owner and by staff alone."""
    for route, method, by_role in cells():
        if any(
            f"<{name}>" in route
            for name in ("run_id", "submission_id", "node_id", "token_id", "webhook_id", "report_id", "checkpoint_id")
        ):
            assert not by_role["other"].endswith("w"), (route, method, by_role)


def test_node_routes_are_for_the_node_that_holds_the_attempt():
    seen = 0
    for route, method, by_role in cells():
        if route.startswith("/api/v1/attempts/"):
            seen += 1
            assert by_role["other node"] == "404", (route, method, by_role)
            assert {by_role[role] for role in ("anonymous", "other", "owner", "moderator", "admin")} == {"401"}, route
    assert seen >= 7
    for route, method, by_role in cells():
        if route.startswith("/admin") and route not in ("/admin/login/",):
            allowed = {role for role, answer in by_role.items() if answer.startswith("2")}
            assert allowed <= {"admin", "moderator"}, (route, method, by_role)
