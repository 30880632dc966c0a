"""Scorers of the needle tasks. Standard library only.

Source: Hsieh et al. 2024 (RULER, arXiv:2404.06654), official `string_match_all`: the answer is cleaned up, then the share
of references that it contains, case-insensitive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence


def clean(prediction: str) -> str:
    """Strip; turn control characters into newlines; strip again (the official post-processing)."""
    return re.sub(r"[\x00-\x1f]", "\n", prediction.strip()).strip()


def string_match_all(prediction: str, references: Sequence[str]) -> float:
    """Share of the references that the prediction contains, 0 to 1. A number inside a longer number counts, as upstream."""
    answer = clean(prediction).lower()
    return sum(reference.lower() in answer for reference in references) / len(references)


def string_match_part(prediction: str, references: Sequence[str]) -> float:
    """1 if any reference is contained in the prediction, else 0."""
    answer = clean(prediction).lower()
    return float(any(reference.lower() in answer for reference in references))


def score(task: str, answer: str, target: str) -> float:
    """0 to 1. `target` as in plan.py: one reference, or a JSON list of them. Questions (`qa_1`, `qa_2`): any of them counts."""
    references = json.loads(target) if target.startswith("[") else [target]
    match = string_match_part if task.startswith("qa_") else string_match_all
    return match(answer, references)
