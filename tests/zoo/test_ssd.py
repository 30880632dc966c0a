"""The training form of Mamba-2 is the stock class, computed another way."""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    PreTrainedModel,
)

from longboard_tasks.zoo.ssd import CHUNK, chunked_ssd, short_convolution, spread_time_steps, use_chunked_ssd


def mamba2() -> PreTrainedModel:
    shape = {"hidden_size": 32, "state_size": 16, "num_heads": 4, "head_dim": 16, "expand": 2, "n_groups": 1}
    return Mamba2ForCausalLM(Mamba2Config(vocab_size=50, num_hidden_layers=2, chunk_size=32, **shape))


def hybrid() -> PreTrainedModel:
    mamba = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_chunk_size": 32}
    attention = {
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "layer_types": ["linear_attention", "full_attention"],
    }
    rest = {
        "vocab_size": 50,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "shared_intermediate_size": 48,
        "num_local_experts": 0,
    }
    return GraniteMoeHybridForCausalLM(GraniteMoeHybridConfig(**mamba, **attention, **rest))


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("build", [mamba2, hybrid])
def test_the_chunked_pass_gives_the_logits_and_gradients_of_the_stock_class(build, length):
    torch.manual_seed(0)
    stock = spread_time_steps(build())
    for name, parameter in stock.named_parameters():
        if name.endswith(("A_log", ".D", "conv1d.bias", "norm.weight")):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    chunked = use_chunked_ssd(copy.deepcopy(stock))
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
    B, T, H, D, K = 2, 3 * CHUNK, 3, 8, 4
    x, b, c = (torch.randn(B, T, *shape) for shape in ((H, D), (K,), (K,)))
    dt, a = torch.rand(B, T, H), -torch.rand(H)
    state, steps = torch.zeros(B, H, D, K, dtype=torch.float64), []
    for t in range(T):
        add = (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, None, None]
        state = torch.exp(dt[:, t] * a)[..., None, None] * state + add
        steps.append((state * c[:, t, None, None]).sum(-1))
    torch.testing.assert_close(chunked_ssd(x, dt, a, b, c), torch.stack(steps, 1).float(), rtol=1e-4, atol=1e-4)


def test_the_hybrid_starts_with_time_steps_between_a_thousandth_and_a_tenth():
    for module in spread_time_steps(hybrid()).modules():
        if hasattr(module, "dt_bias"):
            steps = torch.nn.functional.softplus(module.dt_bias)
            assert ((steps > 0.00099) & (steps < 0.101)).all()


def test_the_chunked_pass_refuses_groups_that_it_would_get_wrong():
    config = Mamba2Config(
        vocab_size=50, num_hidden_layers=1, hidden_size=32, state_size=16, num_heads=4, head_dim=16, n_groups=2
    )
    with pytest.raises(ValueError, match="n_groups=2"):
        use_chunked_ssd(Mamba2ForCausalLM(config))


def test_the_short_convolution_is_the_depthwise_one_of_the_libraries():
    torch.manual_seed(0)
    x, conv = torch.randn(2, 9, 6), torch.nn.Conv1d(6, 6, 4, groups=6, padding=3)
    expected = F.silu(conv(x.transpose(1, 2))[..., :9].transpose(1, 2))
    torch.testing.assert_close(short_convolution(x, conv.weight, conv.bias), expected)
