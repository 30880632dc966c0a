"""The training form of the gated delta rule is the stock class, computed another way."""

import copy

import pytest
import torch
from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

from longboard_tasks.zoo.delta import CHUNK, chunked_delta_rule, use_chunked_delta

SHAPE = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 16}


def small(**changes) -> Qwen3_5ForCausalLM:
    attention = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    rest = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    types = ["full_attention", "linear_attention"]
    return Qwen3_5ForCausalLM(Qwen3_5TextConfig(layer_types=types, **attention, **rest, **SHAPE | changes))


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_the_chunked_pass_gives_the_logits_and_gradients_of_the_stock_class(length):
    torch.manual_seed(0)
    stock = small()
    for name, parameter in stock.named_parameters():
        if name.endswith(("A_log", "dt_bias", "norm.weight")):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    chunked = use_chunked_delta(copy.deepcopy(stock))
    ids = torch.randint(0, 50, (2, length))
    answers = []
    for model in (stock, chunked):
        logits = model(ids, use_cache=False).logits
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        answers.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (expected, gradients), (got, got_gradients) = answers
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(got_gradients[name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-6, msg=name)


def test_the_chunked_pass_is_the_recurrence_of_its_docstring():
    torch.manual_seed(0)
    B, T, H, K, V = 2, 2 * CHUNK, 3, 8, 4
    q, k, v = torch.randn(B, T, H, K), torch.randn(B, T, H, K), torch.randn(B, T, H, V)
    k = k / k.norm(dim=-1, keepdim=True)
    decay, beta = -torch.rand(B, T, H), torch.rand(B, T, H)
    state, steps = torch.zeros(B, H, K, V, dtype=torch.float64), []
    for t in range(T):
        state = state * decay[:, t].double().exp()[..., None, None]
        new = beta[:, t, :, None] * (v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t].double()))
        state = state + k[:, t, ..., None] * new[..., None, :]
        steps.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t].double()))
    expected = torch.stack(steps, 1).float()
    torch.testing.assert_close(chunked_delta_rule(q, k, v, decay, beta), expected, rtol=1e-4, atol=1e-4)


def test_a_chunk_of_one_repeated_key_stays_finite_and_right():
    """Noise lines repeat their tokens: there the inverse's series of powers reaches 1e18 before it cancels."""
    T = 2 * CHUNK
    k = torch.ones(1, T, 1, 4) / 2
    v, beta = torch.arange(T, dtype=torch.float32).view(1, T, 1, 1), torch.full((1, T, 1), 0.999)
    o = chunked_delta_rule(k, k, v, torch.zeros(1, T, 1), beta)
    assert o[0, -1].item() == pytest.approx(T - 1, abs=0.01)  # the last value overwrote all before


def test_the_chunked_pass_refuses_grouped_heads_that_it_would_get_wrong():
    with pytest.raises(ValueError, match="as many key as value heads; got 1, 2"):
        use_chunked_delta(small(linear_num_key_heads=1))
