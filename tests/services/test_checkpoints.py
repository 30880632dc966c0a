"""Uploaded checkpoints: in pieces, resumed, looked into; and everything that a hostile uploader may try."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from tests import factories

from longboard.accounts.services import make_token
from longboard.checkpoints import services, storage
from longboard.checkpoints.inspection import check_json, check_plain, read_header
from longboard.checkpoints.models import Checkpoint
from longboard.checkpoints.requests import CheckpointRequest
from longboard.errors import BadRequest, Conflict, NotFound, QuotaExceeded
from longboard.registry.models import Model
from longboard_tasks.contract import sha256

pytestmark = pytest.mark.django_db

CONFIG = json.dumps(
    {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048, "hidden_size": 4}
).encode()


def tensors_file(header: dict | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(dtype="F32", shape=(2, 3), offsets=(0, 24), **more) -> dict:
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}}


WEIGHTS = tensors_file({"__metadata__": {"format": "pt"}, **one()}, bytes(24))


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path


def files_of(files: dict[str, bytes], **fields) -> CheckpointRequest:
    listed = [{"name": name, "size": len(content)} for name, content in files.items()]
    return CheckpointRequest.model_validate({"title": "Mine", "files": listed, **fields})


def send(user, files: dict[str, bytes], *, piece: int = 10**6, now=None, **fields) -> Checkpoint:
    now = now or timezone.now()
    checkpoint, _ = services.announce(owner=user, request=files_of(files, **fields), now=now)
    for name, content in files.items():
        for at in range(0, len(content), piece):
            part = content[at : at + piece]
            services.put_piece(checkpoint=checkpoint, name=name, offset=at, content=part, digest=sha256(part), now=now)
    return checkpoint


def upload(user, files: dict[str, bytes], **how) -> Model:
    return services.complete(checkpoint=send(user, files, **how), now=timezone.now())


GOOD = {"model.safetensors": WEIGHTS, "config.json": CONFIG, "tokenizer.json": b'{"version": "1.0"}'}


def test_pieces_become_a_model_that_is_pinned_by_its_digest():
    ada = factories.make_user("ada")
    model = upload(ada, GOOD, piece=7)
    assert (model.source, model.owner, model.parameters, model.max_positions) == ("upload", ada, 6, 2048)
    assert (model.family, model.architecture) == ("llama", "LlamaForCausalLM")
    assert model.as_ref().id == model.ref  # what a node gets is a valid reference
    assert upload(ada, GOOD).revision == model.revision
    other = upload(ada, {**GOOD, "config.json": CONFIG.replace(b"2048", b"4096")})
    assert other.revision != model.revision
    assert storage.path_of(model.checkpoint.pk, "model.safetensors").read_bytes() == WEIGHTS


def test_an_upload_goes_on_where_it_was_cut_off():
    ada, now = factories.make_user(), timezone.now()
    first, created = services.announce(owner=ada, request=files_of(GOOD), now=now)
    services.put_piece(
        checkpoint=first, name="model.safetensors", offset=0, content=WEIGHTS[:30], digest=sha256(WEIGHTS[:30]), now=now
    )
    again, made = services.announce(owner=ada, request=files_of(GOOD), now=now)
    assert (again, created, made) == (first, True, False)
    file = again.files.get(name="model.safetensors")
    assert file.received == 30
    # A crash left bytes that no row knows of: they are cut off.
    with storage.path_of(first.pk, file.name).open("ab") as disk:
        disk.write(b"half a piece")
    rest = WEIGHTS[30:]
    services.put_piece(checkpoint=again, name=file.name, offset=30, content=rest, digest=sha256(rest), now=now)
    assert storage.path_of(first.pk, file.name).read_bytes() == WEIGHTS
    # The answer was lost: the same piece again changes nothing.
    repeated = services.put_piece(
        checkpoint=again, name=file.name, offset=30, content=rest, digest=sha256(rest), now=now
    )
    assert repeated.received == len(WEIGHTS)


def test_completing_twice_gives_the_same_model_and_nothing_changes_afterwards():
    checkpoint = send(factories.make_user(), GOOD)
    model = services.complete(checkpoint=checkpoint, now=timezone.now())
    assert services.complete(checkpoint=checkpoint, now=timezone.now()) == model
    with pytest.raises(Conflict, match="complete"):
        services.put_piece(
            checkpoint=checkpoint, name="config.json", offset=0, content=b"x", digest=sha256(b"x"), now=timezone.now()
        )


# --- What is announced -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors", "/etc/passwd", "a/model.safetensors", "model.safetensors/..", "..", ".env",
        "model.safetensors\x00",
        "C:\\config.json", "weights.zip", "model.tar.gz", "pytorch_model.bin", "model.pkl", "modeling_mine.py",
        "MODEL.SAFETENSORS",
        "model-1-of-2.safetensors", "tokenizer.json.gz", "model.gguf", "",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder_or_brings_code_or_an_archive(name):
    with pytest.raises(ValueError, match=r"is not taken|at least 1 character"):
        files_of({"model.safetensors": WEIGHTS, "config.json": CONFIG, name: b"x"})


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"model.safetensors": b"x", "tokenizer.json": b"{}"}, "config.json is missing"),
        ({"tokenizer.json": b"{}", "config.json": b"{}"}, "no weights"),
        ({"config.json": b" " * (2**20 + 1), "model.safetensors": b"x"}, "at most 1048576 bytes"),
        (
            {"config.json": b"{}", "model.safetensors": b"x", "model-00001-of-00002.safetensors": b"x"},
            "or its parts, not both",
        ),
    ],
)
def test_an_announcement_is_a_model(files, says):
    with pytest.raises(ValueError, match=says):
        files_of(files)


def test_more_than_a_checkpoint_may_have_is_refused_before_a_byte_is_sent():
    listed = [{"name": "config.json", "size": 10}] + [
        {"name": f"model-{i:05}-of-00003.safetensors", "size": 2**31} for i in (1, 2, 3)
    ]
    with pytest.raises(ValueError, match="at most"):
        CheckpointRequest.model_validate({"title": "Huge", "files": listed})
    with pytest.raises(ValueError, match="less than or equal"):
        CheckpointRequest.model_validate(
            {"title": "Huge", "files": [listed[0], {"name": "model.safetensors", "size": 2**62}]}
        )


def test_quotas_bound_uploads_under_way_and_bytes_held(monkeypatch):
    ada, now = factories.make_user(), timezone.now()
    for i in range(services.MAX_OPEN):
        services.announce(owner=ada, request=files_of(GOOD, title=f"M{i}"), now=now)
    with pytest.raises(QuotaExceeded, match="under way"):
        services.announce(owner=ada, request=files_of(GOOD, title="One more"), now=now)
    bob = factories.make_user()
    monkeypatch.setattr(services, "QUOTA_BYTES", 300)
    upload(bob, GOOD)
    with pytest.raises(QuotaExceeded, match="bytes here"):
        upload(bob, {**GOOD, "tokenizer.json": b'{"a": "' + b"b" * 200 + b'"}'})


def test_a_full_disk_is_said_before_anything_is_taken(monkeypatch):
    monkeypatch.setattr(storage, "free_bytes", lambda: services.KEPT_FREE_BYTES)
    with pytest.raises(BadRequest, match="no room"):
        services.announce(owner=factories.make_user(), request=files_of(GOOD), now=timezone.now())


# --- Pieces that lie -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"offset": 5}, "goes on at byte 0"),
        ({"digest": "0" * 64}, "does not fit its digest"),
        ({"content": b""}, "1 to"),
        ({"content": b"x" * 10_000}, "runs over"),
        ({"content": b"x" * (services.MAX_CHUNK_BYTES + 1)}, "1 to"),
    ],
)
def test_a_piece_that_lies_about_itself_is_refused_and_leaves_nothing(how, says):
    checkpoint, _ = services.announce(owner=factories.make_user(), request=files_of(GOOD), now=timezone.now())
    piece = {"offset": 0, "content": WEIGHTS, **how}
    piece.setdefault("digest", sha256(piece["content"]))
    with pytest.raises(BadRequest, match=says):
        services.put_piece(checkpoint=checkpoint, name="model.safetensors", now=timezone.now(), **piece)
    assert not storage.folder_of(checkpoint.pk).exists()


@pytest.mark.parametrize("name", ["../../x", "other.safetensors", "model.safetensors\x00", ""])
def test_a_piece_goes_only_to_a_file_that_was_announced(name):
    checkpoint, _ = services.announce(owner=factories.make_user(), request=files_of(GOOD), now=timezone.now())
    with pytest.raises(NotFound):
        services.put_piece(
            checkpoint=checkpoint, name=name, offset=0, content=b"x", digest=sha256(b"x"), now=timezone.now()
        )


def test_an_announced_digest_is_held_against_the_whole_file():
    ada, now = factories.make_user(), timezone.now()
    listed = [{"name": name, "size": len(content), "sha256": "0" * 64} for name, content in GOOD.items()]
    request = CheckpointRequest.model_validate({"title": "Mine", "files": listed})
    checkpoint, _ = services.announce(owner=ada, request=request, now=now)
    for name, content in GOOD.items():
        services.put_piece(checkpoint=checkpoint, name=name, offset=0, content=content, digest=sha256(content), now=now)
    with pytest.raises(BadRequest, match="was announced"):
        services.complete(checkpoint=checkpoint, now=now)
    assert not Model.objects.filter(source="upload").exists()


def test_a_file_that_is_not_whole_is_no_model():
    checkpoint, _ = services.announce(owner=factories.make_user(), request=files_of(GOOD), now=timezone.now())
    with pytest.raises(BadRequest, match="0 of"):
        services.complete(checkpoint=checkpoint, now=timezone.now())


def test_a_link_in_the_folder_is_not_written_through(media):
    checkpoint, _ = services.announce(owner=factories.make_user(), request=files_of(GOOD), now=timezone.now())
    victim = media / "victim"
    victim.write_text("mine")
    storage.folder_of(checkpoint.pk).mkdir(parents=True)
    storage.path_of(checkpoint.pk, "config.json").symlink_to(victim)
    with pytest.raises(OSError):
        services.put_piece(
            checkpoint=checkpoint,
            name="config.json",
            offset=0,
            content=CONFIG,
            digest=sha256(CONFIG),
            now=timezone.now(),
        )
    assert victim.read_text() == "mine"


# --- Headers that lie ------------------------------------------------------------------------------------------------

TWO = {
    "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
    "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
}
LIES = {
    "too short": b"abc",
    "length beyond the file": struct.pack("<Q", 10**6) + b"{}",
    "length of exabytes": struct.pack("<Q", 2**63) + b"{}",
    "length zero": struct.pack("<Q", 0) + b"{}",
    "no object": tensors_file(b"[1,2]"),
    "blanks in front": tensors_file(b"  {}"),
    "no JSON": tensors_file(b"{nope"),
    "a name twice": tensors_file(b'{"w":%b,"w":%b}' % ((json.dumps(one("U8", (1,), (0, 1))["w"]).encode(),) * 2), b"x"),
    "deep nesting": tensors_file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "unknown type": tensors_file(one("PICKLE"), bytes(24)),
    "negative shape": tensors_file(one(shape=(-2, -3)), bytes(24)),
    "float shape": tensors_file(one(shape=(2.0, 3.0)), bytes(24)),
    "true in a shape": tensors_file(one(shape=(True, 6)), bytes(24)),
    "huge shape": tensors_file(one(shape=(2**52, 2**52)), bytes(24)),
    "many dimensions": tensors_file(one(shape=(1,) * 9 + (6,)), bytes(24)),
    "offsets backwards": tensors_file(one(offsets=(24, 0)), bytes(24)),
    "offsets beyond the file": tensors_file(one(offsets=(0, 24)), bytes(20)),
    "bytes behind the last tensor": tensors_file(one(), bytes(30)),
    "size that its shape does not have": tensors_file(one(shape=(2, 2)), bytes(24)),
    "further fields": tensors_file(one(code="x"), bytes(24)),
    "shared bytes": tensors_file(TWO | {"b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}, bytes(6)),
    "a hole": tensors_file(TWO | {"b": {"dtype": "U8", "shape": [4], "data_offsets": [6, 10]}}, bytes(10)),
    "an archive": b"PK\x03\x04" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(tmp_path, lie):
    path = tmp_path / "model.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(BadRequest, match=r"^model\.safetensors: "):
        read_header(path, "model.safetensors")


def test_what_the_formats_own_writer_makes_is_taken(tmp_path):
    numpy = pytest.importorskip("numpy")
    save_file = pytest.importorskip("safetensors.numpy").save_file
    path = tmp_path / "model.safetensors"
    tensors = {f"t{i}": numpy.zeros((i, 3), dtype) for i, dtype in enumerate(("f4", "f2", "i8", "u1", "?"))}
    save_file(tensors, path, metadata={"format": "np"})
    header = read_header(path, path.name)
    assert (header.tensors, header.elements) == (frozenset(tensors), sum(t.size for t in tensors.values()))


def test_the_header_is_read_and_not_the_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    length = 2**33
    with path.open("wb") as file:
        file.write(tensors_file({"w": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}))
        file.truncate(file.tell() + length)  # 8 GiB on paper, a few blocks on disk
    assert read_header(path, path.name).elements == length


def archive_bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.safetensors", bytes(20 * 2**20))
    return packed.getvalue()


@pytest.mark.parametrize(
    "content",
    [archive_bomb(), gzip.compress(bytes(10**6)), b"\x80\x04\x95", b"#!/bin/sh", bytes(257) + b"ustar" + bytes(40)],
    ids=["zip bomb", "gzip", "pickle", "script", "tar"],
)
@pytest.mark.parametrize("name", ["tokenizer.model", "merges.txt"])
def test_an_archive_under_another_name_is_refused_and_never_unpacked(content, name):
    with pytest.raises(BadRequest, match="none is taken"):
        upload(factories.make_user(), {**GOOD, name: content})


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "modeling.Mine"}}, {"text_config": {"auto_map": {}}}, {"trust_remote_code": True},
        {"_attn_implementation_internal": "owner/kernel"}, {"attn_implementation": "owner/kernel"}, {"use_kernels": True},
    ],
)  # fmt: skip
def test_a_configuration_that_would_run_code_is_refused(config):
    text = json.dumps({"model_type": "llama", **config}).encode()
    with pytest.raises(BadRequest, match=r"code|Python"):
        upload(factories.make_user(), {**GOOD, "config.json": text})


@pytest.mark.parametrize("text", [b"[]", b"nope", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(text)
    with pytest.raises(BadRequest):
        check_json(path, "tokenizer.json")


def test_plain_files_are_taken(tmp_path):
    path = tmp_path / "merges.txt"
    path.write_text("#version: 0.2\na b\n")
    check_plain(path, "merges.txt")


def test_an_index_names_only_weights_that_came_along():
    index = json.dumps({"weight_map": {"w": "model-00002-of-00002.safetensors"}}).encode()
    with pytest.raises(BadRequest, match="not uploaded"):
        upload(factories.make_user(), {**GOOD, "model.safetensors.index.json": index})


def test_a_tensor_in_two_parts_is_refused():
    parts = {f"model-0000{i}-of-00002.safetensors": WEIGHTS for i in (1, 2)}
    with pytest.raises(BadRequest, match="in another file too"):
        upload(factories.make_user(), {**parts, "config.json": CONFIG})


# --- The end of an upload --------------------------------------------------------------------------------------------


def test_an_abandoned_upload_is_dropped_with_its_files_and_a_live_or_complete_one_stays(
    django_capture_on_commit_callbacks,
):
    ada, now = factories.make_user(), timezone.now()
    old = send(ada, GOOD, title="Old", now=now - services.ABANDONED_AFTER - timedelta(minutes=1))
    fresh = send(ada, GOOD, title="Fresh", now=now)
    whole = send(ada, GOOD, title="Whole", now=now - timedelta(days=9))
    services.complete(checkpoint=whole, now=now - timedelta(days=9))
    stray = storage.root() / ("ab" * 16)
    stray.mkdir()
    os.utime(stray, (1, 1))
    with django_capture_on_commit_callbacks(execute=True):
        assert services.reap(now=now) == 1
    assert set(Checkpoint.objects.all()) == {fresh, whole}
    assert {p.name for p in storage.root().iterdir()} == {fresh.pk.hex, whole.pk.hex}
    assert not storage.folder_of(old.pk).exists()


def test_a_complete_one_goes_only_while_no_system_is_made_of_it(django_capture_on_commit_callbacks):
    ada = factories.make_user()
    model = upload(ada, GOOD)
    system = factories.make_system(model)
    with pytest.raises(Conflict, match="Systems are made"):
        services.drop(checkpoint=model.checkpoint, actor=ada)
    system.delete()
    with django_capture_on_commit_callbacks(execute=True):
        services.drop(checkpoint=model.checkpoint, actor=ada)
    assert not Model.objects.filter(source="upload").exists()
    assert not any(storage.root().iterdir())


# --- Over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ada():
    user = factories.make_user("ada")
    _, secret = make_token(user=user, name="t", scope="submit", days=1, now=timezone.now())
    user.headers = {"Authorization": f"Bearer {secret}"}
    return user


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
        ({**GOOD, "model.safetensors": LIES["a hole"]}, "bytes are shared or unused"),
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
