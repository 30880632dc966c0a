"""Scorers of the recall tasks. Standard library only.

Sources: Jelassi et al. 2024 (Repeat After Me, arXiv:2402.01032) for string and character accuracy and the phone book's exact
match of the first line; Arora et al. 2023 (Zoology, arXiv:2312.04927) for mqar, the share of right values.
"""

from __future__ import annotations

import re


def score(task: str, answer: str, target: str) -> float:
    """0 to 1. Blanks between letters do not count; nothing may stand before the answer."""
    if task == "phone_book":
        return float(_first_line(answer) == target)
    if task == "mqar":
        given, wanted = re.findall(r"(?<!\w)\d+(?!\w)", _first_line(answer)), target.split()
        return sum(one == two for one, two in zip(given, wanted, strict=False)) / len(wanted)
    return float(_letters(answer)[: len(target)] == target)


def secondary(task: str, answer: str, target: str) -> dict[str, float]:
    """Character accuracy of the string tasks: the share of the target's letters that stand at their place."""
    if task in ("phone_book", "mqar"):
        return {}
    equal = sum(one == two for one, two in zip(_letters(answer), target, strict=False))
    return {"accuracy_characters": equal / len(target)}


def _first_line(answer: str) -> str:
    return answer.strip().split("\n")[0].strip()


def _letters(answer: str) -> str:
    return "".join(answer.split())
