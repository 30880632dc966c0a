"""What every sequence mixer has in common: its settings, its directions, heads, and how a scan goes both ways."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

CAUSAL, BIDIRECTIONAL = "causal", "bidirectional"


@dataclass(frozen=True, slots=True)
class MixerConfig:
    """`inner` is the width of queries, keys and values together, or of the channels; a multiple of `heads`."""

    width: int
    heads: int
    inner: int
    causal: bool
    length: int  # longest sequence, class token included
    layer: int = 0  # its place in the stack: hybrids differ by it
    options: Mapping[str, int] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return self.inner // self.heads


class MixerError(ValueError):
    """A setting that this mixer cannot have."""


class Mixer(nn.Module):
    """[B, T, width] to [B, T, width]. `mask` [B, T] bool is False where a row has ended; what stands there has no say.

    Each subclass states its source, the directions that it has, its forward cost for one sequence in FLOP (2 a multiply-add,
    projections included), and the numbers that it must hold after T tokens to read one more (its state, or its cache).
    """

    title: ClassVar[str]
    source: ClassVar[str]
    directions: ClassVar[tuple[str, ...]] = (CAUSAL, BIDIRECTIONAL)
    options: ClassVar[Mapping[str, int]] = {}

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        wanted = CAUSAL if config.causal else BIDIRECTIONAL
        if wanted not in self.directions:
            raise MixerError(f"{self.title} is {' or '.join(self.directions)} only, not {wanted}.")
        if config.inner % config.heads:
            raise MixerError(f"inner={config.inner} is no multiple of heads={config.heads}.")
        unknown = set(config.options) - set(self.options)
        if unknown:
            has = ", ".join(self.options) or "none"
            raise MixerError(f"{self.title} has no option {', '.join(sorted(unknown))}. It has: {has}.")
        self.config = config

    def option(self, name: str) -> int:
        return self.config.options.get(name, self.options[name])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        raise NotImplementedError  # each mixer has its own

    @classmethod
    def flops(cls, config: MixerConfig, tokens: int) -> int:
        raise NotImplementedError  # each mixer has its own

    @classmethod
    def held(cls, config: MixerConfig, tokens: int) -> int:
        raise NotImplementedError  # each mixer has its own


class Scanned(Mixer):
    """A mixer that reads from left to right. Bidirectional, the same weights also read from right to left, and both are added."""

    def scan(self, x: Tensor, keep: Tensor) -> Tensor:
        """x [B, T, width], keep [B, T, 1] 1 or 0: an ended place must leave the state as it is."""
        raise NotImplementedError  # each mixer has its own

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        keep = x.new_ones(*x.shape[:2], 1) if mask is None else mask[..., None].to(x.dtype)
        ahead = self.scan(x, keep)
        if self.config.causal:
            return ahead
        return ahead + self.scan(x.flip(1), keep.flip(1)).flip(1)


def ways(config: MixerConfig) -> int:
    return 1 if config.causal else 2


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, heads * K] to [B, T, heads, K]."""
    return x.unflatten(-1, (heads, -1))


def at_least_single(x: Tensor) -> Tensor:
    """fp32 for half precision; fp32 and fp64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def exact(x: Tensor) -> AbstractContextManager[object]:
    """No autocast on x's device: states and decays need their range."""
    return torch.autocast(x.device.type, enabled=False)


def head_norm(x: Tensor) -> Tensor:
    """Each head of [B, T, H, V] to a root mean square of 1; no weights."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
