"""Performer: linear attention whose features estimate the softmax without bias."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from longboard_tasks.suites.lra.mixers.base import MixerConfig
from longboard_tasks.suites.lra.mixers.linear import LinearAttention


class Performer(LinearAttention):
    """Features exp(w_j . x - |x|^2 / 2) / sqrt(m) of x = q / K^(1/4) or k / K^(1/4), with m rows w_j, orthogonal in blocks of K.

    The rows are drawn once, from a fixed seed and the layer's number, and kept with the weights. Cost: as linear attention with
    m features for K, and 4 T inner m for the features.
    """

    title = "Performer"
    source = "Choromanski et al. 2021 (FAVOR+, arXiv:2009.14794)"
    options = {"features": 256}
    rows: Tensor

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.register_buffer("rows", draw_rows(self.option("features"), config.head, seed=config.layer))

    def features(self, x: Tensor) -> Tensor:
        x = x * x.shape[-1] ** -0.25
        exponent = x @ self.rows.to(x.dtype).T - x.square().sum(-1, keepdim=True) / 2
        return torch.exp(exponent.clamp(max=40.0)) * self.rows.shape[0] ** -0.5

    @classmethod
    def feature_count(cls, config: MixerConfig) -> int:
        return config.options.get("features", cls.options["features"])

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        return super().flops(config, tokens) + 4 * tokens * config.inner * cls.feature_count(config)


def draw_rows(count: int, size: int, *, seed: int) -> Tensor:
    """[count, size] fp32: Gaussian lengths, directions orthogonal within each block of `size` rows."""
    draw: dict[str, Any] = {"generator": torch.Generator().manual_seed(seed), "device": "cpu"}
    blocks = [_rotation(torch.randn(size, size, **draw)) for _ in range(math.ceil(count / size))]
    lengths = torch.randn(count, size, **draw).norm(dim=1, keepdim=True)
    return torch.cat(blocks)[:count] * lengths


def _rotation(x: Tensor) -> Tensor:
    """The orthogonal part of x. Without R's signs LAPACK favours one half-space, and the estimate is a fifth off."""
    q, r = torch.linalg.qr(x)
    return q * torch.sign(torch.diagonal(r))
