"""RULER's variable tracking (`vt`): one chain of five variables among noise lines; name them all.

Source: Hsieh et al. 2024 (RULER, arXiv:2404.06654); template, knobs (1 chain, 4 hops) and placement after NVIDIA/RULER c3f5e3b,
Apache-2.0: the wording of INSTRUCTION, QUESTION and PREFIX is RULER's. We differ: see docs/suites/niah.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.niah.layout import encode, flatten, surround
from longboard_tasks.suites.niah.needles import NOISE
from longboard_tasks.suites.niah.plan import HOPS, draw, join, plan_chain

Line = TypeVar("Line")
NEW_TOKENS = 30
EXAMPLE_TOKENS = 500  # the solved example's size, whatever the context length
INSTRUCTION = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
QUESTION = "Question: Find all variables that are assigned the value {value} in the text above."
PREFIX = (
    " Answer: According to the chain(s) of variable assignment in the text above, "
    "{count} variables are assigned the value {value}, they are: "  # the blank at the end is upstream's
)


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """A solved example, then the text. The longest run of whole noise lines that fits, five at least. Raises TooShort."""
    ask = {"context_length": context_length, "seed": seed, "index": index}
    plan = plan_chain(**ask)
    noise = encode(tokenizer, f"{NOISE}\n")
    chain: list[Sequence[int]] = [encode(tokenizer, text) for text in chain_lines(plan.variables, plan.value)]
    used, words = sum(map(len, chain)), {"count": len(plan.variables), "value": plan.value}
    around = surround(
        tokenizer,
        context_length,
        opening=_example(tokenizer, plan.example_variables, plan.example_value, seed) + INSTRUCTION,
        question=QUESTION.format(**words),
        prefix=PREFIX.format(**words),
        least=used + len(chain) * len(noise),
    )
    count = (around.room - used) // len(noise)
    body = flatten(mix(tuple(noise), count, chain, draw(task, **ask, part="lines")))
    return around.sample(body, task=task, index=index, target=join(plan.variables), new_tokens=NEW_TOKENS)


def chain_lines(variables: tuple[str, ...], value: str) -> list[str]:
    """The first variable gets the value, each other one the variable before it (upstream's blank at the end is kept)."""
    hops = [f"VAR {new} = VAR {old} \n" for old, new in pairwise(variables)]
    return [f"VAR {variables[0]} = {value}\n", *hops]


def mix(noise: Line, count: int, chain: list[Line], rng: Random) -> list[Line]:
    """Chain lines in their order, before distinct noise lines drawn at random."""
    lines = [noise] * count
    for done, place in enumerate(sorted(rng.sample(range(count), len(chain)))):
        lines.insert(place + done, chain[done])
    return lines


def _example(tokenizer: Any, variables: tuple[str, ...], value: str, seed: int) -> str:
    """Names and value are the sample's own, size and places of the chain the same in all samples of a seed."""
    noise, chain = f"{NOISE}\n", chain_lines(variables, value)
    words = {"count": HOPS + 1, "value": value}
    asked, prefix = QUESTION.format(**words), PREFIX.format(**words)
    fixed = sum(len(encode(tokenizer, text)) for text in (INSTRUCTION, *chain, asked, prefix))
    count = max(len(chain), (EXAMPLE_TOKENS - fixed) // len(encode(tokenizer, noise)))
    text = "".join(mix(noise, count, chain, Random(f"niah/vt/example@1:{seed}")))
    return f"{INSTRUCTION}{text}{asked}{prefix} {' '.join(variables)}\n\n"
