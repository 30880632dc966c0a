"""Haystack prose that ships with us. Public domain; source and licence stand in NOTICE."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Prose:
    name: str
    text: str
    sha256: str


@cache
def load_prose(name: str = "moby-dick") -> Prose:
    """The text by name, with the digest that goes into the manifest. About 1.2 MB, read once a process."""
    raw = gzip.decompress(files(__package__).joinpath(f"{name}.txt.gz").read_bytes())
    return Prose(name=name, text=raw.decode(), sha256=hashlib.sha256(raw).hexdigest())
