"""Chunks after a cache need no mask: the same attention as with one, and a mask only where the pattern asks for it."""

import pytest
import torch
from tiny import load_tiny
from transformers.masking_utils import causal_mask_function, sliding_window_causal_mask_function

from longboard_tasks.engine import chunk_attention
from longboard_tasks.engine.reader import open_reader


class Module:
    is_causal = True

    def __init__(self, groups):
        self.num_key_value_groups = groups


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (4, 1)])
@pytest.mark.parametrize(("tokens", "held"), [(1, 9), (5, 5), (5, 12), (64, 200), (63, 64)])
def test_each_query_sees_what_came_before_it_and_itself(heads, kv_heads, tokens, held):
    generator = torch.Generator().manual_seed(tokens * held)
    query = torch.randn(2, heads, tokens, 16, generator=generator)
    key, value = (torch.randn(2, kv_heads, held, 16, generator=generator) for _ in range(2))
    groups = heads // kv_heads
    out, _ = chunk_attention.attend(Module(groups), query, key, value, None, scaling=0.3)
    # By hand, query by query, in fp64.
    for head in range(heads):
        for i in range(tokens):
            seen = held - tokens + i + 1
            keys, values = (t[:, head // groups, :seen].double() for t in (key, value))
            weights = torch.softmax((keys @ query[:, head, i].double()[..., None])[..., 0] * 0.3, dim=-1)
            expected = (weights[..., None] * values).sum(1)
            torch.testing.assert_close(out[:, i, head].double(), expected, rtol=1e-5, atol=1e-5)


def ask(**changes):
    asked = {"batch_size": 1, "q_length": 4, "kv_length": 10, "q_offset": 6, "mask_function": causal_mask_function}
    return chunk_attention.make_mask(**{**asked, **changes})


def test_a_plain_chunk_has_no_mask():
    assert ask() is None
    assert ask(q_length=1, q_offset=9) is None


@pytest.mark.parametrize(
    ("changes", "seen_by_last"),
    [
        ({"mask_function": sliding_window_causal_mask_function(3), "local_size": 3}, [7, 8, 9]),
        ({"attention_mask": torch.tensor([[0] * 4 + [1] * 6])}, [4, 5, 6, 7, 8, 9]),
        ({"kv_length": 12}, list(range(10))),  # room for two more tokens than were read
        ({"allow_is_causal_skip": False}, list(range(10))),
    ],
)
def test_any_other_pattern_is_spelled_out(changes, seen_by_last):
    mask = ask(**changes)
    assert mask[0, 0, -1].nonzero().flatten().tolist() == seen_by_last


@pytest.mark.parametrize("name", ["llama", "mistral", "zamba2", "falcon-h1", "qwen3-next"])
def test_a_model_that_is_switched_reads_the_same_in_chunks(name):
    model = load_tiny(name).model
    reader = open_reader(model, chunk=64)
    ids = torch.randint(0, model.config.vocab_size, (1, 150), generator=torch.Generator().manual_seed(3))

    def read():
        return torch.cat(list(reader.read_span(reader.open(150), ids, 150)), dim=1)

    before = read()
    assert chunk_attention.use_chunk_attention(model)
    torch.testing.assert_close(read(), before, rtol=1e-4, atol=1e-5)


def test_a_model_without_attention_is_left_alone():
    model = load_tiny("mamba2").model
    before = model.config._attn_implementation
    assert not chunk_attention.use_chunk_attention(model)
    assert model.config._attn_implementation == before
