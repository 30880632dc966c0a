"""The benchmark's prompt: instruction, examples and format reminder of each task, around story and question.

Source of the wording, kept to the letter (prompts.json), slips included, for it defines the task: Kuratov et al. 2024
(BABILong, arXiv:2406.10149), github.com/booydar/babilong, babilong/prompts.py, Apache-2.0. The examples of qa10-16 and qa20
end with a stray "<context>"; qa3's reminder has "$location_1$". Both stay.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

BEFORE_CONTEXT = "{instruction}\n\n{examples}\n\n{post_prompt}\n\n<context>\n"
AFTER_CONTEXT = "\n</context>\n\nQuestion: {question}"


@cache
def before_context(task: str) -> str:
    """Everything before the story, up to the line break after "<context>"."""
    wording = json.loads(files(__package__).joinpath("prompts.json").read_text(encoding="utf-8"))
    return BEFORE_CONTEXT.format(**wording[task])


def after_context(question: str) -> str:
    """Everything after the story. The question's trailing blank, present in the released data, goes."""
    return AFTER_CONTEXT.format(question=question.strip())
