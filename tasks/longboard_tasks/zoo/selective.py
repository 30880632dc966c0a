"""The selective scan of Mamba for training, over the weights of the stock class.

transformers' own torch path holds every state of a layer, [B, T, D, N] in fp32, several times over, and takes one step of
Python for each token. Here a layer keeps one state every `TILE` tokens, and its backward pass works the others out again.
"""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.zoo.fused import fused
from longboard_tasks.zoo.ssd import short_convolution

TILE = 16  # tokens that the kernel scans at once


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The state-space layer of Mamba over a whole sequence.

        state_t <- exp(dt_t a) state_{t-1} + dt_t x_t b_t^T;   y_t = state_t c_t

    x       [B, T, D]  any float dtype
    dt      [B, T, D]  fp32, above 0
    a       [D, N]     fp32, below 0
    b, c    [B, T, N]  any float dtype
    returns [B, T, D]  dtype of x; states are fp32

    Source: Gu & Dao 2023 (Mamba, arXiv:2312.00752), algorithm 2. On a GPU it needs T in multiples of TILE, N a power of two.
    """
    if x.is_cuda:
        from longboard_tasks.zoo.selective_triton import SelectiveScan

        y: Tensor = SelectiveScan.apply(x, dt, a, b.float(), c.float(), TILE)
        return y
    return selective_scan_ref(x, dt, a, b, c)


def selective_scan_ref(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The definition: same contract, any device, any T and N, one token at a time."""
    state, steps = x.new_zeros(x.shape[0], *a.shape, dtype=torch.float32), []
    for t in range(x.shape[1]):
        state = torch.exp(dt[:, t, :, None] * a) * state + (dt[:, t] * x[:, t])[..., None] * b[:, t, None].float()
        steps.append((state * c[:, t, None].float()).sum(-1))
    return torch.stack(steps, dim=1).to(x.dtype)


@fused
def time_steps(steps: Tensor, bias: Tensor) -> Tensor:
    return F.softplus(steps.float() + bias.float())


@fused
def gated(y: Tensor, x: Tensor, gate: Tensor, skip: Tensor) -> Tensor:
    return (y + x * skip.to(x.dtype)) * F.silu(gate)


def mixer_forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`MambaMixer.forward` without cache or padding: [B, T, hidden] to [B, T, hidden]."""
    mixed, gate = self.in_proj(hidden_states).chunk(2, dim=-1)
    x = short_convolution(mixed, self.conv1d.weight, self.conv1d.bias)
    steps, b, c = self.x_proj(x).split([self.time_step_rank, self.ssm_state_size, self.ssm_state_size], dim=-1)
    dt = time_steps(F.linear(steps, self.dt_proj.weight), self.dt_proj.bias)
    with torch.autocast(x.device.type, enabled=False):
        T = x.shape[1]
        spare = (0, 0, 0, -T % TILE)  # dt = 0 past the end: no decay, nothing added
        padded = (F.pad(part, spare) for part in (x, dt, b, c))
        x_, dt_, b_, c_ = (part.contiguous() for part in padded)
        y = selective_scan(x_, dt_, -torch.exp(self.A_log.float()), b_, c_)[:, :T]
        y = gated(y, x, gate, self.D)
    return self.out_proj(y.to(hidden_states.dtype))


def use_selective_scan(model: nn.Module) -> nn.Module:
    """Let every Mamba mixer of a stock model run `mixer_forward`. Its weights stay in place; it can no longer decode."""
    for module in model.modules():
        if type(module).__name__ == "MambaMixer":
            module.forward = types.MethodType(mixer_forward, module)
    return model
