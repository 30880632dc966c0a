"""A sample as the engine runs it, and the text that carries its token ids through lm-eval. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt with its answer. A suite makes it from (task, context length, seed, index) and a tokenizer alone.

    ids         the whole prompt, template and special tokens included
    context     tokens before the question: what a compressing Method may see; 0: no such border
    new_tokens  the longest answer; `stops` end it earlier
    """

    task: str
    index: int
    ids: tuple[int, ...]
    target: str
    depth: float | None = None
    context: int = 0
    new_tokens: int = 24
    stops: tuple[str, ...] = ()


class TokenText(str):
    """A prompt as text, as lm-eval wants it, that remembers the exact tokens: a task defined on segments is not re-tokenised."""

    ids: tuple[int, ...]
    context: int

    def __new__(cls, text: str, ids: Sequence[int], context: int = 0) -> TokenText:
        self = super().__new__(cls, text)
        self.ids, self.context = tuple(ids), context
        return self


def tail_text(tokenizer: Any, ids: Sequence[int], characters: int = 600) -> str:
    """The end of a prompt as text, for a person to look at."""
    return str(tokenizer.decode(list(ids[-characters:]), skip_special_tokens=False))[-characters:]
