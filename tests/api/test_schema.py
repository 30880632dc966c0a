"""The API against its own schema: whatever a client sends, the answer is a documented one, and never a 5xx."""

import pytest
import schemathesis
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS
from tests.factories import make_accepted_run, make_measurement, make_model, make_pool, make_suite, make_user

from longboard.accounts.services import make_token
from longboard.wsgi import application

# The WSGI server closes connections after each request, so rows have to be committed ones.
pytestmark = pytest.mark.django_db(transaction=True)

CHECKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


OPERATIONS = [
    result.ok() for result in schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application).get_all_operations()
]
NODE_ROUTES = ("/api/v1/runs/claim", "/api/v1/attempts", "/api/v1/nodes")


@pytest.fixture
def rows(transactional_db):
    make_suite()
    make_model("small")
    make_pool()
    make_measurement(make_accepted_run())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_answer_is_documented(rows, operation):
    headers = {"Accept-Encoding": "identity"}  # the WSGI client does not unpack
    if not operation.path.startswith(NODE_ROUTES):
        _, secret = make_token(user=make_user(), name="fuzz", scope="submit", days=1, now=timezone.now())
        headers["Authorization"] = f"Bearer {secret}"

    @settings(max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def check(case):
        case.call_and_validate(headers=headers, checks=[CHECKS.get_one(name) for name in CHECKED])

    check()
