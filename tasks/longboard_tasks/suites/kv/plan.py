"""What `kv@1` asks: which task of which suite, and every target, without a tokenizer. Standard library only.

The prompts of most tasks are those of `niah@1`, `babilong@1` and `recall@1` with the same seed, so a number here can be held
against the number there; the few-shot task is its own (`topics`).
"""

from __future__ import annotations

from dataclasses import dataclass

from longboard_tasks.suites.babilong import plan as babilong
from longboard_tasks.suites.kv.topics import plan_topics
from longboard_tasks.suites.niah import plan as niah
from longboard_tasks.suites.recall import plan as recall

SUITE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Source:
    """Where the prompts of a task come from."""

    suite: str
    task: str


# The categories of longctx_bench (arXiv:2407.01527) as far as they can be made offline, and tracking and recall beside them.
SOURCES = {
    "needle": Source("niah", "single"),
    "needle_keys": Source("niah", "niah_multikey_1"),
    "needle_values": Source("niah", "niah_multivalue"),
    "tracking": Source("niah", "vt"),
    "phone_book": Source("recall", "phone_book"),
    "pairs": Source("recall", "mqar"),
    "few_shot": Source("kv", "few_shot"),
    "one_fact": Source("babilong", "qa1"),
    "two_facts": Source("babilong", "qa2"),
    "one_document": Source("niah", "qa_1"),
    "two_documents": Source("niah", "qa_2"),
}
TASKS = tuple(SOURCES)
PLANS = {"niah": niah, "babilong": babilong, "recall": recall}


@dataclass(frozen=True, slots=True)
class Expected:
    target: str
    depth: float | None


def expected(task: str, *, context_length: int, seed: int, index: int) -> Expected:
    """The target and depth of sample `index`. Raises KeyError for a task that does not exist."""
    source = SOURCES[task]
    if source.suite == "kv":
        return Expected(plan_topics(context_length=context_length, seed=seed, index=index).target, None)
    known = PLANS[source.suite].expected(source.task, context_length=context_length, seed=seed, index=index)
    return Expected(known.target, known.depth)
