"""The hook for Methods: what is done to a model's cache at inference (compression, quantised caches, windows).

A Method sees a model, then the stream of one prompt at three moments, and changes the cache in place:

    attach          once for a model, by `open_engine`: hooks on its modules, for what no cache says; `detach` takes them off
    prepare         once, before the first token: swap cache layers for other ones
    after_context   once, at the border between context and question, if `compresses`: this is where KV compression happens,
                    before the question is read, so that accuracy is measured on what was kept
    after_step      after each decoded token: evict, requantise

Positions go on as if nothing had been dropped; the engine passes them explicitly. The engine reports the bytes held after
each stage (`held_bytes_context`, `held_bytes_compressed`, `held_bytes_decoded` in the manifest).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from longboard_tasks.contract import MethodRef
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.stream import GrowingLayer, Stream


class Method(Protocol):
    """`compresses` True: prompts are cut at the end of their context and `after_context` is called there."""

    compresses: bool

    def prepare(self, stream: Stream) -> None: ...

    def after_context(self, stream: Stream) -> None: ...

    def after_step(self, stream: Stream) -> None: ...


@runtime_checkable
class LooksAtModel(Protocol):
    """A Method that has to see the model itself."""

    def attach(self, model: Any) -> None: ...

    def detach(self) -> None: ...


def is_question_aware(method: Method | None) -> bool:
    """True: the Method compresses the question with the context, all of the prompt but its last token."""
    return bool(getattr(method, "question_aware", False))


def attention_layers(stream: Stream) -> Iterator[GrowingLayer]:
    """The full-attention layers, in order: `keys` and `values` are [B, HKV, T, D]; `replace` puts in what is kept."""
    layers: list[Any] = getattr(stream.cache, "layers", [])
    return (layer for layer in layers if isinstance(layer, GrowingLayer))


def build_method(reference: MethodRef) -> Method | None:
    """The Method that a System names; None for the full cache, and for any Method at budget 1.

    Raises MethodError for one that this node does not have, and for settings that it does not.
    """
    if reference.name == "none":
        if reference.budget != 1.0:
            raise MethodError(
                f"budget={reference.budget} was asked for, but Method none keeps everything: use budget 1."
            )
        return None
    # Late: the methods stand in a suite, and the engine knows none.
    return import_module("longboard_tasks.suites.kv.registry").build(reference)
