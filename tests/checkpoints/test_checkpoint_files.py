"""Looking into the files of a checkpoint: headers that lie, archives under another name, settings that run code."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile

import numpy
import pytest
from tests import factories
from tests.checkpoints.checkpoint_files import (
    CONFIG,
    GOOD,
    HOLE,
    TWO,
    WEIGHTS,
    one,
    tensors_file,
    upload,
)

from longboard.checkpoints.inspection import check_json, check_plain, read_header
from longboard.errors import BadRequest

pytestmark = pytest.mark.django_db

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
    "a hole": HOLE,
    "an archive": b"PK\x03\x04" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(tmp_path, lie):
    path = tmp_path / "model.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(BadRequest, match=r"^model\.safetensors: "):
        read_header(path, "model.safetensors")


def test_what_the_formats_own_writer_makes_is_taken(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy", reason="a site alone has none: it comes with a node").save_file
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
