"""Gated linear attention: every channel of the key forgets at its own pace, which depends on the token."""

from __future__ import annotations

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
from longboard_tasks.suites.lra.mixers.scans import NARROW, STRONGEST, channel_decayed

RANK = 16  # numbers from which a token's decays are made
SLOWER = 16  # log decays are divided by this, so that states last


class GatedLinearAttention(Scanned):
    """state_t <- diag(exp(a_t)) state_{t-1} + k_t v_t^T; o_t = norm(state_t^T q_t), gated; a_t = log sigmoid(low rank x_t) / 16.

    Cost a direction: T inner (10 width + 2 RANK + 4 NARROW + 4 K) + 2 T width RANK FLOP.
    """

    title = "Gated linear attention"
    source = "Yang et al. 2024 (GLA, arXiv:2312.06635); keys as wide as values"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.into = nn.Linear(config.width, 4 * config.inner, bias=False)
        self.decays = nn.Sequential(nn.Linear(config.width, RANK, bias=False), nn.Linear(RANK, config.inner))
        self.out = nn.Linear(config.inner, config.width, bias=False)

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v, gate = (split_heads(part, self.config.heads) for part in self.into(x).chunk(4, dim=-1))
        decay = split_heads(self.decays(x), self.config.heads)
        with exact(x):
            q, k, v, decay = (at_least_single(part) for part in (q, k, v, decay))
            decay = (F.logsigmoid(decay) / SLOWER).clamp(min=STRONGEST)
            o = head_norm(channel_decayed(q, k * keep[..., None] * self.config.head**-0.5, v, decay))
        return self.out((o.to(gate.dtype) * F.silu(gate)).flatten(2))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        a_channel = 10 * config.width + 2 * RANK + 4 * NARROW + 4 * config.head
        return ways(config) * tokens * (config.inner * a_channel + 2 * config.width * RANK)

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return config.inner * config.head
