"""Methods that drop keys: score every key of the context, keep the best, once; some go on dropping while decoding.

A method states a score; what is kept, positions, budgets in decoding and the hook are here. Keys keep the rotation of their
place in the text, as in kvpress; the paper of StreamingLLM turns them to places in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from longboard_tasks.engine.chunk_attention import use_chunk_attention
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.stream import Stream
from longboard_tasks.suites.kv.budgets import kept_count
from longboard_tasks.suites.kv.observing import Observation, Observer
from longboard_tasks.suites.kv.slots import SlotLayer, swap_layers

ALWAYS = float("inf")


@dataclass(frozen=True, slots=True)
class View:
    """One attention layer at the end of the context: the `number`-th of `layers` that hold keys, and what was observed."""

    layer: SlotLayer
    number: int
    layers: int
    module: Any
    observed: Any

    @property
    def keys(self) -> Tensor:  # [B, HKV, T, D]
        return self.layer.keys

    @property
    def values(self) -> Tensor:
        return self.layer.values


class Dropping:
    """The base. A subclass scores the keys of a layer, [B, HKV, T]: higher is kept.

    budget          share kept of the tokens of the context; with `evicts`, of all tokens read so far
    question_aware  compress after the question (all of the prompt but its last token) instead of before it
    uneven          may keep more in one layer than in another
    evicts          goes on in decoding: after each token the cache is within the budget again
    """

    compresses = True
    evicts: ClassVar[bool] = False
    uneven: ClassVar[bool] = False
    marks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, budget: float, *, question_aware: bool = False) -> None:
        self.budget, self.question_aware = budget, question_aware
        self.observer: Observer | None = None
        self.model: Any = None
        self.attention_before = ""

    def observation(self) -> Observation:
        """What gathers, for one layer, what the score needs of a prompt. Here nothing: keys and values are enough."""
        return _Nothing()

    def score(self, view: View) -> Tensor:
        raise NotImplementedError  # each method that drops has its own

    def step_score(self, view: View, cap: int) -> Tensor:
        """Scores of the slots while decoding (`evicts` only). The newest token is never dropped, whatever its score."""
        return self.score(view)

    def select(self, views: list[View]) -> list[Tensor]:
        """Slots to keep, for each layer [B, HKV, kept], ascending."""
        tokens = views[0].layer.length
        everything = torch.arange(tokens, device=views[0].keys.device)
        return [
            everything.expand(*view.keys.shape[:2], -1) if count >= tokens else best(self.score(view), count)
            for view, count in zip(views, self.counts(tokens, len(views)), strict=True)
        ]

    def counts(self, tokens: int, layers: int) -> list[int]:
        return [kept_count(tokens, self.budget)] * layers

    def attach(self, model: Any) -> None:
        self.model = model
        before = getattr(model.config, "_attn_implementation", "")
        # A mask has the length of the first layer, and the others' may differ: then attention goes without one.
        if self.uneven and use_chunk_attention(model):
            self.attention_before = before
        self.observer = Observer(self.observation, decoding=self.evicts)
        self.observer.attach(model)

    def detach(self) -> None:
        if self.observer:
            self.observer.detach()
        if self.attention_before:
            self.model.set_attn_implementation(self.attention_before)

    def prepare(self, stream: Stream) -> None:
        swap_layers(stream, lambda layer: SlotLayer(layer.reserve, marks=self.marks, evicts=self.evicts))

    def kept(self, stream: Stream) -> list[Tensor]:
        """Positions that `after_context` would keep, [B, HKV, kept] for each layer."""
        return self.select(self.views(stream))

    def after_context(self, stream: Stream) -> None:
        views = self.views(stream)
        kept = self.select(views)
        if len({slots.shape[-1] for slots in kept}) > 1 and _is_eager(self.model):
            raise MethodError(
                "This Method keeps unequal numbers of tokens in the layers, and eager attention has one mask for all of "
                "them. Use attention sdpa."
            )
        for view, slots in zip(views, kept, strict=True):
            view.layer.keep(slots)
        if self.observer:
            self.observer.rest()

    def after_step(self, stream: Stream) -> None:
        if not self.evicts:
            return
        for view in self.views(stream):
            layer = view.layer
            cap = kept_count(layer.seen, self.budget)
            over = layer.length - cap
            if over <= 0:
                continue
            score = self.step_score(view, cap)
            score[..., -1] = ALWAYS
            if over == 1:
                layer.evict(score.argmin(dim=-1, keepdim=True))
            else:
                layer.keep(best(score, cap))

    def views(self, stream: Stream) -> list[View]:
        layers = [(i, layer) for i, layer in enumerate(stream.cache.layers) if isinstance(layer, SlotLayer)]
        observer = self.observer
        if observer is None:
            raise MethodError(f"{type(self).__name__} was not attached to the model.")
        looks = type(self).observation is not Dropping.observation
        if looks and any(index not in observer.layers for index, _ in layers):
            raise MethodError(
                f"{type(self).__name__} looks at queries, and the attention of {type(self.model).__name__} is not of a form that "
                "it knows. knorm, streaming_llm, random and the quantised caches look at none."
            )
        return [
            View(layer, number, len(layers), observer.modules.get(index), observer.layers.get(index))
            for number, (index, layer) in enumerate(layers)
        ]


def best(score: Tensor, count: int) -> Tensor:
    """Indices of the `count` highest scores along the last dimension, ascending."""
    return score.topk(count, dim=-1).indices.sort(dim=-1).values


class _Nothing:
    def add(self, seen: Any) -> None:
        pass


def _is_eager(model: Any) -> bool:
    return bool(getattr(model.config, "_attn_implementation", "") == "eager")
