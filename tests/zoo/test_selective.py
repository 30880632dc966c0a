"""The training form of Mamba is the stock class, computed another way; its kernel is the recurrence."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from longboard_tasks.zoo.selective import selective_scan_ref, use_selective_scan

KERNEL_CHECK = """
import torch
from longboard_tasks.zoo.selective import TILE, selective_scan_ref
from longboard_tasks.zoo.selective_triton import SelectiveScan
torch.manual_seed(0)
for rows, T, D, N in ((2, 48, 16, 4), (1, 16, 8, 16)):
    parts = (torch.randn(rows, T, D), torch.rand(rows, T, D) * 0.5 + 1e-3, -4 * torch.rand(D, N) - 0.1,
             torch.randn(rows, T, N), torch.randn(rows, T, N))
    answers = []
    for scan in (selective_scan_ref, lambda *given: SelectiveScan.apply(*given, TILE)):
        inputs = [part.clone().requires_grad_() for part in parts]
        y = scan(*inputs)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        answers.append((y.detach(), *(part.grad for part in inputs)))
    for expected, got in zip(*answers, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
print("equal")
"""


@pytest.mark.parametrize("length", [1, 15, 16, 40])
def test_the_training_form_gives_the_logits_and_gradients_of_the_stock_class(length):
    torch.manual_seed(0)
    stock = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=32, state_size=8, num_hidden_layers=2))
    for name, parameter in stock.named_parameters():
        if name.endswith((".D", "conv1d.bias", "norm.weight")):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    light = use_selective_scan(copy.deepcopy(stock))
    ids = torch.randint(0, 50, (2, length))
    answers = []
    for model in (stock, light):
        logits = model(ids, use_cache=False).logits
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        answers.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (expected, gradients), (got, got_gradients) = answers
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(got_gradients[name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-6, msg=name)


def test_the_kernel_gives_the_outputs_and_gradients_of_the_definition():
    """In Triton's interpreter, which has to be chosen before the kernel is defined: a process of its own."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": "tasks"}
    done = subprocess.run(
        [sys.executable, "-c", KERNEL_CHECK], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-2_000:]


def test_a_state_that_decays_at_once_is_the_last_token_alone():
    x, dt, a = torch.ones(1, 3, 1), torch.ones(1, 3, 1), torch.full((1, 1), -1e4)
    b = torch.tensor([2.0, 3.0, 5.0]).view(1, 3, 1)
    assert selective_scan_ref(x, dt, a, b, torch.ones(1, 3, 1)).flatten().tolist() == [2, 3, 5]
