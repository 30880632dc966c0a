"""K4 against definitions written another way: a loop over taps, and the norm as its formula says."""

from __future__ import annotations

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels.conv import causal_conv, causal_conv_ref
from longboard_kernels.errors import KernelInputError
from longboard_kernels.norms import add_rms_norm, gated_rms_norm
from longboard_kernels.tuned import forced


def conv_by_taps(x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor) -> Tensor:
    """The sum as written, in fp64. `past` [B, S, C] stands before x."""
    width, line = weight.shape[1], torch.cat([past.double(), x.double()], dim=1)
    start, out = past.shape[1], torch.zeros_like(x, dtype=torch.float64)
    for t in range(x.shape[1]):
        for w in range(width):
            at = start + t - width + 1 + w
            if at >= 0:
                out[:, t] += weight[:, w].double() * line[:, at]
    out = out + (bias.double() if bias is not None else 0)
    return out * torch.sigmoid(out)


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("tokens", [1, 2, 33])
def test_the_convolution_is_the_sum_over_its_taps_and_the_state_moves_on(width: int, tokens: int, device: str) -> None:
    wide = torch.randn(2, tokens, 60, device=device)
    x = wide[..., 5:53]  # a slice of a projection
    weight, bias = torch.randn(48, width, device=device), torch.randn(48, device=device)
    state = torch.randn(2, 48, 4, device=device)
    past = state.transpose(1, 2).clone()
    wanted = conv_by_taps(x, weight, bias, past)
    with forced("causal_conv", {"rows": 16, "block": 32, "num_warps": 4}):
        got = causal_conv(x, weight, bias, state)
    assert relative_error(got, wanted) < 1e-6
    assert torch.equal(state, torch.cat([past, x], dim=1)[:, -4:].transpose(1, 2))


def test_a_cut_line_gives_the_same_as_a_whole_one(device: str) -> None:
    x, weight = torch.randn(1, 40, 20, device=device), torch.randn(20, 4, device=device)
    whole = causal_conv(x, weight, None, None)
    state = torch.zeros(1, 20, 4, device=device)
    parts = [causal_conv(part, weight, None, state) for part in x.split([17, 1, 22], dim=1)]
    assert relative_error(torch.cat(parts, dim=1), whole) < 1e-6


def test_the_definition_of_the_convolution_is_the_sum_over_its_taps() -> None:
    x, weight, bias = torch.randn(2, 9, 6), torch.randn(6, 4), torch.randn(6)
    wanted = conv_by_taps(x, weight, bias, torch.zeros(2, 0, 6))
    assert relative_error(causal_conv_ref(x, weight, bias, None), wanted) < 1e-6


def test_a_transposed_input_is_refused(device: str) -> None:
    with pytest.raises(KernelInputError, match="channel stride"):
        causal_conv(torch.randn(1, 8, 16, device=device).mT, torch.randn(8, 4, device=device), None, None)


@pytest.mark.parametrize("width", [64, 100])
@pytest.mark.parametrize("residual_dtype", [torch.float32, torch.float16, None])
def test_the_sum_and_its_norm_leave_together(width: int, residual_dtype: torch.dtype | None, device: str) -> None:
    x = torch.randn(3, 5, width, device=device).half()
    residual = None if residual_dtype is None else torch.randn(3, 5, width, device=device).to(residual_dtype)
    weight = torch.randn(width, device=device).half()
    y, h = add_rms_norm(x, residual, weight, 1e-5)
    summed = x.double() if residual is None else (x.double() + residual.double()).to(residual.dtype).double()
    wanted = weight.double() * summed / (summed.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    assert relative_error(h, summed) < 1e-3
    assert relative_error(y, wanted) < 1e-3
    assert y.dtype == torch.float16


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("group", [0, 24])
def test_the_gated_norm_is_its_formula_in_groups(norm_first: bool, group: int, device: str) -> None:
    wide = torch.randn(2, 3, 200, device=device)
    x, gate, weight = wide[..., :48], wide[..., 100:148], torch.randn(48, device=device)
    silu = gate.double() * torch.sigmoid(gate.double())
    inner = x.double() if norm_first else x.double() * silu
    parts = inner.reshape(2, 3, -1, group or 48)
    wanted = (parts / (parts.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()).reshape(2, 3, 48) * weight.double()
    wanted = wanted * silu if norm_first else wanted
    assert relative_error(gated_rms_norm(x, gate, weight, 1e-6, group=group, norm_first=norm_first), wanted) < 1e-6
