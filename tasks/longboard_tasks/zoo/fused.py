"""Elementwise chains as one kernel on a GPU: a recurrent layer's eager code launches hundreds and moves its tensors as often."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

# Padded matrix shapes fix strides at the first length seen; the next length then breaks the backward pass (PyTorch 2.11).
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {"shape_padding": False, "comprehensive_padding": False}


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of tensors, through torch.compile where the first of them is on a GPU; elsewhere as it is.

    Rows and tokens (dimensions 0 and 1 of tensors with three or more) may change from call to call, so one compilation serves all
    layers and lengths. For short functions: with many shapes that depend on the lengths it takes minutes.
    """
    compiled = torch.compile(function, options=OPTIONS)

    @wraps(function)
    def call(*tensors: Any) -> Any:
        if not tensors[0].is_cuda:
            return function(*tensors)
        mark_lengths(tensors)
        return compiled(*tensors)

    return call


def mark_lengths(tensors: tuple[Any, ...]) -> None:
    for tensor in tensors:
        if tensor is not None and tensor.ndim >= 3 and not isinstance(tensor, torch.nn.Parameter):
            for dimension in (0, 1):
                torch._dynamo.maybe_mark_dynamic(tensor, dimension)
