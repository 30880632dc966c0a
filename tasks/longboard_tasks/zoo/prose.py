"""The prose that the zoo trains on: presidents' speeches, never the prose that the suites plant needles in."""

from __future__ import annotations

import re
import textwrap

from longboard_tasks.prose import load_prose
from longboard_tasks.suites.niah.plan import CITIES

CITY = re.compile(rf"\b(?:{'|'.join(CITIES)})\b", re.IGNORECASE)


def training_prose() -> list[str]:
    """116 State of the Union speeches (1791 to 2021), each once as it ships and once set like a printed book.

    The second form has lines of 72 characters, curly quotes and long dashes, as the haystacks of the suites have. Sentences
    that name a city of `niah` are left out, so that those names stay unseen.
    """
    speeches = [drop_cities(speech) for speech in load_prose("sotu").text.split("\n\n")]
    return speeches + [set_like_a_book(speech) for speech in speeches]


def drop_cities(text: str) -> str:
    return " ".join(sentence for sentence in re.split(r"(?<=[.!?;:])\s+", text) if not CITY.search(sentence))


def set_like_a_book(text: str) -> str:
    """Lines of 72 characters, paragraphs of seven sentences, typographic quotes and dashes."""
    text = text.replace("--", "—").replace("'", "’")
    text = re.sub(r'"(?=\w)', "“", text).replace('"', "”")
    sentences = re.split(r"(?<=[.!?])\s+", text)
    paragraphs = [" ".join(sentences[i : i + 7]) for i in range(0, len(sentences), 7)]
    return "\n\n".join(textwrap.fill(paragraph, 72, break_long_words=False) for paragraph in paragraphs)
