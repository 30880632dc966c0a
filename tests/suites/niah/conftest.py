"""Tokenizers whose tokens can be read back, and prompts as text."""

import pytest

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer

_TURNS = "{% for m in messages %}<bos>[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


@pytest.fixture(scope="session")
def plain():
    return build_byte_tokenizer()


@pytest.fixture(scope="session")
def chat():
    tokenizer = build_byte_tokenizer()
    tokenizer.chat_template = _TURNS
    return tokenizer
