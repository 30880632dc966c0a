"""A checkpoint from a person's disk to a node's: the client sends it, the command line too, the node fetches it and checks it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from tests import factories
from tests.checkpoints.checkpoint_files import CONFIG, GOOD, WEIGHTS, files_of
from tests.signing import make_key

from longboard.accounts.services import make_token
from longboard.checkpoints import services, storage
from longboard.checkpoints.models import Checkpoint
from longboard.registry.models import Model
from longboard.submissions.models import Run
from longboard.submissions.specs import spec_of
from longboard_tasks.contract import Ticket, sha256
from longboard_worker.api import Longboard
from longboard_worker.api.calls import ApiError
from longboard_worker.cli import main
from longboard_worker.client import FencedOff, Refused, SiteClient
from longboard_worker.uploads import UploadBroken, fetch_upload

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(live_server, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    _, secret = make_token(user=factories.make_user("ada"), name="t", scope="submit", days=1, now=timezone.now())
    return Longboard(live_server.url, token=secret)


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "mine"
    found.mkdir()
    for name, content in GOOD.items():
        (found / name).write_bytes(content)
    (found / "README.md").write_text("stays at home")
    return found


def test_the_client_sends_a_checkpoint_and_goes_on_after_a_break(site, folder, monkeypatch):
    monkeypatch.setattr("longboard_worker.api.PIECE_BYTES", 16)
    files, real, calls = [folder / name for name in GOOD], site._call, []

    def call(method, path, **how):
        calls.append(method)
        if len(calls) == 5:
            raise ApiError(0, "unreachable", "The line went dead.")
        return real(method, path, **how)

    site._call = call
    with pytest.raises(ApiError, match="went dead"):
        site.upload(files, title="Mine")
    sent = sum(f.received for f in Checkpoint.objects.get().files.all())
    assert 0 < sent < sum(map(len, GOOD.values()))
    told = []
    model = site.upload(files, title="Mine", on_progress=lambda done, total: told.append((done, total)))
    assert model.source == "upload"
    assert told[0][0] == sent + 16  # it went on, and did not begin again
    assert told[-1][0] == told[-1][1] == sum(map(len, GOOD.values()))


def test_the_command_line_uploads_a_folder(site, folder, monkeypatch, capsys, live_server):
    token = site.session.headers["Authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("LONGBOARD_TOKEN", token)
    assert main(["site", "--site", live_server.url, "upload", str(folder), "--title", "Mine"]) == 0
    assert Model.objects.get(source="upload").slug in capsys.readouterr().out
    assert {f.name for f in Checkpoint.objects.get().files.all()} == set(GOOD)
    (folder / "config.json").write_text('{"model_type": "llama", "auto_map": {}}')
    assert main(["site", "--site", live_server.url, "upload", str(folder), "--title", "Bad"]) == 1
    assert "auto_map" in capsys.readouterr().err


@pytest.fixture
def held(site, folder, live_server):
    """A node that holds a run of an uploaded model: (its client, the ticket)."""
    slug = site.upload([folder / name for name in GOOD], title="Mine").slug
    key, public = make_key()
    node = factories.make_node(public_key=public)
    system = factories.make_system(Model.objects.get(slug=slug))
    run = factories.make_run(factories.make_submission(system=system), state=Run.State.RUNNING, fence=1)
    attempt = factories.make_attempt(run, node, lease_until=timezone.now() + timezone.timedelta(minutes=5))
    ticket = Ticket(run=spec_of(run), attempt_id=str(attempt.pk), fence=1, lease_until=attempt.lease_until, beat_s=30)
    return SiteClient(live_server.url, node=str(node.pk), key=key), ticket


def test_the_node_that_holds_the_run_fetches_the_files_and_checks_them(held, tmp_path, monkeypatch):
    client, ticket = held
    monkeypatch.setattr("longboard_worker.uploads.PIECE_BYTES", 50)
    models = tmp_path / "models"
    fetch_upload(client, ticket, models)
    folder = models / ticket.run.system.model.id
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == GOOD
    fetch_upload(client, ticket.model_copy(update={"fence": 99}), models)  # it is here: nothing is asked
    assert [p.name for p in models.iterdir()] == [folder.name]


def test_a_disk_that_takes_nothing_is_told_and_half_a_folder_is_replaced(held, tmp_path):
    client, ticket = held
    (blocked := tmp_path / "blocked").write_text("a file where the folder should be")
    with pytest.raises(UploadBroken, match="could not be stored"):
        fetch_upload(client, ticket, blocked)
    half = tmp_path / "models" / ticket.run.system.model.id
    half.mkdir(parents=True)
    (half / "model.safetensors").write_text("left behind")
    fetch_upload(client, ticket, tmp_path / "models")
    assert {p.name for p in half.iterdir()} == set(GOOD)


def test_files_that_changed_on_the_sites_disk_are_not_run(held, tmp_path):
    client, ticket = held
    path = storage.path_of(Checkpoint.objects.get().pk, "model.safetensors")
    path.write_bytes(WEIGHTS[:-1] + b"\x01")
    with pytest.raises(UploadBroken, match=r"model\.safetensors"):
        fetch_upload(client, ticket, tmp_path / "models")
    assert not any((tmp_path / "models").iterdir())


def test_another_node_and_an_older_fence_get_nothing(held, live_server):
    client, ticket = held
    key, public = make_key()
    other = SiteClient(live_server.url, node=str(factories.make_node(public_key=public).pk), key=key)
    with pytest.raises(Refused) as refused:
        other.upload_files(ticket)
    assert refused.value.status == 404
    with pytest.raises(Refused) as refused:
        client.upload_files(ticket.model_copy(update={"fence": 7}))
    assert refused.value.status == 409
    assert not isinstance(refused.value, FencedOff)


@pytest.mark.parametrize("announced", [len(CONFIG) + 500, 5], ids=["more than comes", "less than comes"])
def test_over_a_real_connection_a_length_that_lies_stores_nothing(site, live_server, announced):
    ada = factories.User.objects.get(username="ada")
    checkpoint, _ = services.announce(owner=ada, request=files_of(GOOD), now=timezone.now())
    path = f"/api/v1/checkpoints/{checkpoint.pk}/files/config.json?offset=0&sha256={sha256(CONFIG)}"
    where = urlsplit(live_server.url)
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: {site.session.headers['Authorization']}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port), timeout=10) as line:
        line.sendall(head.encode() + CONFIG)
        line.shutdown(socket.SHUT_WR)
        answer = line.recv(65_536)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert checkpoint.files.get(name="config.json").received == 0
