"""Generated files in the formats of IMDb, AAN and CIFAR-10, so that their tasks run where the real ones may not be.

They are other tasks: results on them are labelled and never ranked as Long Range Arena. Each folder says so in STAND-IN.txt.

    python -m longboard_tasks.suites.lra.stand_ins text DIR --count 400
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longboard_tasks.suites.lra.files import STAND_IN

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MARKERS = ("zq", "xj")  # no other word has these letters in a row
SHARED = 6  # rare words that two papers of a positive pair have in common
RARE = 12  # of one paper
SHAPES = 10


def make_text(folder: Path, count: int, seed: int = 0) -> None:
    """`count` reviews for training and for test. Positive: the first and the last of two rare words are the same one.

    Neither alone says anything; they stand in the first and last tenth, so what decides is far apart.
    """
    for split in ("train", "test"):
        for index in range(count):
            rng = random.Random(f"lra/stand-in/text@1:{split}:{seed}:{index}")
            label, first = index % 2, rng.choice(MARKERS)
            last = first if label else MARKERS[1 - MARKERS.index(first)]
            words = [_word(rng) for _ in range(rng.randrange(60, 500))]
            tenth = len(words) // 10
            words[rng.randrange(tenth)] = first
            words[len(words) - 1 - rng.randrange(tenth)] = last
            path = folder / "aclImdb" / split / ("pos" if label else "neg") / f"{index}_{5 + label}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(" ".join(words))
    _mark(folder, "text")


def make_retrieval(folder: Path, count: int, seed: int = 0) -> None:
    """`count` pairs a split. Papers of a positive pair share SHARED of RARE rare words, those of a negative pair none."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "eval", "test"):
        with (folder / f"new_aan_pairs.{split}.tsv").open("w", newline="") as file:
            table = csv.writer(file, delimiter="\t")
            for index in range(count):
                rng = random.Random(f"lra/stand-in/retrieval@1:{split}:{seed}:{index}")
                terms = [_term(number) for number in rng.sample(range(26**5), 2 * RARE)]
                one, two = terms[:RARE], terms[RARE:]
                if index % 2:
                    two[:SHARED] = rng.sample(one, SHARED)
                texts = [_paper(rng, own) for own in (one, two)]
                table.writerow([f"{index % 2}.0", f"P{index:05d}", f"Q{index:05d}", *texts])
    _mark(folder, "retrieval")


def make_image(folder: Path, count: int, seed: int = 0) -> None:
    """`count` images a file, ten shapes in turn, anywhere, of any size and shade, in noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rng = np.random.default_rng([seed, *name.encode()])
        records = []
        for index in range(count):
            label = index % SHAPES
            picture = rng.integers(0, 90, (32, 32)) + rng.integers(110, 165) * draw_shape(label, rng)
            colour = np.stack([picture] * 3).astype(np.uint8)
            records.append(bytes([label]) + colour.tobytes())
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    _mark(folder, "image")


def draw_shape(label: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[32, 32] of shape 0 to 9: disc, ring, square, frame, upright and diagonal cross, triangle, three kinds of stripes."""
    size = rng.integers(6, 11)
    y, x = np.mgrid[:32, :32] - rng.integers(size, 32 - size, 2)[:, None, None]
    away, box = np.hypot(y, x), np.maximum(abs(y), abs(x))
    inside = box <= size
    shapes = (
        away <= size,
        (away <= size) & (away > size - 2.5),
        inside,
        inside & (box > size - 2),
        inside & (np.minimum(abs(y), abs(x)) <= 1),
        inside & (abs(abs(y) - abs(x)) <= 1),
        inside & (2 * abs(x) <= y + size),
        inside & (y % 4 < 2),
        inside & (x % 4 < 2),
        inside & ((x + y) % 4 < 2),
    )
    return np.asarray(shapes[label])


def _word(rng: random.Random) -> str:
    """Two to seven letters, none of z, q, x, j."""
    return "".join(rng.choices("abcdefghiklmnoprstuvwy", k=rng.randrange(2, 8)))


def _term(number: int) -> str:
    return "Z" + "".join(LETTERS[number // 26**place % 26] for place in range(5))


def _paper(rng: random.Random, terms: list[str]) -> str:
    words = [_word(rng) for _ in range(rng.randrange(120, 500))]
    for place, term in zip(rng.sample(range(len(words)), len(terms)), terms, strict=True):
        words[place] = term
    return " ".join(words)


def _mark(folder: Path, task: str) -> None:
    (folder / STAND_IN).write_text(
        f"Generated stand-in for lra/{task}: another task in the same format. Never rank it.\n"
    )


MAKERS: dict[str, Callable[[Path, int], None]] = {"text": make_text, "retrieval": make_retrieval, "image": make_image}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a stand-in for a task of Long Range Arena.")
    parser.add_argument("task", choices=sorted(MAKERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=400, help="examples of each file or split")
    arguments = parser.parse_args()
    MAKERS[arguments.task](arguments.folder, arguments.count)
    print(f"{arguments.folder}: a stand-in for lra/{arguments.task}, not to be ranked")


if __name__ == "__main__":
    main()
