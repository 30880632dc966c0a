"""The batches of the zoo's trainings: which length each has, and what it is made of."""

from __future__ import annotations

import random

import numpy as np

from longboard_tasks.zoo.background import Background
from longboard_tasks.zoo.data import Batch, Sequences, Source, make_batch
from longboard_tasks.zoo.prose import training_prose
from longboard_tasks.zoo.recipes import Recipe
from longboard_tasks.zoo.tokenizer import load_tokenizer
from longboard_tasks.zoo.words import Words

LENGTH_GRID = 64  # batch lengths are multiples of this


def batch_of(recipe: Recipe, source: Sequences, step: int) -> Batch:
    length = batch_length(recipe, step)
    mixture = recipe.stage(step).mixture
    return make_batch(
        source, seed=recipe.seed, step=step, length=length, tokens=recipe.tokens_per_step, mixture=mixture
    )


def batch_length(recipe: Recipe, step: int) -> int:
    """A quarter of the batches have the stage's full length, the others any multiple of 64 up to it."""
    rng = random.Random(f"zoo/length@1:{recipe.seed}:{step}")
    longest = recipe.stage(step).longest
    if rng.random() < 0.25:
        return longest
    return rng.randrange(recipe.shortest, longest + 1, LENGTH_GRID)


def training_source() -> Source:
    """All training prose in tokens, and the tokenizer to write facts with. Takes about five seconds."""
    texts, tokenizer = training_prose(), load_tokenizer()
    backend = tokenizer.backend_tokenizer
    encodings = backend.encode_batch(texts, add_special_tokens=False)
    prose = np.concatenate([np.array(encoding.ids, dtype=np.uint16) for encoding in encodings])

    def encode(text: str) -> list[int]:
        return backend.encode(text, add_special_tokens=False).ids

    return Source(Background(prose, Words(texts), encode, bos=tokenizer.bos_token_id, eos=tokenizer.eos_token_id))
