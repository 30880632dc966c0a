import json

import pytest
from django.utils import timezone
from tests.factories import make_pool, make_run, make_user
from tests.signing import REPORT, make_bundle, make_key, sign_bundle

from longboard.accounts.services import make_token
from longboard.fleet.models import Node
from longboard.fleet.services import make_enrolment_code, set_node_state
from longboard.results.models import Bundle
from longboard.submissions.models import Run
from longboard.submissions.sweep import sweep
from longboard_tasks.contract import Ticket

pytestmark = pytest.mark.django_db

NONE = "00000000-0000-0000-0000-000000000000"


class NodeClient:
    """A node that speaks the REST contract through Django's test client."""

    def __init__(self, client, name="box"):
        self.client = client
        self.key, public = make_key()
        code = make_enrolment_code(pool=make_pool(), actor=make_user(is_staff=True), now=timezone.now())
        answer = self.post(
            "/nodes/enrol", {"code": code, "name": name, "public_key": public, "report": REPORT.model_dump(mode="json")}
        )
        assert answer.status_code == 201, answer.content
        self.answer = answer.json()
        self.token = self.answer["token"]

    def post(self, path, body, token=None):
        token = token or getattr(self, "token", "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.client.post(f"/api/v1{path}", body, content_type="application/json", headers=headers)

    def take(self):
        ticket = Ticket.model_validate_json(self.post("/runs/claim", {}).json()["payload"])
        assert self.post(f"/attempts/{ticket.attempt_id}/start", {"fence": ticket.fence}).status_code == 200
        return ticket

    def hand_in(self, ticket, **how):
        bundle = make_bundle(ticket.run, attempt_id=ticket.attempt_id, fence=ticket.fence, **how)
        body = sign_bundle(bundle, self.key).model_dump(mode="json")
        return self.post(f"/attempts/{ticket.attempt_id}/bundle?fence={ticket.fence}", body)


@pytest.fixture
def node(client):
    return NodeClient(client)


def code_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_a_node_goes_from_enrolment_to_an_accepted_result(node):
    run = make_run(samples=5)
    assert node.answer["queue"] == "pool.local-cpu"
    ticket = node.take()
    assert ticket.run.run_id == str(run.pk)
    beat = node.post(
        f"/attempts/{ticket.attempt_id}/beat",
        {"fence": 1, "log": "line\n", "progress": {"done": 1, "total": 5}},
    )
    assert (beat.json()["cancel"], beat.json()["drain"]) == (False, False)
    answer = node.hand_in(ticket)
    assert (answer.status_code, answer.json()["state"], answer.json()["run_state"]) == (200, "accepted", "accepted")


def test_an_empty_queue_answers_204(node):
    answer = node.post("/runs/claim", {})
    assert (answer.status_code, answer.content) == (204, b"")


def test_the_same_bundle_gets_the_same_answer_and_another_one_409(node):
    make_run(samples=5)
    ticket = node.take()
    answers = {node.hand_in(ticket).content for _ in range(10)}
    assert len(answers) == 1
    assert code_of(node.hand_in(ticket, answer=lambda target: "")) == (409, "conflict")
    assert Bundle.objects.count() == 1


@pytest.mark.parametrize(
    "path", ["/runs/claim", f"/attempts/{NONE}/start", f"/attempts/{NONE}/beat", f"/attempts/{NONE}/fail"]
)
@pytest.mark.parametrize("kind", ["none", "unknown", "person"])
def test_node_routes_let_nobody_else_in(client, path, kind):
    _, person = make_token(user=make_user(), name="t", scope="submit", days=1, now=timezone.now())
    token = {"none": "", "unknown": "lbn_wrong", "person": person}[kind]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = client.post(f"/api/v1{path}", {"fence": 1}, content_type="application/json", headers=headers)
    assert code_of(answer) == (401, "unauthorised")


def test_another_nodes_attempt_looks_like_none(client, node):
    make_run()
    ticket = node.take()
    other = NodeClient(client, "other")
    for verb in ("start", "beat"):
        assert code_of(other.post(f"/attempts/{ticket.attempt_id}/{verb}", {"fence": 1})) == (404, "not_found")
    assert other.hand_in(ticket).status_code == 404


def test_a_node_whose_lease_ended_is_told_to_stop_with_410(node):
    make_run()
    ticket = node.take()
    sweep(now=ticket.lease_until + timezone.timedelta(seconds=1))
    assert code_of(node.post(f"/attempts/{ticket.attempt_id}/beat", {"fence": 1})) == (410, "fenced_off")


def test_a_revoked_node_is_refused_at_its_next_call(node):
    make_run()
    set_node_state(node=Node.objects.get(), state=Node.State.REVOKED, actor=make_user(is_staff=True))
    assert code_of(node.post("/runs/claim", {})) == (401, "unauthorised")
    assert Run.objects.get().state == Run.State.QUEUED


@pytest.mark.parametrize(
    "change, says",
    [
        ({"payload": "{}"}, "signature"),
        ({"signature": "00"}, "signature"),
        ({"public_key": "00" * 32}, "another key"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_malformed_bundle_is_refused_and_the_run_goes_on(node, change, says):
    make_run(samples=5)
    ticket = node.take()
    bundle = make_bundle(ticket.run, attempt_id=ticket.attempt_id, fence=ticket.fence)
    body = sign_bundle(bundle, node.key).model_dump(mode="json") | change
    answer = node.post(f"/attempts/{ticket.attempt_id}/bundle?fence=1", body)
    assert answer.status_code in (400, 403, 422)
    assert says in answer.json()["error"]["message"]
    assert not Bundle.objects.exists()
    assert Run.objects.get().state == Run.State.RUNNING


def test_numbers_that_are_none_are_refused(node):
    make_run(samples=5)
    ticket = node.take()
    bundle = make_bundle(ticket.run, attempt_id=ticket.attempt_id, fence=1).model_dump(mode="json")
    bundle["measurements"][0]["value"] = float("nan")
    payload = json.dumps(bundle).encode()
    signed = {
        "payload": payload.decode(),
        "public_key": sign_bundle(make_bundle(ticket.run, attempt_id="x", fence=1), node.key).public_key,
        "signature": node.key.sign(payload).hex(),
    }
    answer = node.post(f"/attempts/{ticket.attempt_id}/bundle?fence=1", signed)
    assert code_of(answer) == (400, "bad_request")
    assert "measurements/0/value" in answer.json()["error"]["message"]


def test_a_body_larger_than_the_site_takes_answers_413(node, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000
    make_run()
    ticket = node.take()
    answer = node.post(f"/attempts/{ticket.attempt_id}/bundle?fence=1", {"payload": "x" * 20_000})
    assert code_of(answer) == (413, "too_large")


def test_a_spent_code_enrols_nobody(client, node):
    answer = node.post("/nodes/enrol", {
        "code": "lbe_spent", "name": "x", "public_key": "a" * 64, "report": REPORT.model_dump(mode="json"),
    })  # fmt: skip
    assert code_of(answer) == (401, "unauthorised")
