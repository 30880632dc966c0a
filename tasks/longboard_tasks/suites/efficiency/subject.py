"""A System at one context length, read and decoded on this device: what `timing` times."""

from __future__ import annotations

import gc
import re
from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.engine import is_out_of_memory
from longboard_tasks.engine.machine import synchronize
from longboard_tasks.engine.reader import Reader
from longboard_tasks.engine.steps import Steps
from longboard_tasks.engine.stream import Stream, count_bytes
from longboard_tasks.sizes import UNITS
from longboard_tasks.suites.efficiency.filling import fill
from longboard_tasks.suites.efficiency.report import Failure, Logits, Reading
from longboard_tasks.suites.efficiency.timing import Clock


class NotFinite(RuntimeError):
    """The logits had NaN or infinity in them."""


class TorchSubject:
    """Random tokens through one Reader; `steps`: tokens that the cache keeps room for after the prompt.

    reading   chunked: passes of `reader.chunk` tokens, the cache carried over; one_shot: one pass
    logits    last: of the last token; full: of every token of the prompt, all held until the first token is chosen, as
              evaluation harnesses and plain `model(input_ids)` do

    Decoding is that of scoring: a System with our kernels goes by one CUDA graph where its memories allow it, captured at the
    first step; a stock System is asked for every step by Python, as anybody's would be.
    """

    def __init__(
        self, reader: Reader, *, length: int, batch: int = 1, reading: Reading = "chunked", logits: Logits = "last",
        steps: int = 0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.reader = reader if reading == "chunked" else reader.with_(mode="step")
        self.length, self.batch, self.logits, self.steps = length, batch, logits, steps
        generator = torch.Generator().manual_seed(seed)
        vocabulary = reader.config.get_text_config(decoder=True).vocab_size
        self.host_ids = torch.randint(0, vocabulary, (batch, length), generator=generator)
        self.stream: Stream | None = None
        self.kept: Any = None  # full logits, until the first token is chosen
        self.tokens: list[int] = []  # the last chosen of each row, on the host
        self.next: Steps | None = None  # from the first decode step on
        self.last: Tensor | None = None  # the logits that chose the token, [B, V]

    @property
    def device(self) -> torch.device:
        return self.reader.device

    def read_prompt(self, clock: Clock) -> dict[str, float]:
        self.drop()
        synchronize(self.device)
        started = clock()
        ids = self.host_ids.to(self.device)
        synchronize(self.device)
        copied = clock()
        stream = self.reader.open(self.length + self.steps)
        keep = self.length if self.logits == "full" else 1
        pieces = list(self.reader.read_span(stream, ids, keep))
        synchronize(self.device)
        read = clock()
        self.stream, self.kept = stream, pieces
        self._choose(pieces[-1][:, -1])
        first = clock()
        self.kept = None
        return {"copy": copied - started, "forward": read - copied, "sample": first - read, "ttft": first - started}

    def decode_step(self) -> None:
        if self.stream is None or not self.tokens:
            raise RuntimeError("no prompt was read: there is nothing to decode after")
        if self.next is None:
            self.next = Steps(self.reader, self.stream, self.steps)
        self._choose(self.next(self.tokens))

    def stand_at(self, length: int, *, head: int) -> None:
        """A stream at `length` tokens, of which only the first `head` were read."""
        self.drop()
        head = min(head, length)
        stream = self.reader.open(head)
        ids = self.host_ids[:, :head].to(self.device)
        logits = self.reader.read_last(stream, ids)
        fill(stream, length, reserve=length + self.steps)
        self.stream = stream
        self._choose(logits)

    def read_last_pass(self, tokens: int) -> None:
        """`tokens` more after where the stream stands: the last pass of a chunked prompt."""
        if self.stream is None:
            raise RuntimeError("no prompt was read: there is no last pass")
        ids = self.host_ids[:, :tokens].to(self.device)
        keep = tokens if self.logits == "full" else 1
        self._choose(self.reader.read(self.stream, ids, keep)[:, -1])

    def room_for_logits(self, tokens: int) -> Tensor:
        """Unwritten memory for the logits of `tokens` tokens a row, in the dtype that the class gives."""
        if self.last is None:
            raise RuntimeError("no prompt was read: the logits' dtype is not known")
        return self.last.new_empty((self.batch, tokens, self.last.shape[-1]))

    def held_bytes(self) -> dict[str, int]:
        return count_bytes(self.stream) if self.stream else {"kv": 0, "state": 0}

    def drop(self) -> None:
        if self.next is not None:
            self.next.close()
        self.stream = self.kept = self.next = self.last = None
        self.tokens = []

    def _choose(self, logits: Tensor) -> None:
        self.tokens = logits.argmax(-1).tolist()  # waits: the token is on the host
        self.last = logits.clone()  # looked at outside the clock; a view would keep the logits of the whole prompt


def check_finite(subject: TorchSubject) -> None:
    """Raises NotFinite when the last logits hold NaN or infinity."""
    if subject.last is not None and not bool(torch.isfinite(subject.last).all()):
        raise NotFinite("the logits hold NaN or infinity")


def free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def failure_of(error: BaseException) -> Failure | None:
    """What an error says about a cell; None for one that nobody expected."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, NotFinite):
        return Failure(kind="non_finite", says=text)
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        found = re.search(r"[Tt]ried to allocate ([\d.]+) ?([KMGT]?i?B)", text)
        needed = int(float(found.group(1)) * UNITS.get(found.group(2), 1)) if found else None
        if not found and (plain := re.search(r"allocate (\d+) bytes", text)):
            needed = int(plain.group(1))
        return Failure(kind="out_of_memory", says=text, needed_bytes=needed)
    return None
