"""A model that has read some tokens: its KV cache and its state, with snapshot, rollback, fork and join.

Attention keeps what it read, so going back means forgetting the tail: `GrowingLayer` writes into one buffer and a rollback
is a number. A recurrent state is overwritten by every token, so going back needs a copy made before. A hybrid does both,
layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class GrowingLayer(DynamicLayer):
    """Keys and values of one attention layer in a buffer with room, [B, HKV, room, D]; `keys`, `values` are views of it.

    transformers' own layer concatenates at every call: each decoded token would copy the whole cache. `reserve` says how
    many tokens to make room for; past that the buffer grows by a quarter.
    """

    keys: Any  # Tensor, once something was read
    values: Any

    def __init__(self, reserve: int = 0) -> None:
        super().__init__()
        self.reserve = reserve
        self.length = 0
        self.buffers: list[Tensor] = []  # keys, values; empty until the first update
        self.clock: Any = None  # engine/graph.py: while tokens are decoded by one CUDA graph, the length on the device

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        end = self.length + key_states.shape[-2]
        for buffer, new in zip(self.open_room(key_states, value_states), (key_states, value_states), strict=True):
            buffer[:, :, self.length : end].copy_(new)
        return self.cut_to(end)

    @property
    def lends_buffers(self) -> bool:
        """May a kernel write into the buffers itself? Not those of a Method's layer, which does more than keep."""
        return type(self).update is GrowingLayer.update

    def open_room(self, key_states: Tensor, value_states: Tensor) -> list[Tensor]:
        """The buffers, with room behind what is held for tokens shaped as these, [B, HKV, T, D]."""
        end = self.length + key_states.shape[-2]
        if not self.buffers:
            self.lazy_initialization(key_states, value_states)
            self._make_room([key_states, value_states], max(self.reserve, end))
        elif end > self.buffers[0].shape[-2]:
            self._make_room(self.buffers, end + end // 4)
        return self.buffers

    def advance(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Hold that many more tokens, written into the buffers by whoever opened the room."""
        return self.cut_to(self.length + tokens)

    def cut_to(self, length: int) -> tuple[Tensor, Tensor]:
        """Forget everything after `length` tokens. Costs nothing: the buffer stays. Returns the views that are left."""
        self.length = length
        if not self.buffers:  # nothing was ever read
            return torch.empty(0), torch.empty(0)
        keys, values = (buffer[:, :, :length] for buffer in self.buffers)
        self.keys, self.values = keys, values
        return keys, values

    def replace(self, keys: Tensor, values: Tensor) -> None:
        """Hold these keys and values instead, [B, HKV, kept, D]: what a compressing Method leaves behind."""
        self.buffers = [keys.contiguous(), values.contiguous()]
        self.cut_to(keys.shape[-2])

    def get_seq_length(self) -> int:
        return self.length

    def save(self) -> Any:
        """What `load` needs to come back here. A length: going on only writes behind it."""
        return self.length

    def load(self, saved: Any) -> None:
        self.cut_to(saved)

    def held_bytes(self) -> int:
        """Bytes of what is held, not of the room for more."""
        return _count(self.keys) + _count(self.values)

    @classmethod
    def join(cls, layers: Sequence[Any], reserve: int) -> Any:
        """One layer with a row for each given one-row layer. All hold equally many tokens."""
        return join_layers(layers, reserve)

    def crop(self, tokens_to_remove: int) -> None:
        self.cut_to(self.length - abs(tokens_to_remove))

    def reset(self) -> None:
        self.cut_to(0)

    def _make_room(self, like: Sequence[Tensor], room: int) -> None:
        """Buffers shaped as `like` but for `room` tokens; what was read so far moves along."""
        old, length = self.buffers, self.length
        self.buffers = [t.new_empty((*t.shape[:2], room, t.shape[-1])) for t in like]
        for buffer, before in zip(self.buffers, old, strict=False):
            buffer[:, :, :length].copy_(before[:, :, :length])


def join_layers(layers: Sequence[GrowingLayer], reserve: int) -> GrowingLayer:
    """One layer with a row for each given one-row layer. All hold equally many tokens."""
    joined, length = GrowingLayer(reserve), layers[0].length
    if not layers[0].buffers:
        return joined
    wide = [buffer.expand(len(layers), -1, -1, -1) for buffer in layers[0].buffers]
    joined.lazy_initialization(*wide)
    joined._make_room(wide, max(reserve, length))
    for row, layer in enumerate(layers):
        for buffer, one in zip(joined.buffers, layer.buffers, strict=True):
            buffer[row, :, :length].copy_(one[0, :, :length])
    joined.cut_to(length)
    return joined


@dataclass(slots=True)
class Stream:
    """`position` tokens read by `rows` rows. `cache` is transformers' Cache, a list of state tensors (RWKV), or None."""

    cache: Any
    position: int = 0
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `restore` needs. Holds copies of every recurrent state, and only a length for attention layers."""

    position: int
    layers: tuple[Any, ...]
    is_list: bool


def open_stream(config: Any, *, reserve: int, cache_name: str) -> Stream:
    """A stream that has read nothing. `cache_name` is the model's own argument for it; "" for a model without a cache."""
    if cache_name in ("", "state"):
        return Stream(cache=None)
    cache = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = GrowingLayer(reserve)
    return Stream(cache=cache)


def take_snapshot(stream: Stream) -> Snapshot:
    if stream.cache is None:
        return Snapshot(stream.position, (), is_list=False)
    if not isinstance(stream.cache, Cache):
        return Snapshot(stream.position, tuple(_map(list(stream.cache), Tensor.clone)), is_list=True)
    layers: list[Any] = []
    for layer in stream.cache.layers:
        if isinstance(layer, GrowingLayer):
            layers.append(layer.save())
        else:
            layers.append(_copy_state(layer, layer.__dict__))
    return Snapshot(stream.position, tuple(layers), is_list=False)


def restore(stream: Stream, snapshot: Snapshot) -> None:
    """Put the stream back in place. A snapshot can be restored any number of times."""
    stream.position = snapshot.position
    if snapshot.is_list:
        stream.cache = _map(list(snapshot.layers), Tensor.clone)
        return
    if stream.cache is None or not snapshot.layers:
        stream.cache = stream.cache if snapshot.layers else None
        return
    for layer, kept in zip(stream.cache.layers, snapshot.layers, strict=True):
        if isinstance(layer, GrowingLayer):
            layer.load(kept)
        else:
            layer.__dict__.update(_copy_state(layer, kept))


def fork(stream: Stream, rows: int, *, reserve: int) -> Stream:
    """A new stream in which the one row of `stream` stands `rows` times. `stream` is left as it is."""
    return join([stream] * rows, reserve=reserve)


def join(streams: Sequence[Stream], *, reserve: int) -> Stream:
    """A new stream with a row for each given one-row stream. All must have read equally many tokens."""
    first = streams[0]
    joined = Stream(cache=None, position=first.position, rows=len(streams))
    if first.cache is None:
        return joined
    if not isinstance(first.cache, Cache):
        joined.cache = [torch.cat([s.cache[i] for s in streams]) for i in range(len(first.cache))]
        return joined
    cache = DynamicCache()
    cache.__dict__.update({k: v for k, v in first.cache.__dict__.items() if k != "layers"})
    cache.layers = []
    for index, layer in enumerate(first.cache.layers):
        rows = [s.cache.layers[index] for s in streams]
        if isinstance(layer, GrowingLayer):
            cache.layers.append(type(layer).join(rows, reserve))
        else:
            twin = layer.__class__.__new__(layer.__class__)
            twin.__dict__.update(_zip([row.__dict__ for row in rows]))
            cache.layers.append(twin)
    joined.cache = cache
    return joined


def is_all_attention(stream: Stream) -> bool:
    """True if every layer that remembers is full attention: then prompts can share one row, told apart by a mask."""
    layers = getattr(stream.cache, "layers", [])
    return bool(layers) and all(isinstance(layer, GrowingLayer) for layer in layers)


def held_tokens(stream: Stream) -> int:
    """Keys that a full-attention layer holds; fewer than the position where a Method has dropped some."""
    return next(layer.length for layer in stream.cache.layers if isinstance(layer, GrowingLayer))


def count_bytes(stream: Stream) -> dict[str, int]:
    """Bytes held now: `kv` grows with the context, `state` does not. Room that is reserved but unused is not counted."""
    held = {"kv": 0, "state": 0}
    if stream.cache is None:
        return held
    if not isinstance(stream.cache, Cache):
        held["state"] = sum(t.numel() * t.element_size() for t in stream.cache)
        return held
    for layer in stream.cache.layers:
        if isinstance(layer, GrowingLayer):
            held["kv"] += layer.held_bytes()
            continue
        for name, value in layer.__dict__.items():
            held["kv" if name in ("keys", "values") else "state"] += _count(value)
    return held


def _count(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() if value.dim() >= 2 else 0
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list | tuple) else 0


def _copy_state(layer: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """A copy that later updates of `layer` do not reach.

    Updates of transformers' dynamic attention layers build new keys and values and leave the old tensors as they were, so a
    reference to those is a copy; recurrent and convolution states are overwritten in place and have to be cloned.
    """
    shared = ("keys", "values") if isinstance(layer, DynamicLayer) else ()
    return {name: v if name in shared else _map(v, Tensor.clone) for name, v in attributes.items()}


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with `change` applied to every tensor in it; dicts, lists and tuples are rebuilt."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _map(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map(item, change) for item in value)
    return value


def _zip(values: list[Any]) -> Any:
    """The same structure with the rows of every one-row tensor put one under the other."""
    first = values[0]
    if isinstance(first, Tensor):
        has_rows = first.dim() >= 2 and first.shape[0] == 1
        return torch.cat(values) if has_rows else first.clone()
    if isinstance(first, dict):
        return {key: _zip([value[key] for value in values]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_zip(list(items)) for items in zip(*values, strict=True))
    return first
