"""Checkpoints through the API and the plain form: the way of a sound one, and every refusal with its status."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from tests import factories
from tests.checkpoints.checkpoint_files import CONFIG, GOOD, HOLE, WEIGHTS, files_of, send

from longboard.checkpoints import services, storage
from longboard.checkpoints.models import Checkpoint
from longboard.registry.models import Model
from longboard_tasks.contract import sha256

pytestmark = pytest.mark.django_db


def test_the_api_announces_takes_pieces_completes_and_drops(client, ada):
    body = files_of(GOOD).model_dump(mode="json")
    how = {"headers": ada.headers, "content_type": "application/json"}
    made = client.post("/api/v1/checkpoints", body, **how)
    assert made.status_code == 201, made.content
    assert client.post("/api/v1/checkpoints", body, **how).status_code == 200
    base = f"/api/v1/checkpoints/{made.json()['id']}"
    for name, content in GOOD.items():
        put = client.put(
            f"{base}/files/{name}?offset=0&sha256={sha256(content)}", content, content_type="application/octet-stream",
            headers=ada.headers,
        )  # fmt: skip
        assert put.json()["next_offset"] == len(content)
    assert all(f["next_offset"] == f["size"] for f in client.get(base, headers=ada.headers).json()["files"])
    done = client.post(f"{base}/complete", **how)
    assert done.json()["source"] == "upload"
    assert client.delete(base, headers=ada.headers).status_code == 204
    assert client.get(base, headers=ada.headers).status_code == 404


def test_another_persons_upload_is_not_there_for_anybody_else(client, ada):
    checkpoint = send(factories.make_user("bob"), GOOD)
    base = f"/api/v1/checkpoints/{checkpoint.pk}"
    assert client.get(base, headers=ada.headers).status_code == 404
    assert client.post(f"{base}/complete", headers=ada.headers).status_code == 404
    assert client.delete(base, headers=ada.headers).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"CONTENT_LENGTH": str(10**12)}, 413),
        ({"CONTENT_LENGTH": "-1"}, 413),
        ({"CONTENT_LENGTH": "1e3"}, 413),
        ({"CONTENT_LENGTH": str(9 * 2**20)}, 400),
        ({"CONTENT_LENGTH": "3"}, 400),
        ({"HTTP_CONTENT_ENCODING": "gzip"}, 400),
    ],
)
def test_a_body_that_is_too_large_packed_or_lies_about_its_length_is_refused(client, ada, headers, status):
    checkpoint, _ = services.announce(owner=ada, request=files_of(GOOD), now=timezone.now())
    address = f"/api/v1/checkpoints/{checkpoint.pk}/files/model.safetensors?offset=0&sha256={sha256(WEIGHTS)}"
    answer = client.put(address, WEIGHTS, content_type="application/octet-stream", headers=ada.headers, **headers)
    assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert not storage.folder_of(checkpoint.pk).exists()


def test_an_oversized_form_is_refused_before_it_is_unpacked(client, ada):
    client.force_login(ada)
    answer = client.post("/models/upload/", {"title": "x"}, CONTENT_LENGTH=str(10**11))
    assert answer.status_code == 413


def form_of(files: dict[str, bytes], **fields) -> dict:
    return {"title": "Mine", "chosen": [SimpleUploadedFile(name, content) for name, content in files.items()], **fields}


def test_the_plain_form_takes_small_files_and_leads_to_the_model(client, ada):
    client.force_login(ada)
    answer = client.post("/models/upload/", form_of(GOOD), follow=True)
    assert answer.status_code == 200
    model = Model.objects.get(source="upload")
    assert answer.redirect_chain[-1][0] == f"/models/{model.slug}/"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({**GOOD, "modeling.py": b"import os"}, "is not taken"),
        ({**GOOD, "model.safetensors": HOLE}, "bytes are shared or unused"),
        ({"config.json": CONFIG, "tokenizer.json": b"{}"}, "There are no weights"),
    ],
)
def test_a_refused_form_says_why_and_leaves_nothing_behind(
    client, ada, files, says, django_capture_on_commit_callbacks
):
    client.force_login(ada)
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post("/models/upload/", form_of(files))
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert not Checkpoint.objects.exists()
    assert not storage.root().exists() or not any(storage.root().iterdir())


def test_too_much_for_a_plain_form_is_refused(client, ada, monkeypatch):
    monkeypatch.setattr("longboard.checkpoints.forms.PLAIN_BYTES", 100)
    client.force_login(ada)
    assert "by plain form at most" in client.post("/models/upload/", form_of(GOOD)).content.decode()


def test_a_form_without_its_csrf_token_is_refused(ada):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    assert strict.post("/models/upload/", form_of(GOOD)).status_code == 403
