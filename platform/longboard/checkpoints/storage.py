"""Where the files lie: one folder a checkpoint under MEDIA_ROOT, shared by all web processes of a site."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from django.conf import settings

READ = 2**20


def root() -> Path:
    return Path(settings.MEDIA_ROOT) / "checkpoints"


def folder_of(checkpoint: UUID) -> Path:
    return root() / checkpoint.hex


def path_of(checkpoint: UUID, name: str) -> Path:
    """`name` comes from a stored row, so it is one of the names that `requests` lets through; a path that leaves the folder
    anyway raises ValueError."""
    path = folder_of(checkpoint) / name
    if path.parent != folder_of(checkpoint):
        raise ValueError(f"{name!r} leaves its folder")
    return path


def write_at(path: Path, offset: int, content: bytes) -> None:
    """Puts `content` at `offset`, cuts off what lay there, and has it on disk when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    with os.fdopen(descriptor, "wb") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_from(path: Path, offset: int, most: int) -> Iterator[bytes]:
    """At most `most` bytes from `offset` on, piece by piece."""
    with path.open("rb") as file:
        file.seek(offset)
        while most > 0 and (piece := file.read(min(READ, most))):
            most -= len(piece)
            yield piece


def drop(checkpoint: UUID) -> None:
    shutil.rmtree(folder_of(checkpoint), ignore_errors=True)


def free_bytes() -> int:
    root().mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(root()).free
