"""Samples of niah@1 by bytes, so that a prompt can be read back as text; and the settings of the properties over them."""

from functools import cache

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.suites.niah.suite import make_sample

few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds, indexes = st.integers(0, 2**31), st.integers(0, 500)


@cache
def tokenizer():
    return build_byte_tokenizer()


def make(task, length=8_192, seed=0, index=0, by=None):
    return make_sample(task=task, context_length=length, seed=seed, index=index, tokenizer=by or tokenizer())


def text_of(sample, start=0, stop=None):
    # latin-1: a cut may be inside a letter
    return bytes(token for token in sample.ids[start:stop] if token < 256).decode("latin-1")
