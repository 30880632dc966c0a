"""Retention: linear attention with a fixed decay a head, normalised and gated."""

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
from longboard_tasks.suites.lra.mixers.scans import CHUNK, decayed


class Retention(Scanned):
    """o_t = norm(sum_{i<=t} g_h^(t-i) (q_t . k_i / sqrt(K)) v_i), g_h = 1 - 2^(-5-h); out = W (silu(gate_t) * o_t).

    Cost a direction: T inner (10 width + 4 CHUNK + 4 K) FLOP.
    """

    title = "Retention"
    source = "Sun et al. 2023 (RetNet, arXiv:2307.08621), without its rotation of queries and keys"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.into = nn.Linear(config.width, 4 * config.inner, bias=False)
        self.out = nn.Linear(config.inner, config.width, bias=False)

    def log_decay(self, x: Tensor) -> Tensor:
        """[B, T, H]; 1 where x has ended is what zero keys need nothing of."""
        heads = torch.arange(self.config.heads, device=x.device, dtype=torch.float64)
        return torch.log1p(-(2.0 ** (-5 - heads))).to(x.dtype).expand(*x.shape[:2], -1)

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v, gate = (split_heads(part, self.config.heads) for part in self.into(x).chunk(4, dim=-1))
        with exact(x):
            q, k, v = (at_least_single(part) for part in (q, k, v))
            k = k * keep[..., None] * self.config.head**-0.5
            o = head_norm(decayed(q, k, v, self.log_decay(q)))
        return self.out((o.to(gate.dtype) * F.silu(gate)).flatten(2))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        return ways(config) * tokens * config.inner * (10 * config.width + 4 * CHUNK + 4 * config.head)

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return config.inner * config.head
