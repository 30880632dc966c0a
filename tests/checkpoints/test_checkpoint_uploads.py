"""Uploaded checkpoints: announced, sent in pieces, resumed, completed, dropped; and pieces that lie."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone
from tests import factories
from tests.checkpoints.checkpoint_files import CONFIG, GOOD, WEIGHTS, files_of, send, upload

from longboard.checkpoints import services, storage
from longboard.checkpoints.models import Checkpoint
from longboard.checkpoints.requests import CheckpointRequest
from longboard.errors import BadRequest, Conflict, NotFound, QuotaExceeded
from longboard.registry.models import Model
from longboard_tasks.contract import sha256

pytestmark = pytest.mark.django_db


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
