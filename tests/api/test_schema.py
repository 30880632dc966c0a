"""The API against its own schema, and the pages against nonsense: whatever a client sends, no answer is a 5xx.

One run over all operations on one set of rows. `FUZZ_EXAMPLES` says how many requests each gets (make test-fuzz: 400). Half of
them go to rows that are there, with the caller's own credentials, so that they get past the look-up.
"""

from __future__ import annotations

import logging
import os
import random
import re
import uuid
from collections import Counter
from urllib.parse import urlencode

import pytest
import schemathesis
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as example_settings
from schemathesis.checks import CHECKS
from tests import factories
from tests.api.test_authorisation import plain, routes

from longboard.accounts.services import make_token
from longboard.checkpoints.models import Checkpoint, CheckpointFile
from longboard.fleet.credentials import make_token as make_node_token
from longboard.reports.models import Report
from longboard.wsgi import application

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
CHECKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
NODE_ROUTES = ("/api/v1/runs/claim", "/api/v1/runs/export", "/api/v1/attempts", "/api/v1/nodes")


@pytest.fixture
def quiet():
    logging.disable(logging.CRITICAL)  # a refusal a line, thousands of them
    yield
    logging.disable(logging.NOTSET)


class World:
    """One row of everything that a path can name, and who may use it."""

    def __init__(self) -> None:
        now = timezone.now()
        factories.make_board([("apple", 1024, 0.9, 100.0), ("birch", 1024, 0.6, 20.0)])
        self.user = factories.make_user("fuzz")
        pool = factories.make_pool("own", owner=self.user)
        node = factories.make_node(pool, owner=self.user)
        system = factories.System.objects.order_by("pk")[0]
        submission = factories.make_submission(self.user, system)
        run = factories.make_run(submission, pool=pool, state="running", fence=1, started_at=now)
        attempt = factories.make_attempt(run, node, started_at=now, lease_until=now + timezone.timedelta(hours=9))
        accepted = factories.make_accepted_run(system, self.user)
        factories.make_measurement(accepted)
        factories.make_sample(accepted)
        report = Report.objects.create(
            author=self.user, system=system, hardware_text="Ours", source_url="https://example.org/", created_at=now
        )
        checkpoint = Checkpoint.objects.create(
            owner=self.user, title="Ours", request_digest="0" * 64, size=9, created_at=now, touched_at=now
        )
        CheckpointFile.objects.create(checkpoint=checkpoint, name="config.json", size=9)
        self.known = {
            "run_id": [str(run.pk), str(accepted.pk)],
            "submission_id": [str(submission.pk)],
            "attempt_id": [str(attempt.pk)],
            "node_id": [str(node.pk)],
            "report_id": [report.pk],
            "checkpoint_id": [str(checkpoint.pk)],
            "suite": ["niah"],
            "name": ["config.json"],
        }
        _, secret = make_token(user=self.user, name="fuzz", scope="submit", days=1, now=now)
        self.person, self.node = f"Bearer {secret}", f"Bearer {make_node_token(node)}"


def fuzz(operation, world: World, checks: list, counted: Counter) -> None:
    """EXAMPLES requests of one operation, each held to the schema."""
    authorisation = world.node if operation.path.startswith(NODE_ROUTES) else world.person
    headers = {"Accept-Encoding": "identity", "Authorization": authorisation}  # the WSGI client does not unpack
    turn = random.Random(operation.label)

    @example_settings(
        max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None,
        derandomize=True,
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def check(case):
        for name, values in world.known.items():
            if name in (case.path_parameters or {}) and turn.random() < 0.5:
                case.path_parameters[name] = turn.choice(values)
        for part in (case.query, case.body):
            if isinstance(part, dict) and "fence" in part and turn.random() < 0.7:
                part["fence"] = 1
        response = case.call_and_validate(headers=headers, checks=checks)
        counted[response.status_code] += 1

    check()


# The WSGI server closes connections after each request, so rows have to be committed ones.
@pytest.mark.django_db(transaction=True)
def test_every_answer_of_every_operation_is_documented_and_none_is_a_server_error(settings, tmp_path, quiet):
    settings.MEDIA_ROOT = tmp_path
    world, counted, broken = World(), Counter(), []
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)
    checks = [CHECKS.get_one(name) for name in CHECKED]
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:
        try:
            fuzz(operation, world, checks, counted)
        except Exception as error:  # the next operations are asked all the same, and all are told
            broken.append(f"{operation.label}: {str(error)[:1500]}")
    print(f"{len(operations)} operations, {sum(counted.values())} requests: {dict(sorted(counted.items()))}")
    assert not broken, "\n".join(broken)
    assert len(operations) >= 45
    assert counted[200] + counted[201] > len(operations), "too few requests got past the look-up"


NASTY = (
    "", "0", "-1", "1e309", "99999999999999999999", "NaN", "\x00", "%00", "' OR 1=1 --", "<script>x</script>", "../../etc/passwd",
    "ä" * 300, "\ud83d\ude00", "2026-13-45", "9999-12-31T23:59:59", "0001-01-01", "٣", "=cmd|' /C calc'!A0", "true", "[]",
)  # fmt: skip
PARAMETERS = (
    "length", "task", "metric", "cost", "hardware", "family", "method", "size", "trust", "search", "sort", "page", "threshold",
    "order", "as_of", "system", "suite", "depth", "only", "after", "cursor", "next", "on", "batch", "model", "limit",
)  # fmt: skip
FINE = ("all", "niah", "self-reported", "1024", "usd_per_million_output_tokens", "mean_accuracy", "local-cpu")


@pytest.mark.django_db
def test_no_page_breaks_whatever_its_address_says(quiet):
    world, rng, counted, broken = World(), random.Random("pages"), Counter(), []
    client = Client(raise_request_exception=False)
    client.force_login(world.user)
    slugs = [*factories.System.objects.values_list("slug", flat=True)]
    known = {**world.known, "kind": ["csv", "json", "parquet", "bib", "x"], "version": ["4.1.1"], "system": slugs}
    pages = [
        p for p in sorted({plain(r) for r in routes()}) if not p.startswith(("/admin", "/api", "/accounts/sign-out"))
    ]
    for page in pages:
        for _ in range(EXAMPLES // 2):

            def fill(found, page=page):
                values = known.get(found[1]) or (["apple", *slugs, "niah", "local-cpu"] if found[1] == "slug" else [1])
                if found[1].endswith("_id") and rng.random() < 0.2:
                    return str(uuid.UUID(int=0)) if isinstance(values[0], str) else str(2**64)
                return str(rng.choice(values))

            names = rng.sample(PARAMETERS, 5)
            query = [(n, rng.choice(NASTY if rng.random() < 0.6 else FINE)) for n in names]
            query += [("system", slug) for slug in rng.sample(slugs, 2)] if rng.random() < 0.3 else []
            path = re.sub(r"<(\w+)>", fill, page)
            address = f"{path}?{urlencode(query, errors='surrogatepass')}"
            response = client.get(address)
            if response.streaming:
                b"".join(response.streaming_content)
            counted[response.status_code] += 1
            if response.status_code >= 500:
                broken.append(address)
    print(f"{len(pages)} pages, {sum(counted.values())} requests: {dict(sorted(counted.items()))}")
    assert not broken, "\n".join(broken)
