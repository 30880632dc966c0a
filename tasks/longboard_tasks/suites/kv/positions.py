"""Which tokens a method keeps, with no engine and no suite around it: for tests, figures and notebooks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longboard_tasks.contract import MethodRef
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.methods import build_method
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.suites.kv.dropping import Dropping
from longboard_tasks.suites.kv.prompt import PromptCompression


def kept_positions(
    method: str, budget: float, model: Any, input_ids: Tensor, *, chunk: int = 0, **settings: float | int | str | bool
) -> list[Tensor]:
    """What `method` keeps of a context: one tensor [B, HKV, kept] a full-attention layer, int64, ascending along `kept`.

    budget     share kept, in (0, 1]; at 1 everything is kept
    model      a transformers causal LM
    input_ids  [B, T], no padding
    chunk      tokens in one pass; 0: all of them. The set is the same up to rounding
    settings   of the method, by the names in its docstring (`longboard_tasks.suites.kv.policies`)

    Raises MethodError for a method that drops no tokens, an unknown setting, or a model that it does not fit.
    """
    built = build_method(MethodRef(name=method, budget=budget, settings=dict(settings)))
    reader = open_reader(model, chunk=chunk or 16 * (input_ids.shape[1] // 16 + 1))
    stream = reader.open(input_ids.shape[1])
    input_ids = input_ids.to(reader.device)
    if built is None:
        reader.read_last(stream, input_ids)
        layers = [layer for layer in stream.cache.layers if getattr(layer, "length", 0)]
        everything = torch.arange(input_ids.shape[1], device=input_ids.device)
        return [everything.expand(*layer.keys.shape[:2], -1).clone() for layer in layers]
    if not isinstance(built, Dropping | PromptCompression):
        raise MethodError(f'Method "{method}" drops no tokens, so it has no kept positions.')
    built.attach(model)
    try:
        built.prepare(stream)
        reader.read_last(stream, input_ids)
        return [slots.clone() for slots in built.kept(stream)]
    finally:
        built.detach()
