"""Feeding tokens to a causal LM in chunks, whatever its architecture calls its cache.

The schedule is absolute: a span is cut where a multiple of `chunk` lies, never relative to where it starts, so that two
prompts with the same beginning make the same calls on it. No architecture gives bit-equal logits for different cuts (other
matrix shapes, other rounding); with the same cuts all of them do.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from longboard_tasks.engine.stream import Stream, open_stream

PrefixMode = Literal["shared", "step", "off"]
CACHE_NAMES = ("past_key_values", "cache_params", "state")


@dataclass(frozen=True, slots=True)
class Reader:
    """One model with the way it is read. Frozen: a schedule is part of a result.

    mode    shared: a cache may be continued by any number of tokens. step: only token by token after one first pass.
            off: never; everything is computed from its beginning, every time.
    chunk   tokens in one forward pass, a multiple of `grain` (mode "shared" only)
    """

    model: Any
    cache_name: str
    takes_positions: bool
    takes_keep: bool
    mode: PrefixMode = "shared"
    chunk: int = 512

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def config(self) -> Any:
        return self.model.config

    def with_(self, *, mode: PrefixMode | None = None, chunk: int | None = None) -> Reader:
        return replace(self, mode=mode or self.mode, chunk=chunk or self.chunk)

    def open(self, reserve: int = 0) -> Stream:
        return open_stream(self.config, reserve=reserve, cache_name="" if self.mode == "off" else self.cache_name)

    @torch.no_grad()
    def read_packed(self, stream: Stream, ids: Tensor, positions: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        """One forward pass over tokens of several prompts in one row, [1, T], after a trunk that all of them have.

        positions [T]; mask [T, everything held and T], True where a token may look; keep: indices into T. Returns [keep, V].
        The stream's own position stays: the prompts have no common one.
        """
        dtype = next(self.model.parameters()).dtype
        hidden = torch.zeros(mask.shape, dtype=dtype, device=ids.device).masked_fill_(~mask, torch.finfo(dtype).min)
        call: dict[str, Any] = {"input_ids": ids, "use_cache": True, self.cache_name: stream.cache}
        call |= {"position_ids": positions[None], "attention_mask": hidden[None, None]}
        if self.takes_keep:
            return self.model(**call, logits_to_keep=keep).logits[0]
        return self.model(**call).logits[0, keep]

    @torch.no_grad()
    def read(self, stream: Stream, ids: Tensor, keep: int) -> Tensor:
        """One forward pass: `ids` [B, T] follow what `stream` has read, which moves on by T in place.

        Returns the logits of the last `keep` positions, [B, keep, V], in the model's dtype.
        """
        rows, tokens = ids.shape
        call: dict[str, Any] = {"input_ids": ids, "use_cache": bool(self.cache_name) and self.mode != "off"}
        if self.takes_positions:
            # Always passed: some hybrids derive a wrong default from a layer that counts no tokens.
            first = stream.position
            call["position_ids"] = torch.arange(first, first + tokens, device=ids.device)[None].expand(rows, -1)
        if self.takes_keep:
            call["logits_to_keep"] = keep
        if call["use_cache"] and not (self.cache_name == "state" and stream.cache is None):
            call[self.cache_name] = stream.cache
        output = self.model(**call)
        if self.cache_name == "state" and call["use_cache"]:
            stream.cache = output.state
        stream.position += tokens
        stream.rows = rows
        return output.logits[:, -keep:]

    def cuts(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The forward passes over [start, end) on this schedule."""
        if self.mode == "step" and start > 0:
            yield from ((at, at + 1) for at in range(start, end))
        elif self.mode != "shared":
            yield start, end
        else:
            while start < end:
                stop = min(end, (start // self.chunk + 1) * self.chunk)
                yield start, stop
                start = stop

    def read_span(self, stream: Stream, ids: Tensor, keep: int = 1) -> Iterator[Tensor]:
        """Read `ids` [B, T] in chunks; yields the logits of the last `keep` positions in pieces, [B, k, V], in order."""
        start, end = stream.position, stream.position + ids.shape[1]
        for a, b in self.cuts(start, end):
            wanted = b - max(a, end - keep)
            logits = self.read(stream, ids[:, a - start : b - start], max(wanted, 1))
            if wanted > 0:
                yield logits

    def read_last(self, stream: Stream, ids: Tensor) -> Tensor:
        """Read `ids` [B, T] in chunks; the logits after the last token, [B, V]."""
        *_, logits = self.read_span(stream, ids)
        return logits[:, -1]


def open_reader(model: Any, *, mode: PrefixMode = "shared", chunk: int = 512) -> Reader:
    """Look at what the model's forward takes. `mode` is a wish until the self-test has confirmed it."""
    names = set(inspect.signature(model.forward).parameters)
    cache_name = next((name for name in CACHE_NAMES if name in names), "")
    return Reader(
        model=model,
        cache_name=cache_name,
        takes_positions="position_ids" in names,
        takes_keep="logits_to_keep" in names,
        mode=mode if cache_name else "off",
        chunk=chunk,
    )
