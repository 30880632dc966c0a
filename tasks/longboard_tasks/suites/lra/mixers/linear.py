"""Linear attention: the softmax replaced by a product of positive features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import Mixer, MixerConfig, at_least_single, exact, split_heads
from longboard_tasks.suites.lra.mixers.scans import CHUNK, decayed


class LinearAttention(Mixer):
    """o_t = sum_i (f(q_t) . f(k_i)) v_i / sum_i f(q_t) . f(k_i), f = elu + 1, over all i, or over i <= t.

    Cost: 8 T width inner + 4 T inner K FLOP; causal, in chunks of C, 2 T inner (2 C + 2 K).
    """

    title = "Linear attention"
    source = "Katharopoulos et al. 2020 (arXiv:2006.16236)"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.qkv = nn.Linear(config.width, 3 * config.inner)
        self.out = nn.Linear(config.inner, config.width)

    def features(self, x: Tensor) -> Tensor:
        """[B, T, H, K] to positive [B, T, H, any]."""
        return F.elu(x) + 1

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split_heads(part, self.config.heads) for part in self.qkv(x).chunk(3, dim=-1))
        with exact(x):
            q, k, v = self.features(at_least_single(q)), self.features(at_least_single(k)), at_least_single(v)
            if mask is not None:
                k = k * mask[..., None, None]
            v = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)  # the last channel adds the weights up
            if self.config.causal:
                o = decayed(q, k, v, None)
            else:
                o = torch.einsum("bthk,bhkv->bthv", q, torch.einsum("bthk,bthv->bhkv", k, v))
            o = o[..., :-1] / o[..., -1:].clamp(min=1e-20)
        return self.out(o.flatten(2).to(x.dtype))

    @classmethod
    def feature_count(cls, config: MixerConfig) -> int:
        return config.head

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        features = cls.feature_count(config)
        chunk = CHUNK * (1 + features / config.head) / 2 if config.causal else 0
        return 8 * tokens * config.width * config.inner + int(4 * tokens * config.inner * (features + chunk))

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return config.heads * cls.feature_count(config) * (config.head + 1)
