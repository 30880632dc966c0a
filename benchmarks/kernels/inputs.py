"""Numbers as trained models have them, for the cases of our recurrent kernels and for their peers."""

from __future__ import annotations

import torch
from torch import Tensor


def make_scan(tokens: int, channels: int, size: int, batch: int = 1) -> dict[str, Tensor]:
    """Numbers as a trained Mamba has them: dt from 1e-3 to 1e-1, A from -1 to -N."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    bias = torch.empty(channels, device="cuda").uniform_(1e-3, 1e-1)
    return {
        "u": draw(batch, tokens, channels),
        "dt": draw(batch, tokens, channels),
        "z": draw(batch, tokens, channels),
        "a": -torch.arange(1, size + 1, device="cuda").float().expand(channels, size).contiguous(),
        "b": draw(batch, tokens, size),
        "c": draw(batch, tokens, size),
        "skip": torch.randn(channels, device="cuda"),
        "dt_bias": bias + torch.log(-torch.expm1(-bias)),
    }


def make_ssd(tokens: int, heads: int, groups: int, size: int, states: int, batch: int = 1) -> dict[str, Tensor]:
    line = torch.randn(batch, tokens, heads * size + 2 * groups * states, device="cuda", dtype=torch.bfloat16)
    x, b, c = line.split([heads * size, groups * states, groups * states], dim=-1)
    bias = torch.empty(heads, device="cuda").uniform_(1e-3, 1e-1)
    return {
        "x": x.unflatten(-1, (heads, size)),
        "dt": torch.randn(batch, tokens, heads, device="cuda", dtype=torch.bfloat16),
        "a": -torch.arange(1, heads + 1, device="cuda").float() * 16 / heads,
        "b": b.unflatten(-1, (groups, states)),
        "c": c.unflatten(-1, (groups, states)),
        "skip": torch.randn(heads, device="cuda"),
        "dt_bias": bias + torch.log(-torch.expm1(-bias)),
    }


def make_delta(
    tokens: int, groups: int, heads: int, size: int, batch: int = 1, slow: bool = False
) -> dict[str, Tensor]:
    """Numbers as a trained model has them: slices of one line, keys that lean one way; memories of 10 to 1,000 tokens, or ten
    times that if `slow`."""
    line = torch.randn(batch, tokens, (2 * groups + heads) * size, device="cuda", dtype=torch.bfloat16)
    q, k, v = line.split([groups * size, groups * size, heads * size], dim=-1)
    k += 0.5 * torch.randn(groups * size, device="cuda", dtype=torch.bfloat16)
    spans = 10.0 ** torch.linspace(1, 3, heads, device="cuda") * (10 if slow else 1)
    return {
        "q": q.unflatten(-1, (groups, size)),
        "k": k.unflatten(-1, (groups, size)),
        "v": v.unflatten(-1, (heads, size)),
        "decay": -2 * torch.rand(batch, tokens, heads, device="cuda") / spans,
        "beta": torch.rand(batch, tokens, heads, device="cuda", dtype=torch.bfloat16),
    }
