"""The hook for Methods: what is done to a model's cache at inference (compression, quantised caches, windows).

A Method sees the stream of one prompt at three moments and changes the cache in place:

    prepare         once, before the first token: swap cache layers for other ones
    after_context   once, at the border between context and question, if `compresses`: this is where KV compression happens,
                    before the question is read, so that accuracy is measured on what was kept
    after_step      after each decoded token: evict, requantise

Positions go on as if nothing had been dropped; the engine passes them explicitly. The engine reports the bytes held after
each stage (`held_bytes_context`, `held_bytes_compressed`, `held_bytes_decoded` in the manifest).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from longboard_tasks.contract import MethodRef
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.stream import GrowingLayer, Stream


class Method(Protocol):
    """`compresses` True: prompts are cut at the end of their context and `after_context` is called there."""

    compresses: bool

    def prepare(self, stream: Stream) -> None: ...

    def after_context(self, stream: Stream) -> None: ...

    def after_step(self, stream: Stream) -> None: ...


def attention_layers(stream: Stream) -> Iterator[GrowingLayer]:
    """The full-attention layers, in order: `keys` and `values` are [B, HKV, T, D]; `replace` puts in what is kept."""
    layers: list[Any] = getattr(stream.cache, "layers", [])
    return (layer for layer in layers if isinstance(layer, GrowingLayer))


def build_method(reference: MethodRef) -> Method | None:
    """The Method that a System names; None for the full cache. Raises MethodError for one that this node does not have."""
    if reference.name == "none":
        if reference.budget != 1.0:
            raise MethodError(
                f"budget={reference.budget} was asked for, but Method none keeps everything: use budget 1."
            )
        return None
    raise MethodError(f'Method "{reference.name}" is not available on this node. Available: none.')
