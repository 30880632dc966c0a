"""Comparing two ways to run a model layer by layer, each layer on the input that the stock code gave it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(slots=True)
class Recorded:
    """What went into and came out of each layer in one pass of the stock code, [1, T, E] each, and the logits [1, T, V]."""

    logits: Tensor
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def find_body(model: Any) -> Any:
    """What holds the blocks and the last norm of a causal LM; None where we cannot find it."""
    return model.get_decoder() if hasattr(model, "get_decoder") else getattr(model, "backbone", None)


def list_layers(model: Any) -> list[Any]:
    """The blocks in a row of a causal LM; empty where it has none that we can find."""
    return list(getattr(find_body(model), "layers", ()))


def record(model: Any, ids: Tensor) -> Recorded:
    """One pass over ids [1, T] without a cache."""
    recorded = Recorded(logits=ids)

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        recorded.inputs.append(args[0] if args else kwargs["hidden_states"])
        recorded.outputs.append(_stream(output))

    with ExitStack() as hooks:
        for layer in list_layers(model):
            hooks.callback(layer.register_forward_hook(note, with_kwargs=True).remove)
        recorded.logits = model(input_ids=ids, use_cache=False).logits.float()
    return recorded


def compare(
    model: Any, ids: Tensor, stock: Recorded, read: Callable[[Tensor], Tensor], *, tolerance: float, roundings: float
) -> float:
    """Largest error of a layer, or of the logits after the last one, while `read(ids)` reads in pieces as it likes.

    Before each layer its input is replaced by what the stock code had there, so that errors do not add up over the depth. The
    error is the root mean square of the difference, as a share of what the layer adds to the stream; where the stream is large
    against that, as many roundings of the stream as `roundings` count like `tolerance`.
    """
    layers = list_layers(model)
    squares = [0.0] * len(layers)
    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            before, after = _teach(number, stock, squares)
            hooks.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(layer.register_forward_hook(after).remove)
        logits = read(ids).float()
    errors = [float((logits - stock.logits).pow(2).mean().sqrt() / stock.logits.std())]
    for square, given, output in zip(squares, stock.inputs, stock.outputs, strict=True):
        wide = output.float()
        added = float((wide - given.float()).pow(2).mean().sqrt())
        rounding = torch.finfo(output.dtype).eps * float(wide.pow(2).mean().sqrt())
        errors.append((square / output.numel()) ** 0.5 / (added + roundings * rounding / tolerance))
    return max(errors) if all(error == error for error in errors) else float("inf")


def _teach(number: int, stock: Recorded, squares: list[float]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Hooks of one layer: the stock input of the tokens that are read, and the squared difference of what comes out."""
    at = [0]

    def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = args[0] if args else kwargs["hidden_states"]
        taught = stock.inputs[number][:, at[0] : at[0] + given.shape[1]].to(given.dtype)
        return ((taught, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": taught})

    def after(module: Any, args: tuple[Any, ...], output: Any) -> None:
        got = _stream(output)
        wanted = stock.outputs[number][:, at[0] : at[0] + got.shape[1]]
        squares[number] += float((got.float() - wanted.float()).pow(2).sum())
        at[0] += got.shape[1]

    return before, after


def _stream(output: Any) -> Tensor:
    stream = output[0] if isinstance(output, tuple) else output
    if not isinstance(stream, Tensor):
        raise TypeError(f"a layer gave a {type(stream).__name__}, not the stream")
    return stream
