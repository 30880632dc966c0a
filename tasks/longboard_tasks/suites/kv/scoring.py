"""Scorers of `kv@1`: those of the suites that the prompts come from. Standard library only."""

from __future__ import annotations

import re

from longboard_tasks.suites.babilong import scoring as babilong
from longboard_tasks.suites.kv.plan import SOURCES
from longboard_tasks.suites.niah import scoring as niah
from longboard_tasks.suites.recall import scoring as recall

SCORERS = {"niah": niah.score, "babilong": babilong.score, "recall": recall.score}


def score(task: str, answer: str, target: str) -> float:
    """0 to 1. few_shot: the first word of the answer is the label, in any case."""
    source = SOURCES[task]
    if source.suite == "kv":
        found = re.search(r"\w+", answer)
        return float(found is not None and found.group().lower() == target)
    return SCORERS[source.suite](source.task, answer, target)
