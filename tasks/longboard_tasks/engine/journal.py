"""The journal of a run: finished blocks of samples on disk, so that a killed run goes on where it was. No torch here.

One JSON object a line, in this order:

    run     which run on which engine: written once, first
    pieces  stretches of prompt tokens that a block needs and no earlier line has, numbered on: shared text is stored once
    block   the records of consecutive samples of one task, their prompts as runs of piece numbers, and the schedule used

A block counts when its line is whole. Nothing in the file depends on time or on where a run was killed, so that a resumed
journal ends with the same bytes as an undisturbed one.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longboard_tasks.contract import SampleRecord, canonical_json
from longboard_tasks.engine.errors import DiskFull, JournalMismatch

log = logging.getLogger(__name__)
NAME = "journal.jsonl"
_CUT_BITS = 0x3F  # a piece ends where the hash of its last tokens has these bits at zero: every 64 tokens on average
_LEAST = 16  # tokens in a piece
_FACTORS = (
    0x9E3779B97F4A7C15,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x27D4EB2F165667C5,
)  # odd, large: xxHash's primes


@dataclass(frozen=True, slots=True)
class Block:
    task: str
    first: int  # index of its first sample
    records: tuple[SampleRecord, ...]
    schedule: dict[str, int]


class Journal:
    """Open one with `open_journal`. Writes are on disk (fsync) when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: dict[tuple[str, int], Block] = {}
        self.pieces: dict[bytes, int] = {}  # digest -> number

    def append(self, block: Block, prompts: Sequence[Sequence[int]]) -> None:
        """Store a finished block. Raises DiskFull when the disk has no room; what was stored before stays whole."""
        fresh: list[Sequence[int]] = []
        numbered: list[list[int]] = []
        for ids in prompts:
            numbers = []
            for piece in cut_pieces(ids):
                digest = hashlib.sha256(_bytes(piece)).digest()
                if digest not in self.pieces:
                    self.pieces[digest] = len(self.pieces)
                    fresh.append(piece)
                numbers.append(self.pieces[digest])
            numbered.append(numbers)
        lines: list[dict[str, Any]] = []
        if fresh:
            together = [token for piece in fresh for token in piece]
            lines.append({"kind": "pieces", "lengths": [len(piece) for piece in fresh], "ids": pack(together)})
        lines.append(
            {
                "kind": "block",
                "task": block.task,
                "first": block.first,
                "schedule": block.schedule,
                "records": [record.model_dump(mode="json") for record in block.records],
                "prompts": [" ".join(_runs(numbers)) for numbers in numbered],
            }
        )
        self._write(b"".join(canonical_json(line) + b"\n" for line in lines))
        self.blocks[block.task, block.first] = block

    def _write(self, payload: bytes) -> None:
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            os.truncate(self.path, before)
            raise DiskFull(
                f"The journal {self.path} could not grow by {len(payload)} bytes ({error.strerror}). "
                "Free some room and run again: finished blocks are kept."
            ) from error


def open_journal(work_dir: Path, *, run: dict[str, Any], engine: dict[str, Any]) -> Journal:
    """The journal of `run` in `work_dir`, with the blocks that are already done.

    A torn end is cut off. A journal made by another engine (other weights, versions, device) is set aside, never mixed: its
    bits would differ. Raises JournalMismatch when it belongs to another run.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    journal = Journal(work_dir / NAME)
    head = json.loads(canonical_json({"kind": "run", "version": 1, "run": run, "engine": engine}))
    lines = list(_whole_lines(journal.path))
    if lines:
        found = lines[0][1]
        if found.get("run") != head["run"]:
            raise JournalMismatch(
                f"{journal.path} belongs to run {found.get('run', {}).get('run_id')!r} with another request. "
                "Use an empty work_dir."
            )
        if found != head:
            log.warning("journal of another engine set aside", extra={"path": str(journal.path)})
            journal.path.replace(journal.path.with_suffix(".old"))
            lines = []
    end = 0
    waiting: list[Sequence[int]] = []
    for offset, line in lines:
        if line["kind"] == "pieces":
            waiting += _split(line)
            continue
        end = offset
        if line["kind"] == "block":
            for piece in waiting:
                journal.pieces[hashlib.sha256(_bytes(piece)).digest()] = len(journal.pieces)
            waiting = []
            records = tuple(SampleRecord.model_validate(record) for record in line["records"])
            journal.blocks[line["task"], line["first"]] = Block(line["task"], line["first"], records, line["schedule"])
    if journal.path.exists():
        os.truncate(journal.path, end)
    if not end:
        journal._write(canonical_json(head) + b"\n")
    return journal


def read_prompts(path: Path) -> Iterator[tuple[SampleRecord, list[int]]]:
    """Every stored sample with its prompt's token ids, put together again from the pieces. Needs no model."""
    pieces: list[Sequence[int]] = []
    for _, line in _whole_lines(path):
        if line["kind"] == "pieces":
            pieces += _split(line)
        elif line["kind"] == "block":
            for record, runs in zip(line["records"], line["prompts"], strict=True):
                ids = [token for number in _numbers(runs) for token in pieces[number]]
                yield SampleRecord.model_validate(record), ids


def cut_pieces(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """`ids` in order, cut where their content says so: a shifted copy of a text has the same pieces but for its edges."""
    tokens = np.asarray(ids, dtype=np.uint64)
    mixed = np.zeros(len(tokens), dtype=np.uint64)
    for back, factor in enumerate(_FACTORS):  # a hash of the last tokens up to each place
        mixed[back:] += (tokens[: len(tokens) - back] + np.uint64(1)) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(29)
    start = 0
    for place in np.flatnonzero((mixed & np.uint64(_CUT_BITS)) == 0):
        end = int(place) + 1
        if end - start >= _LEAST:
            yield ids[start:end]
            start = end
    if start < len(ids):
        yield ids[start:]


def pack(ids: Sequence[int]) -> str:
    """Token ids as base64 text of deflated little-endian uint32."""
    return base64.b64encode(zlib.compress(_bytes(ids), 9)).decode()


def unpack(packed: str) -> list[int]:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype="<u4").tolist()


def hash_prompt(ids: Sequence[int]) -> str:
    """SHA-256 of the ids as little-endian uint32."""
    return hashlib.sha256(_bytes(ids)).hexdigest()


def _bytes(ids: Sequence[int]) -> bytes:
    return np.asarray(ids, dtype="<u4").tobytes()


def _split(line: dict[str, Any]) -> list[list[int]]:
    ids, pieces, at = unpack(line["ids"]), [], 0
    for length in line["lengths"]:
        pieces.append(ids[at : at + length])
        at += length
    return pieces


def _runs(numbers: Sequence[int]) -> Iterator[str]:
    """1 2 3 7 as "1-3", "7"."""
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            first, last = numbers[start], numbers[at - 1]
            yield f"{first}-{last}" if last > first else f"{first}"
            start = at


def _numbers(runs: str) -> Iterator[int]:
    for run in runs.split():
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _whole_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(offset after the line, its object) up to the first line that is torn or is not JSON."""
    if not path.exists():
        return
    offset = 0
    with open(path, "rb") as file:
        for raw in file:
            offset += len(raw)
            if not raw.endswith(b"\n"):
                return
            try:
                line = json.loads(raw)
            except ValueError:
                return
            if not isinstance(line, dict) or line.get("kind") not in ("run", "pieces", "block"):
                return
            yield offset, line
