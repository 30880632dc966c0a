"""Building a prompt from token segments, to the token.

Segments are tokenised one by one, without special tokens: merges across the border of a needle would change the haystack
before it, and with it everything that prompts have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.prose import load_prose

_MARK = "\u2060HAYSTACK\u2060"  # a text that no template contains
_DATE = "26 Jul 2024"  # some templates print today's date: a prompt has to be the same tomorrow
_prose_ids: WeakKeyDictionary[Any, dict[str, list[int]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before the user's text and after it. Without a chat template: a BOS token, if the tokenizer adds one."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    is_chat: bool


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a segment, without special tokens of the tokenizer's own."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def prose_ids(tokenizer: Any, name: str = "moby-dick") -> list[int]:
    """The haystack's token ids: tokenised once a process and tokenizer (about a second)."""
    known = _prose_ids.setdefault(tokenizer, {})
    if name not in known:
        known[name] = encode(tokenizer, load_prose(name).text)
    return known[name]


def frame(tokenizer: Any) -> Frame:
    """The chat template's tokens around one user turn, with the assistant's header at the end; or the BOS alone."""
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": _MARK}], tokenize=False, add_generation_prompt=True, date_string=_DATE
        )
        before, mark, after = text.partition(_MARK)
        if not mark:
            raise SuiteError(
                "The model's chat template changes or drops the user's text, so a prompt cannot be built to the token."
            )
        return Frame(tuple(encode(tokenizer, before)), tuple(encode(tokenizer, after)), is_chat=True)
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and list(tokenizer.encode("a"))[:1] == [bos]
    return Frame((bos,) if adds_bos else (), (), is_chat=False)
