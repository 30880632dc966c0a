"""Aaren: attention with one learned query a head, read as an RNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import MixerConfig, Scanned, at_least_single, exact, split_heads, ways
from longboard_tasks.suites.lra.mixers.scans import mean_of, prefix_sums


class Aaren(Scanned):
    """o_t = sum_{i<=t} softmax(q . k_i / sqrt(K)) v_i, with q [H, K] learned and the same at every t.

    Cost: 6 T width inner + 8 T inner log2(T) FLOP a direction, and the output's 2 T inner width.
    """

    title = "Aaren"
    source = "Feng et al. 2024 (Attention as an RNN, arXiv:2405.13956)"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.query = nn.Parameter(torch.randn(config.heads, config.head))
        self.kv = nn.Linear(config.width, 2 * config.inner)
        self.out = nn.Linear(config.inner, config.width)

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        k, v = (split_heads(part, self.config.heads) for part in self.kv(x).chunk(2, dim=-1))
        with exact(x):
            k, v = at_least_single(k), at_least_single(v)
            score = torch.einsum("bthk,hk->bth", k, self.query) * self.config.head**-0.5
            score = score.masked_fill(keep == 0, -torch.inf)
            o = mean_of(prefix_sums(score[..., None], v))
        return self.out(o.flatten(2).to(x.dtype))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        depth = max(1, tokens - 1).bit_length()
        return ways(config) * tokens * config.inner * (6 * config.width + 8 * depth)

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return config.inner + 2 * config.heads
