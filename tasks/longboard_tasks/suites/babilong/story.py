"""A story: facts in order, one question, one answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Story:
    """`facts` hold distractors too; `answer` is lower or upper case as in the released text, lists joined by commas."""

    task: str
    facts: tuple[str, ...]
    question: str
    answer: str
