"""Readers of the published data, by path: bAbI text files, and BABILong samples as JSON. Standard library only.

Sources: bAbI v1.2 (Weston et al. 2015, arXiv:1502.05698; CC BY 3.0); BABILong's samples (Kuratov et al. 2024, arXiv:2406.10149,
RMT-team/babilong on the hub). Neither ships with us.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.babilong.story import Story


@dataclass(frozen=True, slots=True)
class PublishedSample:
    """One row of the hub's data: story and background already interleaved."""

    input: str
    question: str
    target: str


def load_babi(path: Path, task: str, most_lines: int | None = None) -> list[Story]:
    """A bAbI file ("3 Where is Mary? <tab>bathroom<tab>1"), one Story for each question, as BABILong splits it.

    A story with several questions gives one Story each: every statement before the question, none of the earlier questions.
    `most_lines` drops stories with more statements than that, the question counted, as upstream. Raises SuiteError for a line
    of another form.
    """
    stories: list[Story] = []
    facts: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        ordinal, _, rest = line.strip().partition(" ")
        if not ordinal.isdigit() or not rest:
            raise SuiteError(f'{path.name}, line {number}: expected "<number> <sentence>", found {line[:60]!r}.')
        if ordinal == "1":
            facts = []
        sentence, *columns = rest.split("\t")
        if not columns:
            facts.append(sentence.strip())
        elif most_lines is None or len(facts) < most_lines:
            stories.append(Story(task, tuple(facts), sentence.strip(), columns[0].strip()))
    return stories


def load_babilong(path: Path) -> list[PublishedSample]:
    """The hub's rows as a JSON list or as JSON lines, each with "input", "question" and "target"."""
    text = path.read_text(encoding="utf-8").strip()
    try:
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        return [PublishedSample(input=row["input"], question=row["question"], target=row["target"]) for row in rows]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SuiteError(
            f'{path.name} is not BABILong data: expected rows with "input", "question" and "target" ({error}).'
        ) from error
