"""Block-state: attention within blocks, which also looks at what a state space says of everything before."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import Mixer, MixerConfig, at_least_single, exact
from longboard_tasks.suites.lra.mixers.s4d import S4D, DiagonalStateSpace


class BlockState(Mixer):
    """Tokens of a block attend to their block (to earlier ones of it, when causal) and to the state space's outputs at the
    block before, which carry all that came before it; bidirectional, to those at the block after too.

    Cost: T inner (10 width + 4 inner + 8 block) FLOP, 12 for 8 when bidirectional, and S4D's kernel and FFTs.
    """

    title = "Block-state"
    source = (
        "Fathi et al. 2023 (Block-State Transformers, arXiv:2306.09539), single-head context, S4D for the state space"
    )
    options = {"block": 64, "states": 64}

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        self.into = nn.Linear(config.width, config.inner)
        self.space = DiagonalStateSpace(config.inner, self.option("states"), both=not config.causal)
        self.qkv = nn.Linear(config.width, 3 * config.inner)
        self.context = nn.Linear(config.inner, 2 * config.inner)
        self.out = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        T, block, heads = x.shape[1], self.option("block"), self.config.heads
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        u = self.into(x) * seen[..., None]
        with exact(x):
            states = F.gelu(self.space(at_least_single(u))).to(x.dtype)
        spare = -T % block
        shifts = (1,) if self.config.causal else (1, -1)  # blocks: the one before, the one after

        def blocks(part: Tensor) -> Tensor:
            """[B, T, inner] to [B, n, heads, block, K]."""
            cut = F.pad(part, (0, 0, 0, spare)).unflatten(1, (-1, block))
            return cut.unflatten(-1, (heads, -1)).transpose(2, 3)

        q, k, v = (blocks(part) for part in self.qkv(x).chunk(3, dim=-1))
        far_k, far_v = (
            torch.cat([_shift(blocks(part), by) for by in shifts], dim=3)
            for part in self.context(states).chunk(2, dim=-1)
        )
        here = F.pad(seen, (0, spare)).unflatten(1, (-1, block))[:, :, None]
        near = here.expand(-1, -1, block, -1)
        far = [_shift(here, by).expand_as(near) for by in shifts]
        if self.config.causal:
            near = near & torch.ones(block, block, dtype=torch.bool, device=x.device).tril()
        open_ = torch.cat([*far, near], dim=-1)
        open_ = open_ | ~open_.any(
            -1, keepdim=True
        )  # an ended query sees anything rather than nothing, which would be NaN
        # Blocks count as rows of the batch: the fused kernels take four dimensions, not five.
        k, v = torch.cat([far_k, k], dim=3), torch.cat([far_v, v], dim=3)
        q, k, v = (part.flatten(0, 1) for part in (q, k, v))
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=open_.flatten(0, 1)[:, None])
        return self.out(o.transpose(1, 2).flatten(2).unflatten(0, (len(x), -1)).flatten(1, 2)[:, :T])

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        block = config.options.get("block", cls.options["block"])
        states = config.options.get("states", cls.options["states"])
        seen = (8 if config.causal else 12) * block
        # Width 0: S4D without its projections.
        space = S4D.flops(replace(config, width=0, options={"states": states}), tokens)
        return tokens * config.inner * (10 * config.width + 4 * config.inner + seen) + space

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        block, states = (config.options.get(name, cls.options[name]) for name in ("block", "states"))
        return config.inner * (states + 4 * min(block, tokens))


def _shift(x: Tensor, by: int) -> Tensor:
    """[B, n, ...] moved along n; zeros, or False, come in."""
    return F.pad(x, (0, 0) * (x.ndim - 2) + (by, -by))
