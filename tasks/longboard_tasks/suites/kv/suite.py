"""`kv@1` as the engine calls it: eleven tasks, each with the border between context and question that compression needs."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.babilong import suite as babilong
from longboard_tasks.suites.kv.plan import SOURCES, TASKS, Source
from longboard_tasks.suites.kv.scoring import score
from longboard_tasks.suites.kv.topics import LABELS, draw_examples, plan_topics
from longboard_tasks.suites.niah import suite as niah
from longboard_tasks.suites.recall import suite as recall
from longboard_tasks.suites.segments import encode, frame

FEW_SHOT_TOKENS = 12
LEAST_EXAMPLES = 24  # four of each topic
INSTRUCTION = "Every text has one of six labels. Learn the labels from the examples.\n\n"
MODULES: dict[str, ModuleType] = {"niah": niah, "babilong": babilong, "recall": recall}


def new_tokens(task: str) -> int:
    source = _source(task)
    return FEW_SHOT_TOKENS if source.suite == "kv" else int(MODULES[source.suite].new_tokens(source.task))


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """Sample `index`: the same tokens for the same arguments, whatever the Method. Raises SuiteError for a length too short."""
    source = _source(task)
    ask = {"context_length": context_length, "seed": seed, "index": index}
    if source.suite == "kv":
        return _few_shot(tokenizer, ask)
    sample: Sample = MODULES[source.suite].make_sample(task=source.task, tokenizer=tokenizer, **ask)
    return replace(sample, task=task)


def least_length(task: str, tokenizer: Any) -> int:
    """The shortest context that samples of the task fit."""
    source = _source(task)
    if source.suite != "kv":
        return int(MODULES[source.suite].least_length(source.task, tokenizer))
    ask = {"context_length": 0, "seed": 0, "index": 0}
    plan = plan_topics(**ask)
    head, tail = _around(tokenizer, plan.text)
    examples = draw_examples(plan, **ask)
    longest = max(len(encode(tokenizer, next(examples))) for _ in range(200))
    labels = max(len(encode(tokenizer, f" {label}")) for label in LABELS)
    return len(head) + len(tail) + (LEAST_EXAMPLES + 1) * (longest + labels)


def _few_shot(tokenizer: Any, ask: dict[str, int]) -> Sample:
    """As many whole examples as fit: the length is missed by less than one."""
    plan = plan_topics(**ask)
    head, tail = _around(tokenizer, plan.text)
    room = ask["context_length"] - len(head) - len(tail)
    body: list[int] = []
    count = 0
    for example in draw_examples(plan, **ask):
        ids = encode(tokenizer, example)
        if len(body) + len(ids) > room:
            break
        body += ids
        count += 1
    if count < LEAST_EXAMPLES:
        raise SuiteError(
            f"context_length={ask['context_length']} holds {max(count, 0)} examples of kv/few_shot by this tokenizer; it needs "
            f"{LEAST_EXAMPLES}. Ask for at least {least_length('few_shot', tokenizer)}."
        )
    return Sample(
        task="few_shot",
        index=ask["index"],
        ids=(*head, *body, *tail),
        target=plan.target,
        context=len(head) + len(body),
        new_tokens=FEW_SHOT_TOKENS,
    )


def _around(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """(before the examples, after them). A chat model gets "Label:" as the start of its own turn."""
    around = frame(tokenizer)
    head = [*around.before, *encode(tokenizer, INSTRUCTION)]
    if not around.is_chat:
        return head, encode(tokenizer, f"Text: {text}\nLabel:")
    return head, [*encode(tokenizer, f"Text: {text}"), *around.after, *encode(tokenizer, "Label:")]


def _source(task: str) -> Source:
    if task not in SOURCES:
        raise SuiteError(f'kv@1 has no task "{task}". It has: {", ".join(TASKS)}.')
    return SOURCES[task]


__all__ = ["TASKS", "least_length", "make_sample", "new_tokens", "score"]
