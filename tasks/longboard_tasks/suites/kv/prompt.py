"""Prompt compression: tokens that the model could have guessed are left out, and the rest is read as if it were the prompt.

Source: Li et al. 2023 (Selective Context, arXiv:2310.06201): keep what has the most self-information, -log p(token | before).
We differ: tokens instead of phrases; the model that answers also scores, so the context is read twice, and both count.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.reader import Reader, open_reader
from longboard_tasks.engine.stream import GrowingLayer, Stream, is_all_attention
from longboard_tasks.suites.kv.budgets import kept_count

ROWS = 512  # positions whose logits are made at a time
ROOM = 256  # tokens of a question and the start of an answer


class PromptCompression:
    """Keeps `budget` of the context's tokens, those of the highest self-information, and the first, which has nothing before it.

    The kept tokens get new positions 0, 1, 2, ...: to the model the prompt is a shorter text. Only for models whose memory
    is all full attention. Raises MethodError in `prepare` for others.
    """

    compresses = True

    def __init__(self, budget: float, *, question_aware: bool = False) -> None:
        self.budget, self.question_aware = budget, question_aware
        self.reader: Reader | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []  # (tokens, information), each [B, T], a pass at a time
        self._last = torch.empty(0)  # the hidden state after the last pass, [B, 1, C]
        self._resting = True
        self._hook: Any = None

    def attach(self, model: Any) -> None:
        self.reader = open_reader(model)
        self._hook = model.base_model.register_forward_hook(self._see, with_kwargs=True)

    def detach(self) -> None:
        if self._hook is not None:
            self._hook.remove()

    def prepare(self, stream: Stream) -> None:
        if not is_all_attention(stream):
            raise MethodError(
                "prompt_compression reads a prompt again from its beginning: it needs full attention alone."
            )

    def kept(self, stream: Stream) -> list[Tensor]:
        """Positions in the context, [B, HKV, kept] for each layer: the same in all of them."""
        places = self._choose()
        layers = [layer for layer in stream.cache.layers if isinstance(layer, GrowingLayer)]
        return [places[:, None].expand(-1, layer.keys.shape[1], -1) for layer in layers]

    def after_context(self, stream: Stream) -> None:
        if self.reader is None:
            raise MethodError("prompt_compression was not attached to the model.")
        kept = torch.cat([tokens for tokens, _ in self._seen], dim=1).gather(1, self._choose())
        for layer in stream.cache.layers:
            layer.buffers = []  # room for the whole context: the kept tokens need less
            layer.cut_to(0)
            layer.reserve = kept.shape[1] + ROOM
        stream.position = 0
        self.detach()
        self.reader.read_last(stream, kept)
        self.attach(self.reader.model)
        self._resting = True

    def after_step(self, stream: Stream) -> None:
        """The answer is not compressed."""

    def _choose(self) -> Tensor:
        """[B, kept], ascending."""
        information = torch.cat([part for _, part in self._seen], dim=1)
        kept = kept_count(information.shape[1], self.budget)
        return information.topk(kept, dim=1).indices.sort(dim=1).values

    def _see(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """After every pass through the model without its head."""
        tokens, hidden = kwargs["input_ids"], output.last_hidden_state
        is_first = int(kwargs["position_ids"][0, 0]) == 0
        if is_first:
            self._seen, self._resting = [], False
        if self._resting or self.reader is None:
            return
        head = self.reader.model.get_output_embeddings()
        before = hidden[:, :-1] if is_first else torch.cat([self._last, hidden[:, :-1]], dim=1)
        information = surprise(head, before, tokens[:, 1:] if is_first else tokens)
        if is_first:  # the first token has nothing before it, and stays
            information = torch.cat([information.new_full((len(tokens), 1), float("inf")), information], dim=1)
        self._seen.append((tokens, information))
        self._last = hidden[:, -1:].clone()


def surprise(head: Any, hidden: Tensor, tokens: Tensor) -> Tensor:
    """-log p of each token, [B, T], fp32; hidden [B, T, C] stands before it. The logits of a few at a time."""
    parts = [tokens.new_zeros((len(tokens), 0), dtype=torch.float32)]
    for states, wanted in zip(hidden.split(ROWS, dim=1), tokens.split(ROWS, dim=1), strict=True):
        logits = head(states).float()
        parts.append(logits.logsumexp(dim=-1) - logits.gather(-1, wanted[..., None])[..., 0])
    return torch.cat(parts, dim=1)
