"""AFT-simple: every channel is a gated mean of its values, weighted by its keys alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import Mixer, MixerConfig, at_least_single, exact
from longboard_tasks.suites.lra.mixers.scans import mean_of, prefix_sums


class AttentionFree(Mixer):
    """o_t = sigmoid(q_t) * sum_i exp(k_i) v_i / sum_i exp(k_i), channel by channel, over all i, or over i <= t. One head.

    Cost: 8 T width inner + 6 T inner FLOP; causal as a log-depth scan, 8 T inner log2(T).
    """

    title = "AFT-simple"
    source = "Zhai et al. 2021 (Attention Free Transformer, arXiv:2105.14103), without position biases"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.qkv = nn.Linear(config.width, 3 * config.inner)
        self.out = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        with exact(x):
            k, v = at_least_single(k), at_least_single(v)
            if mask is not None:
                k = k.masked_fill(~mask[..., None], -torch.inf)
            o = mean_of(prefix_sums(k, v)) if self.config.causal else (torch.softmax(k, dim=1) * v).sum(1, keepdim=True)
        return self.out(torch.sigmoid(q) * o.to(q.dtype))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        depth = 8 * max(1, tokens - 1).bit_length() if config.causal else 6
        return 8 * tokens * config.width * config.inner + depth * tokens * config.inner

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return 3 * config.inner
