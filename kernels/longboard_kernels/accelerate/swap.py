"""Replacing the forward of one module, and taking the replacement back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

Forward = Callable[..., Any]


def swap(module: Any, forward: Forward) -> None:
    """`module(...)` runs `forward(module, ...)` from now on. The class and its other instances stay as they are."""
    module.forward = MethodType(forward, module)


def unswap(module: Any) -> None:
    """The class's own forward again."""
    module.__dict__.pop("forward", None)


def run_stock(module: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module would have done: for a call that our kernels do not cover."""
    return type(module).forward(module, *args, **kwargs)


@dataclass(slots=True)
class Handoff:
    """A block's output with the norm that the next block begins with, computed in one pass and handed on.

    The next block takes the norm only for the very tensor that it belongs to: whoever changes the stream in between, a hook or
    another layer, gets a fresh norm.
    """

    stream: Tensor | None = None
    normed: Tensor | None = None

    def give(self, stream: Tensor, normed: Tensor) -> Tensor:
        self.stream, self.normed = stream, normed
        return stream

    def take(self, stream: Tensor) -> Tensor | None:
        normed = self.normed if stream is self.stream else None
        self.stream = self.normed = None
        return normed


def carried_states(
    cache: Any, layer_index: int, like: Tensor, conv_shape: tuple[int, ...], state_shape: tuple[int, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """The convolution state and the fp32 recurrent state that a cache layer holds, made of zeros if it has read nothing.

    Both are updated in place by our kernels, so a CUDA graph finds them where it left them. (None, None) without a cache.
    """
    if cache is None:
        return None, None
    layer = cache.layers[layer_index]
    if not layer.has_previous_state[0]:
        zeros = torch.zeros(conv_shape, dtype=like.dtype, device=like.device)
        cache.update_conv_state(zeros, layer_index, conv_kernel_size=conv_shape[-1])
        cache.update_recurrent_state(torch.zeros(state_shape, dtype=torch.float32, device=like.device), layer_index)
    if layer.recurrent_states[0].dtype != torch.float32:  # left by a stock forward
        layer.recurrent_states[0] = layer.recurrent_states[0].float()
    return layer.conv_states[0], layer.recurrent_states[0]


def is_covered(module: Any, cache: Any, attention_mask: Any, kwargs: dict[str, Any]) -> bool:
    """False for what our scans leave to the stock code: training, padding masks, packed sequences, rollback by recording."""
    if module.training or attention_mask is not None:
        return False
    if any(kwargs.get(name) is not None for name in ("cu_seqlens", "cu_seq_lens_q", "seq_idx")):
        return False
    return cache is None or not cache.is_recording_past(module.layer_idx)
