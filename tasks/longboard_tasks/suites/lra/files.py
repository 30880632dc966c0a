"""The three tasks whose files others own: IMDb reviews, AAN paper pairs, CIFAR-10. Read from a path, never fetched. No torch.

IMDb      aclImdb_v1.tar.gz, or the folder in it: aclImdb/{train,test}/{pos,neg}/*.txt
AAN       the folder of new_aan_pairs.{train,eval,test}.tsv, as in the archive of Long Range Arena
CIFAR-10  cifar-10-binary.tar.gz, or the folder in it: data_batch_{1..5}.bin, test_batch.bin (the pickled form is refused)
"""

from __future__ import annotations

import csv
import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longboard_tasks.engine.errors import SuiteError

Row = NDArray[np.uint16]
STAND_IN = "STAND-IN.txt"  # in a folder of generated stand-ins
KNOWN = {  # MD5 that the distributors publish
    "aclImdb_v1.tar.gz": "7c2ac02c03563afcf9b574c7e56c153a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
}
DOCUMENT_CHARACTERS = 10_000  # of one paper, before its bytes are cut to length
_AAN = {"train": "train", "validation": "eval", "test": "test"}
_PIXELS = 3 * 1_024


def read_split(task: str, split: str, path: Path, length: int) -> tuple[list[Any], NDArray[np.int64], bool]:
    """(rows, labels [N], whether they are a stand-in). A row is ids, uint16, 1 to 256; for retrieval a pair of such rows.

    Raises SuiteError when the path is missing or its content is not what the task needs.
    """
    if not path.exists():
        raise SuiteError(
            f"lra/{task} needs files that Longboard may not ship, and {path} does not exist. Give the path of "
            f"{_WANTED[task]}; or make a labelled stand-in with `python -m longboard_tasks.suites.lra.stand_ins {task} DIR`."
        )
    if path.is_file():
        check_digest(path)
    rows, labels = _READERS[task](path, split, length)
    if not rows:
        raise SuiteError(f"lra/{task}: {path} holds no {split} examples. Expected {_WANTED[task]}.")
    return rows, np.array(labels, dtype=np.int64), path.is_dir() and (path / STAND_IN).exists()


def check_digest(path: Path) -> None:
    """Raises SuiteError when an archive of a known name has another content. Others pass."""
    expected = KNOWN.get(path.name)
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise SuiteError(f"{path} has MD5 {found}; the published archive has {expected}. Fetch it again.")


def to_ids(text: bytes, length: int) -> Row:
    """Bytes one up, cut to `length`: [<= length] uint16."""
    return np.frombuffer(text[:length], dtype=np.uint8).astype(np.uint16) + 1


def _read_text(path: Path, split: str, length: int) -> tuple[list[Row], list[int]]:
    folder = "train" if split == "train" else "test"  # validation is the test set, as published
    found = []
    for name, content in _members(path):
        *_, top, kind, _ = ("", "", *name.split("/"))
        if top == folder and kind in ("pos", "neg") and name.endswith(".txt"):
            found.append((f"{top}/{kind}/{name.rsplit('/', 1)[1]}", content, int(kind == "pos")))
    # By a digest of the name: in order of names all negative ones would come first, and the first thousand have one class.
    found.sort(key=lambda entry: hashlib.sha256(entry[0].encode()).digest())
    return [to_ids(content, length) for _, content, _ in found], [label for _, _, label in found]


def _read_retrieval(path: Path, split: str, length: int) -> tuple[list[tuple[Row, Row]], list[int]]:
    file = path / f"new_aan_pairs.{_AAN[split]}.tsv"
    if not file.is_file():
        raise SuiteError(f"lra/retrieval: {file} is missing. Expected {_WANTED['retrieval']}.")
    csv.field_size_limit(2**31 - 1)
    rows, labels = [], []
    with file.open(encoding="utf-8", newline="") as lines:
        for number, line in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            try:
                label, _, _, first, second = line
                labels.append(int(float(label)))
            except ValueError as error:
                raise SuiteError(
                    f"{file}, record {number}: expected label, id, id, text, text between tabs; got {len(line)} columns."
                ) from error
            one, two = (to_ids(text[:DOCUMENT_CHARACTERS].encode(), length) for text in (first, second))
            rows.append((one, two))
    return rows, labels


def _read_image(path: Path, split: str, length: int) -> tuple[list[Row], list[int]]:
    wanted = ["test_batch.bin"] if split == "test" else [f"data_batch_{number}.bin" for number in range(1, 6)]
    parts = {name.rsplit("/", 1)[-1]: content for name, content in _members(path)}
    missing = [name for name in wanted if name not in parts]
    if missing:
        raise SuiteError(f"lra/image: {path} lacks {', '.join(missing)}. Expected {_WANTED['image']}.")
    raw = np.frombuffer(b"".join(parts[name] for name in wanted), dtype=np.uint8)
    if raw.size % (1 + _PIXELS):
        raise SuiteError(f"lra/image: {path} has {raw.size} bytes of images; one is {1 + _PIXELS} bytes.")
    records = raw.reshape(-1, 1 + _PIXELS)
    if split != "test":  # the last tenth validates, as published
        cut = len(records) * 9 // 10
        records = records[:cut] if split == "train" else records[cut:]
    grey = to_grey(records[:, 1:].reshape(-1, 3, 1_024))
    return list(grey[:, :length].astype(np.uint16) + 1), records[:, 0].astype(int).tolist()


def to_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N, 3, P] red, green, blue to [N, P], with the weights of ITU-R BT.601 and the rounding of TensorFlow."""
    weights = np.array([0.2989, 0.587, 0.114], dtype=np.float32)
    level = np.einsum("ncp,c->np", pixels.astype(np.float32) / 255, weights)
    return np.minimum(level * 255.5, 255).astype(np.uint8)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name below the archive or folder, content) of each file; nothing is unpacked to disk."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.name != STAND_IN:
                yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, content.read()
    except tarfile.TarError as error:
        raise SuiteError(f"{path} is neither a folder nor a tar archive: {error}") from error


_READERS: dict[str, Any] = {"text": _read_text, "retrieval": _read_retrieval, "image": _read_image}
_WANTED = {
    "text": "aclImdb_v1.tar.gz or its folder aclImdb (train and test, pos and neg)",
    "retrieval": "the folder with new_aan_pairs.train.tsv, .eval.tsv and .test.tsv",
    "image": "cifar-10-binary.tar.gz or its folder cifar-10-batches-bin",
}
