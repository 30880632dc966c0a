"""Examples of any task of Long Range Arena as rows of ids, made here or read from files, and batches of them. No torch."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.lra import files, listops, pathfinder
from longboard_tasks.suites.lra.tasks import find_task

SPLITS = ("train", "validation", "test")
GENERATED = ("listops", *pathfinder.STIMULI)
PR_SET_PDEATHSIG = 1  # prctl(2)
CHUNK = 250  # ListOps expressions that one process makes at a time


@dataclass(frozen=True, slots=True)
class Examples:
    """One split in memory. A row is ids, uint16 or uint8, from 1 on; of a pair task two such rows."""

    task: str
    split: str
    rows: list[Any]
    labels: NDArray[np.int64]
    stand_in: bool  # generated files in the place of those of IMDb, AAN or CIFAR-10: never ranked
    sha256: str  # of all ids and labels, in order

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(ids [B, length], or [B, 2, length] of pairs, 0 where a row has ended; labels [B])."""
        pair = find_task(self.task).pair
        ids = np.zeros((len(indices), 2 if pair else 1, length), dtype=np.int64)
        for place, index in enumerate(indices):
            for side, row in enumerate(self.rows[index] if pair else (self.rows[index],)):
                ids[place, side, : min(length, len(row))] = row[:length]
        return (ids if pair else ids[:, 0]), self.labels[indices]


def open_examples(
    task: str, split: str, *, count: int | None = None, seed: int = 0, files_at: Path | None = None,
    cache: Path | None = None, processes: int = 1,
) -> Examples:  # fmt: skip
    """The first `count` examples of a split; all of them, as many as published, without one.

    listops, pathfinder32 and pathx128 are made, by `processes` at once, and kept in `cache` where one is given; the others are
    read from `files_at`. Raises KeyError for an unknown task, SuiteError for files that are missing or not as expected.
    """
    spec = find_task(task)
    if split not in SPLITS:
        raise SuiteError(f'lra/{task} has no split "{split}". It has: {", ".join(SPLITS)}.')
    if task not in GENERATED:
        if files_at is None:
            raise SuiteError(f"lra/{task} needs files that Longboard may not ship: say where they are (files_at).")
        rows, labels, stand_in = files.read_split(task, split, files_at, spec.length)
        rows, labels = (rows, labels) if count is None else (rows[:count], labels[:count])
        return Examples(task, split, rows, labels, stand_in, _digest(rows, labels))
    count = count or spec.sizes[SPLITS.index(split)]
    kept = cache / f"{task}@1-{split}-{seed}-{count}.npz" if cache else None
    if kept is not None and kept.exists():
        with np.load(kept) as saved:
            flat, ends, labels = saved["ids"], saved["ends"], saved["labels"]
    else:
        flat, ends, labels = _generate(task, split, count, seed, processes)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(f".{os.getpid()}.part.npz")
            np.savez(part, ids=flat, ends=ends, labels=labels)
            part.replace(kept)
    rows = np.split(flat, ends[:-1])
    return Examples(task, split, rows, labels, False, _digest(rows, labels))


def _generate(task: str, split: str, count: int, seed: int, processes: int) -> tuple[Any, Any, Any]:
    """(ids of all rows in one array, where each ends, labels)."""
    chunk = CHUNK if task == "listops" else pathfinder.BLOCK
    make = partial(_make_listops if task == "listops" else _make_images, task, split, seed)
    numbers = range(-(-count // chunk))
    if processes > 1:
        with ProcessPoolExecutor(processes, initializer=_end_with_parent, initargs=(os.getpid(),)) as pool:
            parts = list(pool.map(make, numbers))
    else:
        parts = [make(number) for number in numbers]
    rows = [row for part, _ in parts for row in part][:count]
    labels = np.concatenate([labels for _, labels in parts])[:count]
    return np.concatenate(rows), np.cumsum([len(row) for row in rows]), labels


def _end_with_parent(parent: int) -> None:
    """The kernel ends this process with its parent (Linux): a killed node must not leave one a core behind, waiting for work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call
            os._exit(3)


def _make_listops(task: str, split: str, seed: int, number: int) -> tuple[list[Any], NDArray[np.int64]]:
    made = [
        listops.make_expression(split=split, seed=seed, index=index)
        for index in range(number * CHUNK, (number + 1) * CHUNK)
    ]
    rows = [np.array(listops.encode(expression.tokens), dtype=np.uint16) for expression in made]
    return rows, np.array([expression.value for expression in made], dtype=np.int64)


def _make_images(task: str, split: str, seed: int, number: int) -> tuple[list[Any], NDArray[np.int64]]:
    scenes = pathfinder.make_block(task, split=split, seed=seed, block=number, count=pathfinder.BLOCK)
    return list(scenes.images.reshape(len(scenes.labels), -1).astype(np.uint16) + 1), scenes.labels


def _digest(rows: list[Any], labels: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(labels.tobytes())
    for row in rows:
        for part in row if isinstance(row, tuple) else (row,):
            digest.update(len(part).to_bytes(4, "little") + np.ascontiguousarray(part, dtype="<u2").tobytes())
    return digest.hexdigest()
