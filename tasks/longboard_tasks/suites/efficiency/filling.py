"""A stream that stands at a long context without having read it: keys and values copied along from a first pass.

Decoding at a length, and the last pass of a chunked prompt, cost the same whatever the keys say: time and memory follow
shapes. So lengths that would take minutes to read can be measured at once. Cells say `filled` when this was done; prefill
times never come from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.stream import GrowingLayer, Stream


def fill(stream: Stream, tokens: int, *, reserve: int = 0) -> None:
    """Move `stream`, which has read at least one token, on to `tokens` in place; room for `reserve` tokens in all.

    Full attention: the keys and values read so far stand again and again. Windows: full. Recurrent states: as they are, for
    their size does not change. Raises ValueError when the stream is already further.
    """
    if tokens < stream.position:
        raise ValueError(f"the stream has read {stream.position} tokens: it cannot be put to {tokens}")
    for layer in getattr(stream.cache, "layers", []):
        if isinstance(layer, GrowingLayer):
            _fill_buffers(layer, tokens, max(reserve, tokens))
        elif getattr(layer, "is_sliding", False):
            _fill_window(layer, tokens)
        elif isinstance(getattr(layer, "keys", None), Tensor) and layer.keys.numel():
            layer.keys, layer.values = (_repeat(t, tokens) for t in (layer.keys, layer.values))
    stream.position = tokens


def _fill_buffers(layer: GrowingLayer, tokens: int, room: int) -> None:
    if not layer.buffers:
        return
    # One buffer at a time, the old one let go of before the next: the peak is that of the filled cache.
    for index in range(len(layer.buffers)):
        head = layer.buffers[index][:, :, : layer.length].clone()
        layer.buffers[index] = torch.empty(0)
        layer.keys = layer.values = torch.empty(0)
        buffer = head.new_empty((*head.shape[:2], room, head.shape[-1]))
        _write_repeated(buffer, head, tokens)
        layer.buffers[index] = buffer
    layer.cut_to(tokens)


def _fill_window(layer: Any, tokens: int) -> None:
    wanted = min(tokens, layer.sliding_window - 1)
    if isinstance(getattr(layer, "keys", None), Tensor) and layer.keys.numel() and layer.keys.shape[-2] < wanted:
        layer.keys, layer.values = (_repeat(t, wanted) for t in (layer.keys, layer.values))
    layer.cumulative_length = tokens


def _repeat(old: Tensor, tokens: int) -> Tensor:
    new = old.new_empty((*old.shape[:2], tokens, old.shape[-1]))
    _write_repeated(new, old, tokens)
    return new


def _write_repeated(into: Tensor, head: Tensor, tokens: int) -> None:
    length = head.shape[-2]
    for at in range(0, tokens, length):
        end = min(at + length, tokens)
        into[:, :, at:end].copy_(head[:, :, : end - at])
