"""The delta rule: a state that replaces what it holds for a key, with or without forgetting."""

from __future__ import annotations

import math

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
from longboard_tasks.zoo.delta import CHUNK, chunked_delta_rule
from longboard_tasks.zoo.ssd import short_convolution

TAPS = 4  # of the short convolution


class DeltaNet(Scanned):
    """state_t <- state_{t-1} + k_t (b_t (v_t - state_{t-1}^T k_t))^T; o_t = norm(state_t^T q_t), gated; |k_t| = 1, b_t in (0, 1).

    q, k, v go through a short convolution first. Cost a direction: T inner (10 width + 6 TAPS + 6 CHUNK + 8 K) FLOP.
    """

    title = "DeltaNet"
    source = "Yang et al. 2024 (arXiv:2406.06484)"
    forgets = False

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.into = nn.Linear(config.width, 4 * config.inner, bias=False)
        self.strength = nn.Linear(config.width, config.heads, bias=False)
        self.taps = nn.Parameter(torch.randn(3 * config.inner, 1, TAPS) * 0.5)
        self.out = nn.Linear(config.inner, config.width, bias=False)

    def log_decay(self, x: Tensor) -> Tensor:
        """[B, T, H], at most 0."""
        return x.new_zeros(*x.shape[:2], self.config.heads)

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        mixed, gate = self.into(x * keep).split([3 * self.config.inner, self.config.inner], dim=-1)
        strength, decay = self.strength(x), self.log_decay(x)
        with exact(x):
            mixed = at_least_single(short_convolution(mixed, self.taps, None))
            q, k, v = (split_heads(part, self.config.heads) for part in mixed.chunk(3, dim=-1))
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
            beta, decay = torch.sigmoid(at_least_single(strength)) * keep, at_least_single(decay)
            spare = -x.shape[1] % CHUNK
            q, k, v = (F.pad(part, (0, 0, 0, 0, 0, spare)) for part in (q, k, v))
            decay, beta = (F.pad(part, (0, 0, 0, spare)) for part in (decay, beta))
            o = head_norm(chunked_delta_rule(q, k, v, decay, beta)[:, : x.shape[1]])
        return self.out(o.flatten(2).to(gate.dtype) * F.silu(gate))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        a_channel = 10 * config.width + 6 * TAPS + 6 * CHUNK + 8 * config.head
        return ways(config) * tokens * config.inner * a_channel

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return config.inner * config.head + 3 * config.inner * (TAPS - 1)


class GatedDeltaNet(DeltaNet):
    """As DeltaNet, with state_{t-1} multiplied by exp(-a_h softplus(dt_t)) first. Cost: 2 T width H FLOP a direction more."""

    title = "Gated DeltaNet"
    source = "Yang et al. 2025 (arXiv:2412.06464)"
    forgets = True

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.steps = nn.Linear(config.width, config.heads)
        self.a_log = nn.Parameter(math.log(16) * torch.rand(config.heads))
        start_steps(self.steps.bias)

    def log_decay(self, x: Tensor) -> Tensor:
        return -torch.exp(self.a_log) * F.softplus(at_least_single(self.steps(x)))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        return super().flops(config, tokens) + ways(config) * 2 * tokens * config.width * config.heads


def delta_rule_ref(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor) -> Tensor:
    """The definition of `chunked_delta_rule`: same contract, any T, one token at a time."""
    state = q.new_zeros(*q.shape[:1], *q.shape[2:], v.shape[-1])
    outputs = []
    for t in range(q.shape[1]):
        state = torch.exp(decay[:, t])[..., None, None] * state
        error = v[:, t] - (state * k[:, t, :, :, None]).sum(-2)
        state = state + k[:, t, :, :, None] * (beta[:, t, :, None] * error)[..., None, :]
        outputs.append((state * q[:, t, :, :, None]).sum(-2))
    return torch.stack(outputs, dim=1)
