"""Mamba-2: the state space of Mamba with one decay a head, as products of matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import (
    MixerConfig,
    Scanned,
    at_least_single,
    exact,
    head_norm,
    split_heads,
    ways,
)
from longboard_tasks.suites.lra.mixers.mamba import start_steps
from longboard_tasks.suites.lra.mixers.scans import CHUNK
from longboard_tasks.zoo.ssd import chunked_ssd, short_convolution


class Mamba2(Scanned):
    """state_t <- exp(dt_t a_h) state_{t-1} + dt_t x_t b_t^T; y_t = state_t c_t + D_h x_t; b and c are shared by all heads.

    Cost a direction: T inner (6 width + 2 CHUNK + 4 states) + 2 T states (2 width + CHUNK) FLOP.
    """

    title = "Mamba-2"
    source = "Dao & Gu 2024 (arXiv:2405.21060); the gate follows a norm of each head without weights"
    options = {"states": 64, "convolution": 4}

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.states = self.option("states")
        self.into = nn.Linear(config.width, 2 * config.inner + 2 * self.states + config.heads, bias=False)
        self.taps = nn.Parameter(torch.randn(config.inner + 2 * self.states, 1, self.option("convolution")) * 0.5)
        self.step_bias = nn.Parameter(torch.zeros(config.heads))
        self.a_log = nn.Parameter(torch.log(1 + 15 * torch.rand(config.heads)))
        self.skip = nn.Parameter(torch.ones(config.heads))
        self.out = nn.Linear(config.inner, config.width, bias=False)
        start_steps(self.step_bias)

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        inner, states, heads = self.config.inner, self.states, self.config.heads
        gate, mixed, dt = self.into(x * keep).split([inner, inner + 2 * states, heads], dim=-1)
        with exact(x):
            mixed = at_least_single(short_convolution(mixed, self.taps, None) * keep)
            u, b, c = mixed.split([inner, states, states], dim=-1)
            u = split_heads(u, heads)
            dt = F.softplus(at_least_single(dt) + self.step_bias)
            spare = -x.shape[1] % CHUNK  # dt = 0 past the end: no decay, nothing added
            y = chunked_ssd(
                F.pad(u, (0, 0, 0, 0, 0, spare)), F.pad(dt, (0, 0, 0, spare)), -torch.exp(self.a_log),
                F.pad(b, (0, 0, 0, spare)), F.pad(c, (0, 0, 0, spare)), CHUNK,
            )[:, : x.shape[1]]  # fmt: skip
            y = head_norm(y + u * self.skip[:, None]).flatten(2)
        return self.out(y.to(gate.dtype) * F.silu(gate))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        states = config.options.get("states", cls.options["states"])
        heads = config.inner * (6 * config.width + 2 * CHUNK + 4 * states)
        return ways(config) * tokens * (heads + 2 * states * (2 * config.width + CHUNK))

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        states, taps = (config.options.get(name, cls.options[name]) for name in ("states", "convolution"))
        return config.inner * states + (config.inner + 2 * states) * (taps - 1)
