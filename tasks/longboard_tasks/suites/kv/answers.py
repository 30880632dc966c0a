"""LongBench's metrics of one answer. Standard library only.

Source: Bai et al. 2023 (LongBench, arXiv:2308.14508), metrics of the English and code sets, from their definitions. We differ: a
class name inside another right one never counts (upstream it may, for a list is changed while it is walked); edit similarity is
that of `difflib`, whatever library is installed.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def best_score(metric: str, answer: str, references: Sequence[str], classes: Sequence[str]) -> float:
    """0 to 1, over the references. Raises KeyError for a metric that there is not."""
    measure = {"f1": f1, "rouge": rouge_l, "retrieval": retrieval, "edit": edit_similarity}
    if metric == "classes":
        return max((class_share(answer, reference, classes) for reference in references), default=0.0)
    return max((measure[metric](answer, reference) for reference in references), default=0.0)


def f1(answer: str, reference: str) -> float:
    """Of words, in lower case, without punctuation and articles."""
    return _f_measure(*(_words(text) for text in (answer, reference)))


def _words(text: str) -> list[str]:
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return _ARTICLES.sub(" ", plain).split()


def _f_measure(answer: list[str], reference: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0


def rouge_l(answer: str, reference: str) -> float:
    """F of the longest common subsequence of words; case counts, as upstream."""
    a, b = answer.split(), reference.split()
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for at, other in enumerate(b, 1):
            above = row[at]
            row[at] = diagonal + 1 if word == other else max(above, row[at - 1])
            diagonal = above
    return 2 * row[-1] / (len(a) + len(b)) if row[-1] else 0.0


def class_share(answer: str, reference: str, classes: Sequence[str]) -> float:
    """1 / (classes named) if the right one is among them; a name that only stands inside the right one is not named."""
    named = {name for name in classes if name in answer and not (name in reference and name != reference)}
    return 1 / len(named) if reference in named else 0.0


def retrieval(answer: str, reference: str) -> float:
    """Share of the numbers in the answer that are the paragraph's."""
    (wanted,) = re.findall(r"Paragraph (\d+)", reference) or [""]
    numbers = re.findall(r"\d+", answer)
    return sum(number == wanted for number in numbers) / len(numbers) if numbers else 0.0


def edit_similarity(answer: str, reference: str) -> float:
    """Of the first line that is neither a fence nor a comment."""
    lines = (line for line in answer.lstrip("\n").split("\n") if not any(mark in line for mark in ("`", "#", "//")))
    return SequenceMatcher(None, next(lines, ""), reference, autojunk=False).ratio()
