"""Mamba: a state space whose steps, inputs and outputs depend on the token."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import MixerConfig, Scanned, exact, ways
from longboard_tasks.zoo.selective import TILE, selective_scan
from longboard_tasks.zoo.ssd import short_convolution


class Mamba(Scanned):
    """state_t <- exp(dt_t A) state_{t-1} + dt_t x_t b_t^T; y_t = state_t c_t + D x_t; x through a short convolution, y gated.

    dt, b, c are made from x_t, dt through `rank` = width / 16 numbers. States are fp32. Cost a direction:
    T inner (6 width + 2 convolution + 4 rank + 13 states) FLOP.
    """

    title = "Mamba"
    source = "Gu & Dao 2023 (arXiv:2312.00752)"
    options = {"states": 16, "convolution": 4}

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.states, self.rank = self.option("states"), _rank(config)
        self.into = nn.Linear(config.width, 2 * config.inner, bias=False)
        self.taps = nn.Parameter(torch.randn(config.inner, 1, self.option("convolution")) * 0.5)
        self.select = nn.Linear(config.inner, self.rank + 2 * self.states, bias=False)
        self.steps = nn.Linear(self.rank, config.inner)
        self.a_log = nn.Parameter(torch.log(torch.arange(1, self.states + 1).float()).repeat(config.inner, 1))
        self.skip = nn.Parameter(torch.ones(config.inner))
        self.out = nn.Linear(config.inner, config.width, bias=False)
        start_steps(self.steps.bias)

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        u, gate = self.into(x * keep).chunk(2, dim=-1)
        u = short_convolution(u, self.taps, None) * keep
        low, b, c = self.select(u).split([self.rank, self.states, self.states], dim=-1)
        dt = F.softplus(self.steps(low).float())
        with exact(x):
            spare = -x.shape[1] % TILE
            parts = (F.pad(part, (0, 0, 0, spare)) for part in (u, dt, b, c))
            u_, dt_, b_, c_ = (part.contiguous() for part in parts)
            y = selective_scan(u_, dt_, -torch.exp(self.a_log.float()), b_, c_)[:, : x.shape[1]]
        return self.out((y + u * self.skip).to(x.dtype) * F.silu(gate))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        states, taps = (config.options.get(name, cls.options[name]) for name in ("states", "convolution"))
        a_channel = 6 * config.width + 2 * taps + 4 * _rank(config) + 13 * states
        return ways(config) * tokens * config.inner * a_channel

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        states, taps = (config.options.get(name, cls.options[name]) for name in ("states", "convolution"))
        return config.inner * (states + taps - 1)


def _rank(config: MixerConfig) -> int:
    return max(1, config.width // 16)


@torch.no_grad()
def start_steps(bias: Tensor) -> None:
    """Time steps log-uniform from 0.001 to 0.1, as the inverse of softplus."""
    steps = torch.exp(math.log(0.001) + torch.rand_like(bias) * math.log(100))
    bias.copy_(steps + torch.log(-torch.expm1(-steps)))
