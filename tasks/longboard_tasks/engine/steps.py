"""One token after another behind a stream, as scoring decodes: by one CUDA graph where that can be made, else by the reader."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor

from longboard_tasks.engine.graph import FEWEST_STEPS, Step, decoding
from longboard_tasks.engine.reader import Reader
from longboard_tasks.engine.stream import Stream


class Steps:
    """Calls read one more token of every row and give the logits after it, [rows, V].

    A graph is captured for `room` steps, at once; after so many it is captured again, which takes two steps of Python. Close it
    before the stream is used in another way. `eager` as in `decoding`.
    """

    def __init__(self, reader: Reader, stream: Stream, room: int, *, eager: bool = False) -> None:
        self._reader, self._stream, self._eager = reader, stream, eager
        self._room = max(room, FEWEST_STEPS)
        self._held = ExitStack()
        self._by_graph: Step | None = None
        self._taken = 0
        self._open()

    def __call__(self, tokens: list[int]) -> Tensor:
        if self._by_graph is None:
            ids = torch.tensor(tokens, device=self._reader.device)[:, None]
            return self._reader.read(self._stream, ids, 1)[:, -1]
        if self._taken == self._room:
            self.close()
            self._open()
            return self(tokens)
        self._taken += 1
        return self._by_graph(tokens, self._taken - 1)

    def close(self) -> None:
        self._by_graph = None
        self._held.close()

    def _open(self) -> None:
        self._taken = 0
        steps = decoding(self._reader, self._stream, self._room, eager=self._eager)
        self._by_graph = self._held.enter_context(steps)
