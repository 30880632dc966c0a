"""Softmax attention: the baseline that every other mixer is compared with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import Mixer, MixerConfig, split_heads


class SoftmaxAttention(Mixer):
    """o_t = sum_i softmax_i(q_t . k_i / sqrt(K)) v_i, over all i, or over i <= t.

    Cost: 8 T width inner + 4 T^2 inner FLOP, half of the second term when causal.
    """

    title = "Softmax attention"
    source = "Vaswani et al. 2017 (arXiv:1706.03762)"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.qkv = nn.Linear(config.width, 3 * config.inner)
        self.out = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split_heads(part, self.config.heads).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        if self.config.causal:  # what has ended lies to the right, where nobody looks
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None])
        return self.out(o.transpose(1, 2).flatten(2))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        pairs = tokens * tokens // (2 if config.causal else 1)
        return 8 * tokens * config.width * config.inner + 4 * pairs * config.inner

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return 2 * tokens * config.inner
