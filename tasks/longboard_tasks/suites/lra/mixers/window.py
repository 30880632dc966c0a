"""Attention to near tokens, alone or with a few global ones: blocks of queries over their own and the neighbouring blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import Mixer, MixerConfig, split_heads


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, window: int, causal: bool, global_tokens: int = 0
) -> Tensor:
    """Softmax over |t - i| <= window (t - window <= i <= t when causal) and over the first `global_tokens` tokens.

    q, k, v [B, H, T, K]; mask [B, T] bool; returns [B, H, T, K]. When not causal the global tokens also look at all others.
    Source: Beltagy et al. 2020 (arXiv:2004.05150). Cost: 4 T (3 window + global_tokens) H K FLOP; 2 for 3 when causal.
    """
    T = q.shape[2]
    spare = -T % window
    seen = torch.ones(q.shape[0], T, dtype=torch.bool, device=q.device) if mask is None else mask
    sides = (-1, 0) if causal else (-1, 0, 1)

    def neighbours(x: Tensor, dim: int) -> Tensor:
        """Blocks of `dim` [.., n, window, ..] with those before (and after) them [.., n, window * len(sides), ..]."""
        rest = (0, 0) * (x.ndim - dim - 1)
        blocks = F.pad(x, (*rest, window, spare + window)).unflatten(dim, (-1, window))
        n = blocks.shape[dim] - 2
        return torch.cat([blocks.narrow(dim, 1 + side, n) for side in sides], dim=dim + 1)

    near_k, near_v, near_seen = neighbours(k, 2), neighbours(v, 2), neighbours(seen, 1)
    blocks = F.pad(q, (0, 0, 0, spare)).unflatten(2, (-1, window))
    n = blocks.shape[2]
    here = torch.arange(window, device=q.device)[:, None]
    there = torch.arange(-window, window * (len(sides) - 1), device=q.device)
    allowed = (here - there).abs() <= window
    if causal:
        allowed &= there <= here
    # A global token is looked at once: by its own column below.
    place = torch.arange(n, device=q.device)[:, None] * window + there
    open_ = allowed & ((place >= global_tokens) & near_seen)[:, :, None]  # [B, n, window, window * sides]
    if global_tokens:
        first = torch.arange(global_tokens, device=q.device)
        reach = seen[:, None, None, :global_tokens].expand(-1, n, window, -1)
        if causal:
            reach = reach & (first <= torch.arange(n, device=q.device)[:, None, None] * window + here)
        open_ = torch.cat([reach, open_], dim=-1)
        near_k, near_v = (
            torch.cat([x[:, :, None, :global_tokens].expand(-1, -1, n, -1, -1), near], dim=3)
            for x, near in ((k, near_k), (v, near_v))
        )
    open_ = open_ | ~open_.any(-1, keepdim=True)  # an ended query sees anything rather than nothing, which would be NaN
    # Blocks count as rows of the batch: the fused kernels take four dimensions, not five.
    rows_q, rows_k, rows_v = (x.transpose(1, 2).flatten(0, 1) for x in (blocks, near_k, near_v))
    o = F.scaled_dot_product_attention(rows_q, rows_k, rows_v, attn_mask=open_.flatten(0, 1)[:, None])
    o = o.unflatten(0, (-1, n)).transpose(1, 2).flatten(2, 3)[:, :, :T]
    if global_tokens and not causal:
        far = F.scaled_dot_product_attention(q[:, :, :global_tokens], k, v, attn_mask=seen[:, None, None])
        o = torch.cat([far, o[:, :, global_tokens:]], dim=2)
    return o


class LocalWindow(Mixer):
    """Softmax attention over |t - i| <= window. Cost: 8 T width inner + 12 T window inner FLOP, 8 for 12 when causal."""

    title = "Local window"
    source = "Beltagy et al. 2020 (arXiv:2004.05150), without global tokens"
    options = {"window": 64}
    global_tokens = 0

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.qkv = nn.Linear(config.width, 3 * config.inner)
        self.out = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split_heads(part, self.config.heads).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        o = window_attention(
            q, k, v, mask, window=self.option("window"), causal=self.config.causal,
            global_tokens=min(self.global_tokens, x.shape[1]),
        )  # fmt: skip
        return self.out(o.transpose(1, 2).flatten(2))

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        blocks = 2 if config.causal else 3
        window = config.options.get("window", cls.options["window"])
        seen = blocks * window + cls.global_tokens
        far = 0 if config.causal else 4 * cls.global_tokens * tokens * config.inner
        return 8 * tokens * config.width * config.inner + 4 * tokens * seen * config.inner + far

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        window = config.options.get("window", cls.options["window"])
        return 2 * min(tokens, window + cls.global_tokens) * config.inner


class Longformer(LocalWindow):
    """A local window, and a first token (the class token) that sees all and is seen by all. Both use the same projections."""

    title = "Window and global"
    source = "Beltagy et al. 2020 (Longformer, arXiv:2004.05150); the global token has no projections of its own"
    global_tokens = 1
