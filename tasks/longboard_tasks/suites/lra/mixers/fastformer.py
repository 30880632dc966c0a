"""Fastformer: additive attention through one global query and one global key."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import BIDIRECTIONAL, Mixer, MixerConfig, split_heads


class Fastformer(Mixer):
    """Per head: Q = sum_i a_i q_i, a = softmax(w . q_i / sqrt(K)); p_i = Q * k_i; P = sum_i b_i p_i, b from u . p_i likewise;
    the output is W (P * v_i) + q_i, projected. Bidirectional only: both sums run over all tokens.

    Cost: 8 T width inner + 2 T inner K + 16 T inner FLOP.
    """

    title = "Fastformer"
    source = "Wu et al. 2021 (arXiv:2108.09084); values are not tied to queries"
    directions = (BIDIRECTIONAL,)

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.qkv = nn.Linear(config.width, 3 * config.inner)
        self.weigh_q = nn.Parameter(torch.randn(config.heads, config.head) * config.head**-0.5)
        self.weigh_p = nn.Parameter(torch.randn(config.heads, config.head) * config.head**-0.5)
        self.turn = nn.Linear(config.head, config.head)
        self.out = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split_heads(part, self.config.heads) for part in self.qkv(x).chunk(3, dim=-1))
        p = k * _pool(q, self.weigh_q, mask)
        o = self.turn(v * _pool(p, self.weigh_p, mask)) + q
        return self.out(o.flatten(2))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        return 8 * tokens * config.width * config.inner + tokens * config.inner * (2 * config.head + 16)

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return 3 * tokens * config.inner  # it cannot go on: a new token changes every output


def _pool(x: Tensor, weigh: Tensor, mask: Tensor | None) -> Tensor:
    """[B, T, H, K] to its weighted mean over tokens [B, 1, H, K]."""
    score = torch.einsum("bthk,hk->bth", x, weigh.to(x.dtype)) * x.shape[-1] ** -0.5
    if mask is not None:
        score = score.masked_fill(~mask[..., None], -torch.inf)
    weight = torch.softmax(score.float() if x.dtype == torch.bfloat16 else score, dim=1).to(x.dtype)
    return torch.einsum("bth,bthk->bhk", weight, x)[:, None]
