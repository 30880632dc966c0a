"""Decoding by one CUDA graph: a step is one launch, wherever every memory of the model stands still while tokens are added.

A model of 1B parameters computes a token in 3 to 10 ms on an H100, and transformers' Python takes 40 to 140 ms to ask for it.
A graph replays the launches of one step. For that nothing may move or be counted by Python: recurrent states are updated in
place, keys and values go into a buffer with room, and where they go stands in a `Clock` on the device, which our attention
(longboard_kernels.accelerate) reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, LinearAttentionLayer

from longboard_tasks.engine.reader import Reader
from longboard_tasks.engine.stream import GrowingLayer, Stream

log = logging.getLogger(__name__)
FEWEST_STEPS = 6  # capturing takes two steps of Python
Step = Callable[[list[int], int], Tensor]


@dataclass(frozen=True, slots=True)
class Clock:
    """Where the next token goes, on the device: start [1] int64, tokens held; lengths [rows] int32, tokens seen with it."""

    start: Tensor
    lengths: Tensor

    def tick(self) -> None:
        self.start.add_(1)
        self.lengths.add_(1)


def stands_still(reader: Reader, stream: Stream) -> bool:
    """May this stream be decoded by a graph? Its layers are states updated in place, and buffers that a clocked model writes.

    A System without our kernels is decoded by stock code: its numbers are those that anybody would get.
    """
    is_accelerated = hasattr(reader.model, "follows_clock")
    if not is_accelerated or reader.mode != "shared" or not isinstance(stream.cache, Cache):
        return False
    layers = stream.cache.layers
    growing = [layer for layer in layers if isinstance(layer, GrowingLayer)]
    others = [layer for layer in layers if not isinstance(layer, GrowingLayer)]
    clocked = reader.model.follows_clock and all(layer.lends_buffers for layer in growing)
    return (clocked or not growing) and all(type(layer) is LinearAttentionLayer for layer in others)


@contextmanager
def decoding(reader: Reader, stream: Stream, steps: int, *, eager: bool = False) -> Iterator[Step | None]:
    """A function (one token a row, step number) -> logits [rows, V] after them, or None where no graph can be made.

    Gives the tokens that `reader.read` would give; the stream moves on with each call. `eager` runs the same preallocated step
    without a graph: for tests on a machine without CUDA.
    """
    on_cuda = reader.device.type == "cuda"
    if not (on_cuda or eager) or steps < FEWEST_STEPS or not stands_still(reader, stream):
        yield None
        return
    layers = [layer for layer in stream.cache.layers if isinstance(layer, GrowingLayer)]
    device, rows = reader.device, stream.rows
    clock = Clock(
        torch.tensor([stream_length(layers, stream)], device=device),
        torch.full((rows,), stream_length(layers, stream) + 1, dtype=torch.int32, device=device),
    )
    for layer in layers:
        room = layer.keys[:, :, :1].expand(-1, -1, steps, -1)
        layer.open_room(room, room)
        layer.clock = clock
    ids = torch.zeros(rows, 1, dtype=torch.long, device=device)
    position = torch.full((rows, 1), stream.position, device=device)
    try:
        run = _run_eagerly if eager and not on_cuda else _capture
        try:
            replay = run(reader, stream, ids, position, clock)
        except Exception as error:  # a kernel without room for its tiles, an operator that cannot be captured
            log.warning("decoding without a graph", extra={"reason": f"{type(error).__name__}: {str(error)[:200]}"})
            _stop(layers)
            yield None
            return

        def step(chosen: list[int], number: int) -> Tensor:
            ids.copy_(torch.tensor(chosen)[:, None])
            logits = replay()
            stream.position += 1
            for layer in layers:
                layer.advance(1)
            return logits.clone()

        yield step
    finally:
        _stop(layers)


def _stop(layers: list[GrowingLayer]) -> None:
    for layer in layers:
        layer.clock = None


def stream_length(layers: list[GrowingLayer], stream: Stream) -> int:
    """Tokens that the attention layers hold; the position where there is none."""
    return layers[0].length if layers else stream.position


def _forward(reader: Reader, stream: Stream, ids: Tensor, position: Tensor, clock: Clock) -> Tensor:
    call: dict[str, Any] = {"input_ids": ids, "use_cache": True, reader.cache_name: stream.cache}
    if reader.takes_positions:
        call["position_ids"] = position
    if reader.takes_keep:
        call["logits_to_keep"] = 1
    logits = reader.model(**call).logits[:, -1]
    position.add_(1)
    clock.tick()
    return logits


def _run_eagerly(reader: Reader, stream: Stream, ids: Tensor, position: Tensor, clock: Clock) -> Callable[[], Tensor]:
    @torch.no_grad()
    def run() -> Tensor:
        return _forward(reader, stream, ids, position, clock)

    return run


@torch.no_grad()
def _capture(reader: Reader, stream: Stream, ids: Tensor, position: Tensor, clock: Clock) -> Callable[[], Tensor]:
    """Warm up once, put every state back in place, capture. Kernels compile and libraries open their handles in the warm-up."""
    states: list[Any] = [
        state
        for layer in stream.cache.layers
        if isinstance(layer, LinearAttentionLayer)
        for state in (layer.conv_states[0], layer.recurrent_states[0])
    ]
    kept = [state.clone() for state in states]
    counters = [position, clock.start, clock.lengths]
    counted = [counter.clone() for counter in counters]
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    try:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            _forward(reader, stream, ids, position, clock)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            logits = _forward(reader, stream, ids, position, clock)
    finally:
        for tensor, before in zip(states + counters, kept + counted, strict=True):
            tensor.copy_(before)

    def run() -> Tensor:
        graph.replay()
        return logits

    return run
