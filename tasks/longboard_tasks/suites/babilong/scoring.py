"""The two scorers of BABILong. Standard library only; nothing here needs a model, a tokenizer or a story.

`official` is the benchmark's comparison with its faults (Kuratov et al. 2024, arXiv:2406.10149; babilong/metrics.py as of
2026-06, Apache-2.0, from its definition, not its code): labels are found as substrings, so "know" says "no", qa7's "none" can
never score because it holds "one", and a leading "1." empties the answer. `word_boundary` has the same rule on whole words.
"""

from __future__ import annotations

import json
import re

_ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
LABELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("qa1", "qa2", "qa3", "qa4", "qa11", "qa12", "qa13"), _ROOMS),
    "qa5": ("bill", "fred", "jeff", "mary", "apple", "football", "milk"),
    **dict.fromkeys(("qa6", "qa9", "qa17", "qa18"), ("no", "yes")),
    "qa7": ("none", "one", "three", "two"),
    "qa8": ("apple", "football", "milk", "nothing"),
    "qa10": ("maybe", "no", "yes"),
    "qa14": ("bedroom", "cinema", "kitchen", "office", "park", "school"),
    "qa15": ("cat", "mouse", "sheep", "wolf"),
    "qa16": ("gray", "green", "white", "yellow"),
    "qa19": ("e,e", "e,n", "e,s", "n,e", "n,n", "n,w", "s,e", "s,s", "s,w", "w,n", "w,s", "w,w"),
    "qa20": ("bedroom", "bored", "garden", "hungry", "kitchen", "thirsty", "tired"),
}


def official(task: str, question: str, target: str, prediction: str) -> bool:
    """The benchmark's comparison: of the task's labels, those in the question left out, the answer has the target alone.

    The answer is cut at its first full stop, at "<context>" and at "<example>". A target with commas and more than three
    characters (qa8) is a set of labels, in any order; "s,w" (qa19) is one label.
    """
    answer = prediction.lower()
    for end in (".", "<context>", "<example>"):
        answer = answer.partition(end)[0]
    labels, asked, target = LABELS[task], question.lower(), target.lower()
    found = {label for label in labels if label in answer and label not in asked}
    return _is_only(target, found)


def word_boundary(task: str, question: str, target: str, prediction: str) -> bool:
    """`official` on whole words: "no" is not in "know", nor "one" in "none".

    Three more faults are mended: a piece without a letter ("1.") is not the first sentence, "Question" ends the answer in
    any case, and qa19's "s, w" is "s,w". Digits are still no number words, plural animals no labels.
    """
    answer = re.split(r"<context>|<example>|\bquestion\b", prediction.lower())[0]
    answer = next((piece for piece in answer.split(".") if re.search(r"[^\W\d_]", piece)), "")
    labels, asked = LABELS[task], question.lower()
    found = {label for label in labels if _has_word(answer, label) and not _has_word(asked, label)}
    return _is_only(target.lower(), found)


def score(task: str, answer: str, target: str) -> float:
    """The accuracy column: `word_boundary`. `target` is the JSON object that `plan.expected` gives."""
    known = json.loads(target)
    return float(word_boundary(task, known["question"], known["answer"], answer))


def secondary(task: str, answer: str, target: str) -> dict[str, float]:
    """The second column: the official comparison."""
    known = json.loads(target)
    return {"accuracy_official": float(official(task, known["question"], known["answer"], answer))}


def _is_only(target: str, found: set[str]) -> bool:
    parts = target.split(",") if "," in target and len(target) > 3 else [target]
    return len(found) == len(parts) and all(part in found for part in parts)


def _has_word(text: str, label: str) -> bool:
    """Is the label in the text as a word of its own? A hyphen binds ("no-one"); "s,w" is not in "s,w,n"."""
    if "," in label:
        label = label.replace(",", r"\s*,\s*")
        return re.search(rf"(?<![\w,]){label}(?!\w|\s*,\s*\w)", text) is not None
    return re.search(rf"(?<!\w)(?<!\w-){label}(?!\w|-\w)", text) is not None
