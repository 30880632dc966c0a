"""A cache layer that can forget any of its tokens, not only the last: what methods that drop keys work on.

Before the first drop it is a GrowingLayer. After it, slot i no longer holds token i: `positions` says which token it holds, for
each key-value head on its own. The order of slots means nothing to attention, so one token is dropped by moving the last
slot into its place: a decode step that keeps within a budget copies one key, not the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.stream import GrowingLayer, Stream

ROOM = 256  # tokens to make room for beyond what is kept: a question, or the start of an answer


class SlotLayer(GrowingLayer):
    """marks: tensors [B, HKV, length], one value a slot, which move with their slots. New slots get 0.

    `positions` (int32) is the token that a slot holds; other names belong to the method. `seen`: tokens read in all.
    evicts: slots will be overwritten in decoding, so coming back needs a copy; else a length is enough.
    """

    def __init__(self, reserve: int = 0, *, marks: Sequence[str] = (), evicts: bool = False) -> None:
        super().__init__(reserve)
        self.marks: dict[str, Tensor] = {}
        self.mark_names = tuple(marks)
        self.seen = 0
        self.evicts = evicts

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        new = key_states.shape[-2]
        if self.buffers and self.length + new > self.buffers[0].shape[-2]:
            # Less room than a plain layer makes: a compressed cache should not hold a quarter more than it says.
            self._make_room(self.buffers, self.length + new + ROOM)
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        fresh = torch.arange(self.seen, self.seen + new, dtype=torch.int32, device=keys.device)
        for name in self.mark_names:
            shape = (*key_states.shape[:2], new)
            added = fresh.expand(shape) if name == "positions" else fresh.new_zeros(shape, dtype=torch.float32)
            old = self.marks.get(name)
            self.marks[name] = added if old is None or not old.shape[-1] else torch.cat([old, added], dim=-1)
        self.seen += new
        return keys, values

    def keep(self, slots: Tensor, *, room: int = ROOM) -> None:
        """Hold these slots only, [B, HKV, kept], in their order, with room for `room` more tokens."""
        kept = slots.shape[-1]
        for number, name in enumerate(("keys", "values")):
            # One at a time, the old one let go of before the next is made.
            old = getattr(self, name)
            buffer = old.new_empty((*old.shape[:2], kept + room, old.shape[-1]))
            buffer[:, :, :kept].copy_(old.gather(2, slots[..., None].expand(-1, -1, -1, old.shape[-1])))
            self.buffers[number] = buffer
            setattr(self, name, buffer[:, :, :kept])
        self.marks = {name: mark.gather(-1, slots) for name, mark in self.marks.items()}
        self.length = kept

    def evict(self, slots: Tensor) -> None:
        """Drop one slot of each head, [B, HKV, 1]: the last slot takes its place. In place; copies one key."""
        last = self.length - 1
        for buffer in self.buffers:
            index = slots[..., None].expand(-1, -1, -1, buffer.shape[-1])
            buffer.scatter_(2, index, buffer[:, :, last : last + 1])
        for name, mark in self.marks.items():
            self.marks[name] = mark.scatter(-1, slots, mark[..., last:])[..., :last]
        GrowingLayer.cut_to(self, last)

    def cut_to(self, length: int) -> tuple[Tensor, Tensor]:
        if length < self.length:
            self.seen -= self.length - length
            self.marks = {name: mark[..., :length] for name, mark in self.marks.items()}
        return super().cut_to(length)

    def save(self) -> Any:
        """Of an empty layer or a compressed one: the engine comes back to no others under a Method."""
        marks = {name: mark.clone() for name, mark in self.marks.items()}
        held = [self.keys.clone(), self.values.clone()] if self.evicts and self.length else None
        return self.length, self.seen, marks, held

    def load(self, saved: Any) -> None:
        length, seen, marks, held = saved
        if held is not None:
            self.buffers = [torch.cat([t, t.new_empty((*t.shape[:2], ROOM, t.shape[-1]))], dim=2) for t in held]
        elif not length:
            self.buffers = []  # those of a compressed context have no room for the next one
        GrowingLayer.cut_to(self, length)
        self.seen, self.marks = seen, dict(marks)

    def held_bytes(self) -> int:
        return super().held_bytes() + sum(mark.numel() * mark.element_size() for mark in self.marks.values())

    @classmethod
    def join(cls, layers: Sequence[Any], reserve: int) -> Any:
        first: SlotLayer = layers[0]
        room = max(reserve - first.seen, 0) + first.length  # `reserve` counts tokens read, held or not
        joined = cls(room, marks=first.mark_names, evicts=first.evicts)
        if not first.buffers:
            return joined
        wide = [buffer.expand(len(layers), -1, -1, -1) for buffer in first.buffers]
        joined.lazy_initialization(*wide)
        joined._make_room(wide, max(room, first.length))
        for row, layer in enumerate(layers):
            for buffer, one in zip(joined.buffers, layer.buffers, strict=True):
                buffer[row, :, : first.length].copy_(one[0, :, : first.length])
        GrowingLayer.cut_to(joined, first.length)
        joined.marks = {name: torch.cat([layer.marks[name] for layer in layers]) for name in first.marks}
        joined.seen = first.seen
        return joined


def swap_layers(stream: Stream, make: Callable[[GrowingLayer], GrowingLayer]) -> None:
    """Put `make(layer)` in the place of every full-attention layer. Raises MethodError where there is none."""
    layers = getattr(stream.cache, "layers", [])
    found = [index for index, layer in enumerate(layers) if isinstance(layer, GrowingLayer)]
    if not found:
        raise MethodError(
            "This model keeps a state of fixed size or a window: there are no keys that a Method could make smaller. Use none."
        )
    for index in found:
        layers[index] = make(layers[index])
