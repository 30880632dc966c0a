"""The journal of a run: finished blocks of samples on disk, so that a killed run goes on where it was. No torch here.

One JSON object a line, in this order:

    run     which run on which engine: written once, first
    piece   a stretch of prompt tokens that a block needs and no earlier line has: shared text is stored once
    block   the records of consecutive samples of one task, their prompts as lists of pieces, and the schedule used

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
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longboard_tasks.contract import SampleRecord, canonical_json
from longboard_tasks.engine.errors import DiskFull, JournalMismatch

log = logging.getLogger(__name__)
NAME = "journal.jsonl"
_CUT_BITS = 0x3F  # a piece ends where the hash of its last tokens has these bits at zero: every 64 tokens on average
_LEAST, _MOST = 16, 1_024  # tokens in a piece


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
        self.pieces: set[str] = set()

    def append(self, block: Block, prompts: Sequence[Sequence[int]]) -> None:
        """Store a finished block. Raises DiskFull when the disk has no room; what was stored before stays whole."""
        lines: list[dict[str, Any]] = []
        named: list[list[str]] = []
        for ids in prompts:
            names = []
            for piece in cut_pieces(ids):
                packed = pack(piece)
                name = hashlib.sha256(packed.encode()).hexdigest()[:24]
                names.append(name)
                if name not in self.pieces:
                    self.pieces.add(name)
                    lines.append({"kind": "piece", "name": name, "ids": packed})
            named.append(names)
        lines.append(
            {
                "kind": "block",
                "task": block.task,
                "first": block.first,
                "schedule": block.schedule,
                "records": [record.model_dump(mode="json") for record in block.records],
                "prompts": named,
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
    waiting: set[str] = set()
    for offset, line in lines:
        if line["kind"] == "piece":
            waiting.add(line["name"])
            continue
        end = offset
        if line["kind"] == "block":
            journal.pieces |= waiting
            waiting = set()
            records = tuple(SampleRecord.model_validate(record) for record in line["records"])
            journal.blocks[line["task"], line["first"]] = Block(line["task"], line["first"], records, line["schedule"])
    if journal.path.exists():
        os.truncate(journal.path, end)
    if not end:
        journal._write(canonical_json(head) + b"\n")
    return journal


def read_prompts(path: Path) -> Iterator[tuple[SampleRecord, list[int]]]:
    """Every stored sample with its prompt's token ids, put together again from the pieces. Needs no model."""
    pieces: dict[str, list[int]] = {}
    for _, line in _whole_lines(path):
        if line["kind"] == "piece":
            pieces[line["name"]] = unpack(line["ids"])
        elif line["kind"] == "block":
            for record, names in zip(line["records"], line["prompts"], strict=True):
                yield SampleRecord.model_validate(record), [token for name in names for token in pieces[name]]


def cut_pieces(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """`ids` in order, cut where their content says so: a shifted copy of a text has the same pieces but for its edges."""
    start = 0
    for at in range(len(ids)):
        length = at + 1 - start
        if length < _LEAST:
            continue
        mixed = 0
        for token in ids[at - 3 : at + 1]:
            mixed = (mixed * 0x9E3779B1 + token + 1) & 0xFFFFFFFF
        mixed ^= mixed >> 15
        if not mixed & _CUT_BITS or length == _MOST:
            yield ids[start : at + 1]
            start = at + 1
    if start < len(ids):
        yield ids[start:]


def pack(ids: Sequence[int]) -> str:
    """Token ids as base64 text of deflated little-endian uint32."""
    raw = array("I", ids)
    return base64.b64encode(zlib.compress(raw.tobytes(), 9)).decode()


def unpack(packed: str) -> list[int]:
    raw = array("I")
    raw.frombytes(zlib.decompress(base64.b64decode(packed)))
    return list(raw)


def hash_prompt(ids: Sequence[int]) -> str:
    """SHA-256 of the ids as little-endian uint32."""
    return hashlib.sha256(array("I", ids).tobytes()).hexdigest()


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
            if not isinstance(line, dict) or line.get("kind") not in ("run", "piece", "block"):
                return
            yield offset, line
