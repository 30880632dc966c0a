"""Tile sizes from a shipped table, `tuned.json`. Nothing is tuned at run time.

The table is {kernel: {key: {parameter: number}}}. A key names what the best tile depends on ("d128-bf16-65536"); "" stands for
every key that is not listed. `benchmarks/kernels/run.py --tune` measures the candidates and writes the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

PATH = Path(__file__).with_name("tuned.json")
Config = Mapping[str, int]
_forced: dict[str, Config] = {}


@cache
def read_table() -> dict[str, dict[str, dict[str, int]]]:
    return json.loads(PATH.read_text())


def choose(kernel: str, key: str = "") -> Config:
    """The configuration for `key`, else the kernel's general one. KeyError for a kernel without a table."""
    if kernel in _forced:
        return _forced[kernel]
    rows = read_table()[kernel]
    return rows.get(key, rows[""])


@contextmanager
def forced(kernel: str, config: Config) -> Iterator[None]:
    """Use `config` for every call of `kernel` inside: how candidates are measured, and tested."""
    before = _forced.get(kernel)
    _forced[kernel] = config
    try:
        yield
    finally:
        if before is None:
            del _forced[kernel]
        else:
            _forced[kernel] = before


def bucket(length: int) -> int:
    """`length` rounded down to a power of four, from 1024: the lengths that share a configuration."""
    size = 1024
    while size * 4 <= length:
        size *= 4
    return size
