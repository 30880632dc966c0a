import json

import pytest
from django.utils import timezone
from tests.factories import make_pool, make_run, make_user
from tests.signing import REPORT, make_bundle, make_key, sign_bundle

from longboard.accounts.services import make_token
from longboard.fleet.models import Node
from longboard.fleet.services import is_signed_by, make_enrolment_code, set_node_state
from longboard.results.models import Bundle
from longboard.submissions.models import Run
from longboard.submissions.sweep import sweep
from longboard_tasks.contract import Ticket, sha256

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


def test_a_ticket_is_signed_by_the_site_for_this_node_and_never_the_same_twice(node):
    make_run()
    payloads = [node.post("/runs/claim", {}).json() for _ in range(2)]  # the first reply was lost
    tickets = [Ticket.model_validate_json(p["payload"]) for p in payloads]
    assert tickets[0].attempt_id == tickets[1].attempt_id
    assert tickets[0].ticket_id != tickets[1].ticket_id
    assert {t.node for t in tickets} == {node.answer["node"]}
    for payload in payloads:
        assert payload["public_key"] == node.answer["server_key"]
        assert is_signed_by(
            public_key=payload["public_key"], signature=payload["signature"], payload=payload["payload"].encode()
        )


def test_a_node_gets_a_fresh_token_for_its_signature(node):
    challenge = node.post("/nodes/challenge", {"node": node.answer["node"]}).json()["challenge"]
    signature = node.key.sign(f"longboard-node-token:{challenge}".encode()).hex()
    body = {"node": node.answer["node"], "challenge": challenge, "signature": signature}
    token = node.post("/nodes/token", body).json()["token"]
    assert node.post("/runs/claim", {}, token=token).status_code == 204
    assert code_of(node.post("/nodes/token", body | {"signature": "0" * 128})) == (401, "unauthorised")


def test_a_draining_node_is_told_so_when_it_asks_for_work(node):
    make_run()
    Node.objects.update(state=Node.State.DRAINING)
    assert code_of(node.post("/runs/claim", {})) == (409, "node_draining")


def test_orders_bring_cancel_and_the_end_of_the_lease_without_renewing_it(node):
    run = make_run()
    ticket = node.take()
    where = f"/api/v1/attempts/{ticket.attempt_id}/orders?fence=1"

    def orders():
        return node.client.get(where, headers={"Authorization": f"Bearer {node.token}"})

    before = run.attempts.get().lease_until
    assert orders().json()["cancel"] is False
    run.attempts.update(cancel_requested=True)
    assert orders().json()["cancel"] is True
    assert run.attempts.get().lease_until == before
    sweep(now=timezone.now() + timezone.timedelta(seconds=600))
    assert code_of(orders()) == (410, "fenced_off")


def test_a_bundle_in_pieces_is_taken_like_one_in_a_call(node):
    import gzip

    make_run(samples=20)
    ticket = node.take()
    signed = sign_bundle(make_bundle(ticket.run, attempt_id=ticket.attempt_id, fence=ticket.fence), node.key)
    packed = gzip.compress(signed.payload.encode(), mtime=0)
    headers = {"Authorization": f"Bearer {node.token}"}
    base = f"/api/v1/attempts/{ticket.attempt_id}"
    for offset in range(0, len(packed), 700):
        piece = packed[offset : offset + 700]
        answer = node.client.put(
            f"{base}/upload?fence=1&offset={offset}&sha256={sha256(piece)}", piece, headers=headers,
            content_type="application/octet-stream",
        )  # fmt: skip
        assert answer.json()["next_offset"] == offset + len(piece), answer.content
    body = {
        "fence": 1, "sha256": sha256(signed.payload.encode()), "public_key": signed.public_key,
        "signature": signed.signature,
    }  # fmt: skip
    answers = [node.post(f"/attempts/{ticket.attempt_id}/complete", body) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["run_state"] == "accepted"
    assert code_of(node.post(f"/attempts/{ticket.attempt_id}/complete", body | {"sha256": "0" * 64})) == (
        409,
        "conflict",
    )


def test_while_the_database_is_away_the_site_says_503_and_when_to_ask_again(node, monkeypatch):
    from django.db import OperationalError

    def broken(**_):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("longboard.api.nodes.lease.claim", broken)
    answer = node.post("/runs/claim", {})
    assert (code_of(answer), answer["Retry-After"]) == ((503, "unavailable"), "5")
