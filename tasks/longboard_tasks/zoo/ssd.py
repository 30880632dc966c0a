"""A chunked state-space pass for training Mamba-2 in plain torch, over the weights of the stock class.

transformers' own torch path repeats keys and queries for every head in fp32 and asks for more than 80 GB to train a 3 M
model on 65,536 tokens. Here heads share them, and the products run in the model's half precision.
"""

from __future__ import annotations

import math
import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.zoo.fused import fused

CHUNK = 64
MIXERS = ("Mamba2Mixer", "GraniteMoeHybridMambaLayer")  # same parameters, same arithmetic


def chunked_ssd(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int = CHUNK) -> Tensor:
    """The state-space layer of Mamba-2 over a whole sequence, as matrix products.

        state_t <- exp(dt_t a) state_{t-1} + dt_t x_t b_t^T;   y_t = state_t c_t

    x       [B, T, H, D]  any float dtype; the matrix products run in it. T must be a multiple of `chunk`
    dt      [B, T, H]     fp32, above 0
    a       [H]           fp32, below 0
    b, c    [B, T, K]     one group, shared by all heads; dtype of x
    returns [B, T, H, D]  dtype of x

    Source: Dao & Gu 2024 (Mamba-2, arXiv:2405.21060), section 6. Decays, and states carried between chunks, are fp32.
    """
    B, T, H, D = x.shape
    n = T // chunk
    xdt = (x * dt[..., None].to(x.dtype)).view(B, n, chunk, H, D).transpose(2, 3)  # [B, n, H, chunk, D]
    b, c = b.view(B, n, chunk, -1), c.view(B, n, chunk, -1)
    decay = torch.cumsum((dt * a).view(B, n, chunk, H), dim=2).transpose(2, 3)  # [B, n, H, chunk], log
    # Within a chunk: attention-like scores, weighted by the decay between the two places.
    span = decay[..., :, None] - decay[..., None, :]
    earlier = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    # The mask goes in before exp: above the diagonal exp overflows, and inf * 0 would poison the gradient.
    mixing = torch.exp(span.masked_fill(~earlier, -torch.inf)).to(x.dtype) * (c @ b.transpose(-1, -2))[:, :, None]
    y = mixing @ xdt
    # Between chunks: what each adds to the state, carried on to the start of every later one.
    left = torch.exp(decay[..., -1:] - decay).to(x.dtype)
    added = ((xdt * left[..., None]).transpose(-1, -2) @ b[:, :, None]).float()  # [B, n, H, D, K]
    ends = F.pad(torch.cumsum(decay[..., -1], dim=1), (0, 0, 1, 0)).transpose(1, 2)  # [B, H, n + 1], log
    reach = ends[:, :, :-1, None] - ends[:, :, None, 1:]  # from the end of chunk s to the start of chunk l
    before = torch.ones(n, n, dtype=torch.bool, device=x.device).tril(-1)
    carry = torch.exp(reach.masked_fill(~before, -torch.inf))  # [B, H, n, n]
    start = (carry @ added.transpose(1, 2).flatten(3)).view(B, H, n, D, -1).transpose(1, 2).to(x.dtype)
    y = y + (c[:, :, None] @ start.transpose(-1, -2)) * torch.exp(decay).to(x.dtype)[..., None]
    return y.transpose(2, 3).reshape(B, T, H, D)


@fused
def short_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """SiLU of a depthwise convolution; each place sees itself and those just before it.

    x [B, T, channels]; weight [channels, 1, width]; bias [channels] or None; returns the shape and dtype of x. Shifted sums:
    a depthwise convolution of width 4 is far slower in the libraries, its weight gradient most of all.
    """
    T, width = x.shape[1], weight.shape[2]
    padded = F.pad(x, (0, 0, width - 1, 0))
    taps = weight.squeeze(1).to(x.dtype)  # [channels, width]
    mixed = padded[:, :T] * taps[:, 0]
    for k in range(1, width):
        mixed = mixed + padded[:, k : k + T] * taps[:, k]
    return F.silu(mixed if bias is None else mixed + bias.to(x.dtype))


def state_space(x: Tensor, dt: Tensor, b: Tensor, c: Tensor, dt_bias: Tensor, a_log: Tensor, skip: Tensor) -> Tensor:
    """`chunked_ssd` with the layer's time steps, decays and skip, for any T. x [B, T, H, D]; dt [B, T, H], before softplus."""
    T = x.shape[1]
    dt = F.softplus(dt.float() + dt_bias)
    spare = -T % CHUNK
    y = chunked_ssd(
        F.pad(x, (0, 0, 0, 0, 0, spare)),
        F.pad(dt, (0, 0, 0, spare)),  # dt = 0 past the end: no decay, nothing added
        -torch.exp(a_log.float()),
        F.pad(b, (0, 0, 0, spare)),
        F.pad(c, (0, 0, 0, spare)),
    )[:, :T]
    return y + x * skip.to(x.dtype)[:, None]


def mixer_forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Mamba2Mixer.forward` without cache or padding: [B, T, hidden] to [B, T, hidden]. Needs n_groups = 1."""
    projected = self.in_proj(hidden_states)
    gate, mixed, dt = projected.split([self.intermediate_size, self.conv_dim, self.num_heads], dim=-1)
    with torch.autocast(hidden_states.device.type, enabled=False):
        mixed = short_convolution(mixed, self.conv1d.weight, self.conv1d.bias)
        x, b, c = mixed.split([self.intermediate_size, self.ssm_state_size, self.ssm_state_size], dim=-1)
        x = x.unflatten(-1, (self.num_heads, self.head_dim))
        y = state_space(x, dt, b, c, self.dt_bias, self.A_log, self.D)
        y = self.norm(y.flatten(2), gate)
    return self.out_proj(y.to(hidden_states.dtype))


def use_chunked_ssd(model: nn.Module) -> nn.Module:
    """Let every Mamba-2 mixer of a stock model run `mixer_forward`. Its weights stay in place; it can no longer decode."""
    for module in model.modules():
        if type(module).__name__ in MIXERS:
            if module.n_groups != 1:
                raise ValueError(
                    f"chunked_ssd shares keys among all heads (n_groups=1); got n_groups={module.n_groups}"
                )
            module.forward = types.MethodType(mixer_forward, module)
    return model


@torch.no_grad()
def spread_time_steps(model: nn.Module) -> nn.Module:
    """Start time steps as Mamba-2 does, log-uniform from 0.001 to 0.1, where the stock class starts all of them at 1.3.

    With 1.3 a head forgets within a few tokens, and has to learn to remember before it can learn what.
    """
    for module in model.modules():
        if type(module).__name__ in ("GraniteMoeHybridMambaLayer", "Qwen3_5GatedDeltaNet"):
            bias: Any = module.dt_bias
            steps = torch.exp(torch.empty_like(bias).uniform_(math.log(0.001), math.log(0.1)))
            bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
    return model
