"""Batches made once for several trainings: all models of the zoo read the same ones.

    python -m longboard_tasks.zoo.shelf FOLDER --workers 16 &
    python -m longboard_tasks.zoo.train llama-3m --shelf FOLDER

One batch is one file, written whole or not at all; a training waits for the batch that it needs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np

from longboard_tasks.zoo.batches import batch_of, training_source
from longboard_tasks.zoo.data import Batch
from longboard_tasks.zoo.recipes import RECIPES

PATIENCE_S = 300.0  # for a batch that another process is to make


def path_of(shelf: Path, step: int) -> Path:
    return shelf / f"{step:06d}.npz"


def put_batch(shelf: Path, step: int, batch: Batch) -> None:
    part = shelf / f"{step:06d}.part.npz"
    np.savez(part, ids=batch.ids.astype(np.uint16), at=batch.at.astype(np.uint32), weight=batch.weight)
    part.replace(path_of(shelf, step))


def take_batch(shelf: Path, step: int, patience_s: float = PATIENCE_S) -> Batch:
    """Waits for the file. Raises TimeoutError when nobody has made it in time."""
    deadline = time.monotonic() + patience_s
    while not path_of(shelf, step).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path_of(shelf, step)} did not appear within {patience_s:g} s: does zoo.shelf run?")
        time.sleep(0.2)
    with np.load(path_of(shelf, step)) as parts:
        return Batch(parts["ids"].astype(np.int64), parts["at"].astype(np.int64), parts["weight"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the batches that all models of the zoo are trained on.")
    parser.add_argument("shelf", type=Path)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--steps", type=int, help="of a plan stopped short")
    arguments = parser.parse_args()
    recipe = next(iter(RECIPES.values()))
    recipe = recipe.shortened(arguments.steps) if arguments.steps else recipe
    arguments.shelf.mkdir(parents=True, exist_ok=True)
    source, started = training_source(), time.perf_counter()

    def make(first: int) -> None:
        for step in range(first, recipe.steps, arguments.workers):
            if not path_of(arguments.shelf, step).exists():
                put_batch(arguments.shelf, step, batch_of(recipe, source, step))

    context = multiprocessing.get_context("fork")  # the tokenised prose is shared, not copied
    makers = [context.Process(target=make, args=(first,)) for first in range(arguments.workers)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    if any(maker.exitcode for maker in makers):
        raise SystemExit("A maker of batches failed; its error stands above.")
    print(f"{recipe.steps} batches in {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
