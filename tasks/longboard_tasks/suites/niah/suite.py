"""`niah@1` as the engine calls it: every task by name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.niah import grid, needles, questions, single, tracking, words
from longboard_tasks.suites.niah.layout import TooShort
from longboard_tasks.suites.niah.plan import KNOBS, LONG_LIST_FROM, TASKS
from longboard_tasks.suites.niah.scoring import score

FAMILIES: dict[str, ModuleType] = {
    **dict.fromkeys(KNOBS, needles),
    "vt": tracking, "cwe": words, "fwe": words, "qa_1": questions, "qa_2": questions,
    **dict.fromkeys(("grid", "passkey", "streamed"), grid),
}  # fmt: skip
_NEW_TOKENS = {
    "single": single.NEW_TOKENS,
    **dict.fromkeys(KNOBS, needles.NEW_TOKENS),
    "vt": tracking.NEW_TOKENS, "cwe": words.CWE_TOKENS, "fwe": words.FWE_TOKENS,
    "qa_1": questions.NEW_TOKENS, "qa_2": questions.NEW_TOKENS, **grid.NEW_TOKENS,
}  # fmt: skip
_PROBES = 48  # samples whose smallest prompt is measured for a least length


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Sample `index` of a task: the same tokens for the same arguments, never more than `context_length`.

    Raises SuiteError for a task that does not exist, and for a length that cannot hold it; then the message names the least.
    """
    ask = {"context_length": context_length, "seed": seed, "index": index, "tokenizer": tokenizer}
    if task == "single":
        return single.make_sample(task=task, **ask)
    try:
        sample: Sample = _family(task).make_sample(task=task, **ask)
    except TooShort:
        raise SuiteError(
            f"context_length={context_length} is too short for niah@1/{task} by this model's tokenizer. "
            f"Ask for at least {_least_length(task, tokenizer, context_length)}."
        ) from None
    return sample


def new_tokens(task: str) -> int:
    """The longest answer in tokens: RULER's own numbers for its tasks."""
    if task not in _NEW_TOKENS:
        _family(task)
    return _NEW_TOKENS[task]


def least_length(task: str, tokenizer: Any) -> int:
    """The shortest context that samples of the task fit. `cwe` has longer lists from 4,096 tokens on, which may not fit there."""
    if task == "single":
        return single.least_length(tokenizer)
    return _least_length(task, tokenizer, 0)


def _least_length(task: str, tokenizer: Any, context_length: int) -> int:
    """From the smallest prompts of some samples, and a fiftieth for others: tokens of drawn names and numbers vary a little."""
    if task == "streamed":
        return grid.least_streamed(tokenizer)
    most = 0
    for index in range(_PROBES):
        length = LONG_LIST_FROM if task == "cwe" and context_length >= LONG_LIST_FROM else 1
        try:
            _family(task).make_sample(task=task, context_length=length, seed=0, index=index, tokenizer=tokenizer)
        except TooShort as error:
            most = max(most, error.needed)
    return most + most // 50 + 2


def _family(task: str) -> ModuleType:
    if task not in FAMILIES:
        raise SuiteError(f'niah@1 has no task "{task}". It has: {", ".join(TASKS)}.')
    return FAMILIES[task]


__all__ = ["TASKS", "least_length", "make_sample", "new_tokens", "score"]
