"""The training form of Mamba-2 is the stock class, computed another way."""

import copy

import pytest
import torch
from transformers import Mamba2Config, Mamba2ForCausalLM

from longboard_tasks.zoo.ssd import use_chunked_ssd


@pytest.fixture(scope="module")
def stock() -> Mamba2ForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "state_size": 16, "num_heads": 4, "head_dim": 16, "expand": 2, "n_groups": 1}
    model = Mamba2ForCausalLM(Mamba2Config(vocab_size=50, num_hidden_layers=2, chunk_size=32, **shape))
    for name, parameter in model.named_parameters():
        if name.endswith(("dt_bias", "A_log", ".D", "conv1d.bias", "norm.weight")):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_the_chunked_pass_gives_the_logits_and_gradients_of_the_stock_class(stock, length):
    chunked = use_chunked_ssd(copy.deepcopy(stock))
    ids = torch.randint(0, 50, (2, length))
    answers = []
    for model in (stock, chunked):
        model.zero_grad()
        logits = model(ids, use_cache=False).logits
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        answers.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (expected, gradients), (got, got_gradients) = answers
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(got_gradients[name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-6, msg=name)


def test_the_chunked_pass_refuses_groups_that_it_would_get_wrong():
    config = Mamba2Config(
        vocab_size=50, num_hidden_layers=1, hidden_size=32, state_size=16, num_heads=4, head_dim=16, n_groups=2
    )
    with pytest.raises(ValueError, match="n_groups=2"):
        use_chunked_ssd(Mamba2ForCausalLM(config))
