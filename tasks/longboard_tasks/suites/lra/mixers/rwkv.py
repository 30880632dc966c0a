"""RWKV's time mixing: a mean of values, weighted by keys that fade with distance, and a bonus for the token itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import MixerConfig, Scanned, at_least_single, exact, ways
from longboard_tasks.suites.lra.mixers.scans import join, mean_of, prefix_sums


class Rwkv(Scanned):
    """o_t = sigmoid(r_t) * (sum_{i<t} e^{k_i - (t-1-i) w} v_i + e^{u + k_t} v_t) / (the same sum without v), channel by channel.

    r, k and v are each made from a learned mix of x_t and x_{t-1}. Cost a direction: 8 T width inner + 8 T inner log2(T) FLOP.
    """

    title = "RWKV time mixing"
    source = "Peng et al. 2023 (RWKV-4, arXiv:2305.13048)"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.mix = nn.Parameter(torch.rand(3, config.width))
        self.receive, self.key, self.value = (nn.Linear(config.width, config.inner, bias=False) for _ in range(3))
        self.out = nn.Linear(config.inner, config.width, bias=False)
        # Paces spread over the channels, from decay 0.007 a token to 20.
        self.log_pace = nn.Parameter(torch.linspace(-5, 3, config.inner))
        self.bonus = nn.Parameter(torch.full((config.inner,), 0.3))

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        x = x * keep
        before = F.pad(x, (0, 0, 1, -1))
        r, k, v = (
            layer(x * mix + before * (1 - mix))
            for layer, mix in zip((self.receive, self.key, self.value), self.mix, strict=True)
        )
        with exact(x):
            k, v = at_least_single(k).masked_fill(keep == 0, -torch.inf), at_least_single(v)
            o = weighted_means(k, v, torch.exp(self.log_pace), self.bonus)
        return self.out(torch.sigmoid(r) * o.to(r.dtype))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        depth = max(1, tokens - 1).bit_length()
        return ways(config) * tokens * config.inner * (8 * config.width + 8 * depth)

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return 3 * config.inner + config.width


def weighted_means(k: Tensor, v: Tensor, pace: Tensor, bonus: Tensor) -> Tensor:
    """k, v [B, T, C]; pace, bonus [C]; returns [B, T, C]. Held to `weighted_means_ref`."""
    largest, top, bottom = prefix_sums(k, v, pace)
    past = (
        F.pad(largest, (0, 0, 1, -1), value=-torch.inf),
        F.pad(top, (0, 0, 1, -1)),
        F.pad(bottom, (0, 0, 1, -1)),
    )
    return mean_of(join(past, (k + bonus, v, torch.ones_like(k))))


def weighted_means_ref(k: Tensor, v: Tensor, pace: Tensor, bonus: Tensor) -> Tensor:
    """The definition: two sums, one token at a time. For keys of moderate size."""
    top = bottom = torch.zeros_like(k[:, 0])
    means = []
    for t in range(k.shape[1]):
        now = torch.exp(bonus + k[:, t])
        means.append((top + now * v[:, t]) / (bottom + now))
        top = torch.exp(-pace) * top + torch.exp(k[:, t]) * v[:, t]
        bottom = torch.exp(-pace) * bottom + torch.exp(k[:, t])
    return torch.stack(means, dim=1)
