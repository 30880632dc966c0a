"""Longboard's kernels in a loaded model: swapped in, checked as the engine reads, or refused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.loading import LoadedModel
from longboard_tasks.engine.reader import open_reader

STEPS = 8  # tokens of the check that are read one by one, as decoding does


def use_kernels(loaded: LoadedModel) -> dict[str, float | int | str | bool]:
    """Run our kernels in `loaded.model` from now on; returns what the manifest says of it.

    The check reads through the engine's own cache: a run of tokens, another after it, and single ones.
    Raises MethodError, with the reason, where they do not fit, do not agree with the stock model or are not installed: a System
    that names them must not be measured without.
    """
    try:
        from longboard_kernels.accelerate import accelerate
    except ImportError as error:
        raise MethodError(
            f'Kernels "longboard" need Triton, which this node does not have ({error}). Install longboard[kernels].'
        ) from error
    reader = open_reader(loaded.model, mode="shared", chunk=64)

    def read(ids: Tensor) -> Tensor:
        stream, border = reader.open(ids.shape[1]), ids.shape[1] - STEPS
        parts = list(reader.read_span(stream, ids[:, :border], border))
        parts += [reader.read(stream, ids[:, at : at + 1], 1) for at in range(border, ids.shape[1])]
        return torch.cat(parts, dim=1)

    outcome: Any = accelerate(loaded.model, read=read)
    if not outcome.accepted:
        raise MethodError(f'Kernels "longboard" decline {loaded.architecture}: {outcome.reason}. Use kernels "stock".')
    served = ", ".join(f"{name} {count}" for name, count in sorted(outcome.swapped.items()))
    left = "; ".join(f"{name}: {reason}" for name, reason in sorted(outcome.left.items()))
    return {
        "kernels": "longboard",
        "kernels_error": outcome.error,
        "kernels_tolerance": outcome.tolerance,
        "kernels_in": served[:290],
        **({"kernels_not_in": left[:290]} if left else {}),
    }
