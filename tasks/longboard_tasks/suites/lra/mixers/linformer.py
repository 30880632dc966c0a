"""Linformer: keys and values projected along the sequence to a fixed number of places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import BIDIRECTIONAL, Mixer, MixerConfig, MixerError, split_heads


class Linformer(Mixer):
    """o = softmax(Q (E K)^T / sqrt(K)) (E V), E [rank, length] learned, one for keys, values and heads. Bidirectional only.

    Cost: 8 T width inner + 8 T rank inner FLOP. Sequences up to `length`; a shorter one uses the first columns of E.
    """

    title = "Linformer"
    source = "Wang et al. 2020 (arXiv:2006.04768), key-value and headwise sharing"
    directions = (BIDIRECTIONAL,)
    options = {"rank": 128}

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.qkv = nn.Linear(config.width, 3 * config.inner)
        self.out = nn.Linear(config.inner, config.width)
        self.places = nn.Parameter(torch.randn(self.option("rank"), config.length) * config.length**-0.5)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        T = x.shape[1]
        if self.config.length < T:
            raise MixerError(f"Linformer was built for up to {self.config.length} tokens, not {T}.")
        q, k, v = (split_heads(part, self.config.heads).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        if mask is not None:
            k, v = (part * mask[:, None, :, None] for part in (k, v))
        k, v = (self.places[:, :T].to(part.dtype) @ part for part in (k, v))
        o = F.scaled_dot_product_attention(q, k, v)
        return self.out(o.transpose(1, 2).flatten(2))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        rank = config.options.get("rank", cls.options["rank"])
        return 8 * tokens * config.width * config.inner + 8 * tokens * rank * config.inner

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        return 2 * config.options.get("rank", cls.options["rank"]) * config.inner
