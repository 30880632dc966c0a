"""accelerate(model): swap, compare with the stock model, keep or take back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from longboard_kernels.accelerate import blocks, layers, mixers
from longboard_kernels.accelerate.swap import Handoff, swap, unswap

# Root mean square of the difference over the spread of the logits; a wrong kernel moves them by their whole spread. A deep
# model in half precision moves more by itself: three times what one rounding of the embedding does to the stock logits is
# allowed too. Where that is more than a quarter of the spread (random weights, fifty layers) logits say nothing: each layer
# is then held to the dtype's tolerance on the input that the stock code gave it.
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}
NOISE_SHARE, LARGEST = 3.0, 0.25
TOKENS = 96


@dataclass(slots=True)
class Acceleration:
    """What became of it. `swapped`: modules that run our kernels, by class; `left`: reasons of those that do not."""

    accepted: bool
    reason: str
    error: float = 0.0
    tolerance: float = 0.0
    swapped: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    modules: list[Any] = field(default_factory=list, repr=False)
    model: Any = field(default=None, repr=False)

    def undo(self) -> None:
        """Every module runs its own forward again."""
        for module in self.modules:
            unswap(module)
        if self.model is not None:
            self.model.follows_clock = False
        self.modules.clear()
        self.accepted = False


@torch.no_grad()
def accelerate(model: Any, *, tokens: int = TOKENS, read: Callable[[Tensor], Tensor] | None = None) -> Acceleration:
    """Let `model`, a transformers causal LM in eval mode, run our kernels where they fit; check its logits; decline otherwise.

    The check reads `tokens` random ids in one pass of the stock code without a cache, and again with ours. `read` says how:
    ids [1, T] -> logits [1, T, V], default one pass without a cache; a caller with a cache of its own reads through that, since
    the rotary write and the steps of decoding are used only there. Ours must be within the tolerance of the stock logits, or
    everything is taken back and `reason` says why. The tolerance is the dtype's, or what rounding does to this very model if
    that is more; a model that rounding throws into disorder is judged layer by layer. Nothing but the forward of single
    modules is replaced; weights may change dtype later.
    """
    dtype = next(p.dtype for p in model.parameters() if p.dtype.is_floating_point)
    result = Acceleration(accepted=False, reason="", tolerance=TOLERANCES.get(dtype, 0.0), model=model)
    if not result.tolerance:
        result.reason = f"no tolerance is stated for {dtype}"
        return result
    ids = _draw_ids(model, tokens)
    stock = layers.record(model, ids)
    noise = _rms(_read_nudged(model, ids), stock.logits)
    by_layer = NOISE_SHARE * noise > LARGEST and bool(stock.inputs)
    if not by_layer:
        result.tolerance = max(result.tolerance, min(NOISE_SHARE * noise, LARGEST))
    _swap_all(model, result)
    if not result.modules:
        result.reason = f"no module of {type(model).__name__} is one that our kernels serve"
        return result
    reading = read or (lambda part: model(input_ids=part, use_cache=False).logits)
    try:
        if by_layer:
            result.error = layers.compare(model, ids, stock, reading, tolerance=result.tolerance, roundings=NOISE_SHARE)
        else:
            result.error = _rms(reading(ids).float(), stock.logits)
    except Exception as error:  # whatever a kernel or a foreign forward raises means: not this model
        result.undo()
        result.reason = f"our kernels failed on it: {type(error).__name__}: {str(error)[:200]}"
        return result
    what = (
        f"one rounding moves its logits by {noise:.1e} of their spread; the worst layer, on the stock input, moved"
        if by_layer
        else "its logits moved"
    )
    if not result.error <= result.tolerance:
        result.undo()
        result.reason = f"{what} by {result.error:.1e} of the spread, more than {result.tolerance:.1e}"
        return result
    result.accepted = True
    result.reason = f"{what} by {result.error:.1e} of the spread; {result.tolerance:.1e} is allowed"
    return result


def _draw_ids(model: Any, tokens: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.get_input_embeddings().num_embeddings, (1, tokens), generator=generator)
    return ids.to(next(model.parameters()).device)


def _rms(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference, as a share of the spread of b."""
    return float((a - b).pow(2).mean().sqrt() / b.std())


def _read_nudged(model: Any, ids: Tensor) -> Tensor:
    """Stock logits with every number that leaves the embedding off by one rounding, up or down."""

    def nudge(module: Any, inputs: Any, output: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output.device) * 2 - 1
        return (output.float() * (1 + signs * torch.finfo(output.dtype).eps)).to(output.dtype)

    hook = model.get_input_embeddings().register_forward_hook(nudge)
    try:
        return model(input_ids=ids, use_cache=False).logits.float()
    finally:
        hook.remove()


def _swap_all(model: Any, result: Acceleration) -> None:
    counts: Counter[str] = Counter()

    def put(module: Any, forward: Any) -> None:
        swap(module, forward)
        result.modules.append(module)
        counts[type(module).__name__] += 1

    for module in model.modules():
        name = type(module).__name__
        if name in mixers.FORWARDS:
            reason = mixers.why_not(module)
            if reason:
                result.left[name] = reason
            else:
                put(module, mixers.FORWARDS[name])
        elif name in blocks.ATTENTION:
            put(module, blocks.attend)
        elif name in blocks.NORMS:
            put(module, blocks.NORMS[name])
        elif blocks.is_rms_norm(module):
            put(module, blocks.norm)
    _link_blocks(model, put)
    result.swapped = dict(counts)
    # May a CUDA graph decode it? Only if every attention in it reads its place from the device.
    attending = [m for m in model.modules() if hasattr(m, "k_proj") and hasattr(m, "layer_idx")]
    model.follows_clock = bool(attending) and all(type(m).__name__ in blocks.ATTENTION for m in attending)


def _link_blocks(model: Any, put: Any) -> None:
    """Blocks in a row hand the next one's norm on, where all of them are of one kind that we know."""
    body, row = layers.find_body(model), layers.list_layers(model)
    kinds = {type(layer).__name__ for layer in row}
    last = getattr(body, "norm", None) or getattr(body, "norm_f", None)
    if len(kinds) != 1 or last is None or not blocks.is_rms_norm(last):
        return
    kind, handoff = kinds.pop(), Handoff()
    if kind in blocks.MAMBA_BLOCKS:
        norms = [layer.norm for layer in row] + [last]
        for layer, own, following in zip(row, norms, norms[1:], strict=False):
            put(layer, blocks.make_mamba_block(handoff, own, following))
    elif kind in blocks.DECODER_LAYERS:
        norms = [layer.input_layernorm for layer in row[1:]] + [last]
        for layer, following in zip(row, norms, strict=True):
            put(layer, blocks.make_decoder_layer(handoff, following))
    else:
        return
    swap(last, blocks.make_last_norm(handoff))
