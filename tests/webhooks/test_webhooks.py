"""Webhooks: who is told what and when, and 150 addresses that must not be called."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
from datetime import timedelta

import pytest
from tests import factories

from longboard.errors import BadRequest, Conflict
from longboard.submissions.models import Run
from longboard.webhooks import outgoing
from longboard.webhooks.models import Delivery, Webhook
from longboard.webhooks.outgoing import NotSent, public_addresses, read_address, sign
from longboard.webhooks.services import GIVE_UP, RETRIES, deliver_due, find_events, make_webhook

pytestmark = pytest.mark.django_db

URL = "https://hooks.example.org/longboard?x=1"
START = factories.NOW


def later(seconds: float):
    return START + timedelta(seconds=seconds)


def ended(author, seconds=10, state=Run.State.ACCEPTED):
    run = factories.make_run(factories.make_submission(author))
    Run.objects.filter(pk=run.pk).update(state=state, finished_at=later(seconds))
    run.refresh_from_db()
    return run


class Receiver:
    def __init__(self, *statuses):
        self.statuses, self.calls = list(statuses), []

    def __call__(self, url, body, headers):
        self.calls.append((url, body, headers))
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, Exception):
            raise status
        return status


@pytest.fixture
def hook():
    return make_webhook(user=factories.make_user("ada"), url=URL, now=START)


def test_the_author_of_a_run_that_ended_is_told_once_and_nobody_else(hook):
    run = ended(hook.user)
    ended(factories.make_user("bob"))
    assert find_events(now=later(20)) == 1
    assert find_events(now=later(21)) == 0
    receiver = Receiver()
    assert deliver_due(now=later(22), send=receiver) == 1
    assert deliver_due(now=later(90_000), send=receiver) == 0
    ((url, body, _),) = receiver.calls
    told = json.loads(body)
    assert url == URL
    assert (told["event"], told["run"], told["context_length"]) == ("run.accepted", str(run.pk), 1024)


def test_what_ended_before_the_webhook_was_made_is_not_told(hook):
    ended(hook.user, seconds=-10)
    assert find_events(now=later(20)) == 0


def test_a_run_that_ends_again_is_another_event(hook):
    run = ended(hook.user)
    find_events(now=later(20))
    Run.objects.filter(pk=run.pk).update(finished_at=later(30))
    assert find_events(now=later(40)) == 1


def test_the_signature_covers_time_and_body(hook):
    ended(hook.user)
    find_events(now=later(20))
    receiver = Receiver()
    deliver_due(now=later(22), send=receiver)
    _, body, headers = receiver.calls[0]
    stamp, _, digest = headers["Longboard-Signature"].partition(",")
    seconds = stamp.removeprefix("t=")
    expected = hmac.new(hook.secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert digest == f"v1={expected}"
    assert int(seconds) == int(later(22).timestamp())
    assert sign("other", body, int(seconds)) != headers["Longboard-Signature"]


def test_failures_are_tried_again_later_and_later_and_then_given_up(hook):
    ended(hook.user)
    find_events(now=later(20))
    receiver = Receiver(500, NotSent("No answer: TimeoutError."), 302, 404, 500, 500)
    moment = later(22)
    for pause in RETRIES:
        assert deliver_due(now=moment, send=receiver) == 0
        assert deliver_due(now=moment + pause - timedelta(seconds=1), send=receiver) == 0, "not before its time"
        moment += pause
    assert deliver_due(now=moment, send=receiver) == 0
    row = Delivery.objects.get()
    assert (row.attempts, row.next_at, row.delivered_at, row.error) == (6, None, None, "The answer was 500.")
    assert len(receiver.calls) == 6
    assert Webhook.objects.get().failures == 1


def test_a_webhook_that_never_answers_stops_by_itself(hook):
    Webhook.objects.update(failures=GIVE_UP - 1)
    ended(hook.user)
    find_events(now=later(20))
    Delivery.objects.update(attempts=len(RETRIES))
    deliver_due(now=later(22), send=Receiver(500))
    assert Webhook.objects.get().stopped_at is not None
    ended(hook.user, seconds=30)
    assert find_events(now=later(60)) == 0


def test_a_person_has_five_webhooks_at_most_and_none_twice(hook):
    with pytest.raises(Conflict, match="already"):
        make_webhook(user=hook.user, url=URL, now=START)
    for i in range(4):
        make_webhook(user=hook.user, url=f"{URL}&n={i}", now=START)
    with pytest.raises(Conflict, match="most"):
        make_webhook(user=hook.user, url="https://hooks.example.org/6", now=START)


def test_the_page_shows_the_secret_once_and_only_its_owner_can_delete(client, hook):
    client.force_login(hook.user)
    page = client.post("/accounts/webhooks/", {"url": "https://hooks.example.org/new"})
    secret = Webhook.objects.get(url="https://hooks.example.org/new").secret
    assert secret in page.content.decode()
    assert secret not in client.get("/accounts/webhooks/").content.decode()
    client.force_login(factories.make_user("eve"))
    assert client.post(f"/accounts/webhooks/{hook.pk}/delete/").status_code == 404
    client.force_login(hook.user)
    assert client.post(f"/accounts/webhooks/{hook.pk}/delete/").status_code == 302
    assert not Webhook.objects.filter(pk=hook.pk).exists()


# --- Addresses that must not be called -------------------------------------------------------------------------------

INNER = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.9.9", "192.168.0.1",  # noqa: S104
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.254", "192.0.0.1", "192.0.2.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::", "2001:db8::1",
    "2001:0:7f00:1::", "100::1", "fec0::1",
]  # fmt: skip
SPELLINGS = [
    "https://localhost/", "https://LOCALHOST/", "https://db/", "https://redis:443/", "https://2130706433/", "https://0x7f000001/",
    "https://0177.0.0.1/", "https://127.1/", "https://0x7f.1/", "https://127.0.0.1.:443/", "https://[::1%25lo]/",
    "http://hooks.example.org/", "ftp://hooks.example.org/", "file:///etc/passwd", "gopher://hooks.example.org/",
    "https:///path", "https://", "//hooks.example.org/", "hooks.example.org", "javascript:alert(1)", "data:text/plain,x",
    "https://user@hooks.example.org/", "https://user:pass@hooks.example.org/", "https://hooks.example.org@127.0.0.1/",
    "https://127.0.0.1\\@hooks.example.org/", "https://hooks.example.org:22/", "https://hooks.example.org:6379/",
    "https://hooks.example.org:5432/", "https://hooks.example.org:80/", "https://hooks.example.org:99999/",
    "https://hooks.example.org:x/", "https://hooks.example.org/a b", "https://hooks.example.org/\r\nX-Evil: 1",
    "https://hooks.example.org/\n", "https://hooks.example.org/\x00", "https://hooks.example.org/\t", "https://höoks.example.org/",
    "https://①②⑦.0.0.1/", "https://hooks。example。org/", "https://[::1", "https://[not-an-ip]/",
    "https://hooks.example.org/" + "a" * 500,
]  # fmt: skip


@pytest.mark.parametrize("url", [f"https://[{ip}]/" if ":" in ip else f"https://{ip}/" for ip in INNER] + SPELLINGS)
def test_an_address_of_ours_or_a_malformed_one_is_refused_when_it_is_given(url):
    with pytest.raises(BadRequest):
        read_address(url)


@pytest.mark.parametrize("ip", INNER)
def test_a_name_that_leads_inside_is_not_called_even_beside_a_public_address(monkeypatch, ip):
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    answers = [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 443)), (family, 1, 6, "", (ip, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: answers)
    called = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: called.append(a))
    with pytest.raises(NotSent):
        outgoing.post(URL, b"{}", {})
    assert not called


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    """A name that answers differently the second time gains nothing: it is asked once, and the socket gets the number."""
    asked, called = [], []

    def resolve(*args, **kwargs):
        asked.append(args)
        return [(socket.AF_INET, 1, 6, "", ("93.184.216.34" if len(asked) == 1 else "127.0.0.1", 443))]

    def connect(address, **kwargs):
        called.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(NotSent, match="No answer"):
        outgoing.post(URL, b"{}", {})
    assert (len(asked), called) == (1, [("93.184.216.34", 443)])


def test_public_addresses_pass():
    assert read_address("https://hooks.example.org").path == "/"
    assert read_address("https://93.184.216.34:8443/a?b=c").port == 8443
    assert read_address("https://[2606:2800:220:1::1]/x").host == "2606:2800:220:1::1"


def test_a_name_that_is_not_known_is_said(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NotSent, match="not known"):
        public_addresses("nowhere.example.org", 443)


def _server(reply: bytes, seen: list[bytes]):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        peer, _ = listener.accept()
        with peer:
            seen.append(peer.recv(65_536))
            peer.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    return listener


class PlainContext(ssl.SSLContext):
    """Stands where TLS is, so that the test needs no certificate."""

    def wrap_socket(self, sock, **kwargs):
        return sock


def test_a_redirect_is_not_followed(monkeypatch):
    seen: list[bytes] = []
    listener = _server(b"HTTP/1.1 302 Found\r\nLocation: https://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", seen)
    real = socket.create_connection
    monkeypatch.setattr(outgoing, "public_addresses", lambda host, port: ["93.184.216.34"])
    monkeypatch.setattr(socket, "create_connection", lambda address, **k: real(listener.getsockname(), **k))
    status = outgoing.post(URL, b'{"a": 1}', {"X": "y"}, context=PlainContext(ssl.PROTOCOL_TLS_CLIENT))
    assert status == 302
    assert seen[0].startswith(b"POST /longboard?x=1 HTTP/1.1\r\nHost: hooks.example.org")
    assert len(seen) == 1
