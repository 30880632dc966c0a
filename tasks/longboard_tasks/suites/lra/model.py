"""The classifier that every mixer stands in: embedding, layers of mixer and MLP, one vector a sequence, a head."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.suites.lra.mixers.base import MixerConfig
from longboard_tasks.suites.lra.mixers.registry import build_mixer, fit
from longboard_tasks.suites.lra.tasks import Shape


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a submission names: a registered mixer, its direction, its options."""

    mixer: str
    causal: bool = False
    options: dict[str, int] = field(default_factory=dict)


class Layer(nn.Module):
    """x + mixer(norm x), then x + MLP(norm x), dropout on both."""

    def __init__(self, architecture: Architecture, shape: Shape, length: int, number: int) -> None:
        super().__init__()
        base = MixerConfig(
            shape.width, shape.heads, shape.inner, architecture.causal, length, number, architecture.options
        )
        self.mix_norm, self.mlp_norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.mixer = build_mixer(architecture.mixer, fit(architecture.mixer, base))
        self.up, self.down = nn.Linear(shape.width, shape.mlp), nn.Linear(shape.mlp, shape.width)
        self.dropout = shape.dropout

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + F.dropout(self.mixer(self.mix_norm(x), mask), self.dropout, self.training)
        hidden = F.gelu(self.up(self.mlp_norm(x)))
        return x + F.dropout(self.down(hidden), self.dropout, self.training)


class Classifier(nn.Module):
    """ids [B, T], or [B, 2, T] of a pair, int64, 0 where a row has ended; returns logits [B, classes].

    `full` says that no row ends early: attention then takes its fastest kernel, which knows no mask.
    Bidirectional, a sequence becomes the vector of a class token in front, or the mean over its tokens, as the task says; causal,
    the vector at its last token, which alone has seen all. A pair is two such vectors, from the same weights, side by side.

    Source: the base Transformer of Tay et al. 2021 (arXiv:2011.04006). We differ: norms come before mixer and MLP, GELU for ReLU
    in the MLP. Raises MixerError for an architecture that does not exist.
    """

    def __init__(
        self,
        architecture: Architecture,
        shape: Shape,
        *,
        vocabulary: int,
        classes: int,
        length: int,
        pair: bool = False,
    ) -> None:
        super().__init__()
        self.pool = "last" if architecture.causal else shape.pool
        places = length + (self.pool == "class")
        self.embed = nn.Embedding(vocabulary, shape.width)
        self.places = nn.Parameter(torch.randn(places, shape.width) * 0.02)
        self.first = nn.Parameter(torch.zeros(shape.width)) if self.pool == "class" else None
        self.layers = nn.ModuleList(Layer(architecture, shape, places, number) for number in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Sequential(
            nn.Linear(shape.width * (2 if pair else 1), shape.mlp), nn.ReLU(), nn.Linear(shape.mlp, classes)
        )
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, ids: Tensor, *, full: bool = False) -> Tensor:
        vectors = self.encode(ids.reshape(-1, ids.shape[-1]), full=full)
        logits: Tensor = self.head(vectors.reshape(len(ids), -1))
        return logits

    def encode(self, ids: Tensor, *, full: bool = False) -> Tensor:
        """[B, T] to one vector a row [B, width]."""
        x, mask = self.embed(ids), ids > 0
        if self.first is not None:
            x = torch.cat([self.first.expand(len(x), 1, -1), x], dim=1)
            mask = F.pad(mask, (1, 0), value=True)
        x = x + self.places[: x.shape[1]]
        for layer in self.layers:
            x = layer(x, None if full else mask)
        if self.pool == "class":
            x = x[:, 0]
        elif self.pool == "last":
            last = (mask.sum(1) - 1).clamp(min=0)
            x = x[torch.arange(len(x), device=x.device), last]
        else:
            x = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        vector: Tensor = self.norm(x)
        return vector
