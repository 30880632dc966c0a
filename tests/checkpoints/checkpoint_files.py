"""Files of a small checkpoint that is sound, and an uploader who sends them in pieces."""

from __future__ import annotations

import json
import struct

from django.utils import timezone

from longboard.checkpoints import services
from longboard.checkpoints.models import Checkpoint
from longboard.checkpoints.requests import CheckpointRequest
from longboard.registry.models import Model
from longboard_tasks.contract import sha256

CONFIG = json.dumps(
    {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048, "hidden_size": 4}
).encode()


def tensors_file(header: dict | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(dtype="F32", shape=(2, 3), offsets=(0, 24), **more) -> dict:
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}}


WEIGHTS = tensors_file({"__metadata__": {"format": "pt"}, **one()}, bytes(24))
GOOD = {"model.safetensors": WEIGHTS, "config.json": CONFIG, "tokenizer.json": b'{"version": "1.0"}'}
TWO = {
    "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
    "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
}
# Bytes 4 and 5 belong to no tensor.
HOLE = tensors_file(TWO | {"b": {"dtype": "U8", "shape": [4], "data_offsets": [6, 10]}}, bytes(10))


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
