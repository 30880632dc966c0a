"""What a method may see of a prompt while it is read: queries, by hooks on the attention modules, a chunk at a time.

The modules' own attention is left as it is (flash, SDPA, eager). Queries are computed again from the hidden states where a
method asks for them: of a window that is nothing, of the whole prompt one more projection. No score matrix is ever whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.suites.kv.slots import SlotLayer

log = logging.getLogger(__name__)
KERNEL_ERROR = 3e-2  # relative, of half precision
LEAST_QUERIES = 64  # for the kernel: a few queries are a few small products
BLOCK = {"cpu": 2**22, "cuda": 2**28}  # elements of a block of attention scores


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass through one attention module: hidden [B, T, C]; `turn` the (cos, sin) of its tokens, or None."""

    module: Any
    hidden: Tensor
    turn: tuple[Tensor, Tensor] | None
    layer: SlotLayer

    def queries(self, last: int = 0, *, turned: bool = True) -> Tensor:
        """[B, H, T, D] of the last `last` tokens (0: all), after the rotation or before it."""
        hidden = self.hidden[:, -last:] if last else self.hidden
        queries = project_queries(self.module, hidden)
        if not turned or self.turn is None:
            return queries
        cos, sin = (t[:, None, -hidden.shape[1] :] for t in self.turn)
        return rotate(queries, cos, sin)


class Observation(Protocol):
    """Gathers passes over one layer, from the first token of a prompt on."""

    def add(self, seen: Pass) -> None: ...


class LastQueries:
    """The rotated queries of the last `window` tokens read, [B, H, <= window, D]."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.queries = torch.empty(0)

    def add(self, seen: Pass) -> None:
        new = seen.queries(min(self.window, seen.hidden.shape[1]))
        missing = min(self.window, seen.layer.seen) - new.shape[2]
        self.queries = torch.cat([self.queries[:, :, -missing:], new], dim=2) if missing > 0 else new


class ColumnSums:
    """Attention that each key got, summed over the queries so far, into the layer's mark "scores" [B, HKV, T]."""

    def add(self, seen: Pass) -> None:
        layer = seen.layer
        layer.marks["scores"] = layer.marks["scores"] + column_sums(
            seen.queries(), layer.keys, scale=scale_of(seen.module)
        )


class QueryMoments:
    """Mean [B, H, D] and covariance [B, H, D, D] of the queries before their rotation, the first `skip` tokens left out."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.count = 0
        self.mean, self.spread = torch.empty(0), torch.empty(0)

    @property
    def covariance(self) -> Tensor:
        return self.spread / self.count

    def add(self, seen: Pass) -> None:
        queries = seen.queries(turned=False).float()
        tokens = queries.shape[2]
        queries = queries[:, :, max(0, self.skip - (seen.layer.seen - tokens)) :]
        new = queries.shape[2]
        if not new:
            return
        mean = queries.mean(dim=2)
        centred = queries - mean[:, :, None]
        spread = centred.transpose(2, 3) @ centred
        if self.count:  # two sets of moments into one (Chan, Golub and LeVeque 1979): no difference of large sums
            total, gap = self.count + new, mean - self.mean
            spread = self.spread + spread + gap[..., :, None] * gap[..., None, :] * (self.count * new / total)
            mean = self.mean + gap * (new / total)
        self.mean, self.spread, self.count = mean, spread, self.count + new


class Observer:
    """Hooks on the attention modules of a model, one observation a layer, begun anew with every prompt.

    `decoding`: goes on after the context was compressed; else passes after it are not looked at.
    """

    def __init__(self, make: Callable[[], Observation], *, decoding: bool) -> None:
        self.make, self.decoding = make, decoding
        self.modules: dict[int, Any] = {}
        self.layers: dict[int, Observation] = {}
        self.resting: set[int] = set()
        self._hooks: list[Any] = []

    def attach(self, model: Any) -> None:
        self.modules = attention_modules(model)
        for index, module in self.modules.items():

            def hook(module: Any, args: Any, kwargs: dict[str, Any], output: Any, index: int = index) -> None:
                self._see(index, module, args, kwargs)

            self._hooks.append(module.register_forward_hook(hook, with_kwargs=True))

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def rest(self) -> None:
        """The context is over."""
        if not self.decoding:
            self.resting = set(self.layers)

    def _see(self, index: int, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("past_key_values")
        layer = cache.layers[index] if cache is not None else None
        if not isinstance(layer, SlotLayer):
            return
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        if layer.seen == hidden.shape[1]:  # a prompt begins
            self.layers[index] = self.make()
            self.resting.discard(index)
        if index not in self.resting:
            self.layers[index].add(Pass(module, hidden, kwargs.get("position_embeddings"), layer))


def attention_modules(model: Any) -> dict[int, Any]:
    """Attention modules by the index of their cache layer."""
    found = {}
    for module in model.modules():
        index = getattr(module, "layer_idx", None)
        if isinstance(index, int) and hasattr(module, "head_dim") and hasattr(module, "o_proj"):
            found[index] = module
    return found


def project_queries(module: Any, hidden: Tensor) -> Tensor:
    """[B, T, C] -> [B, H, T, D], with the query norm of models that have one. Raises MethodError for a layout unknown here."""
    heads, size = module.config.num_attention_heads, module.head_dim
    projection = getattr(module, "q_proj", None)
    if projection is not None:
        flat = projection(hidden)
    elif hasattr(module, "qkv_proj"):
        flat = module.qkv_proj(hidden)[..., : heads * size]
    else:
        flat = hidden[..., :0]
    if flat.shape[-1] != heads * size:
        raise MethodError(
            f"{type(module).__name__} has no plain query projection: a Method that looks at queries cannot be used with it. "
            "knorm, streaming_llm, random and the quantised caches look at none."
        )
    queries = flat.view(*hidden.shape[:-1], heads, size)
    norm = getattr(module, "q_norm", None)
    return (norm(queries) if norm is not None else queries).transpose(1, 2)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on the first cos.shape[-1] channels, halves paired (Llama's layout)."""
    size = cos.shape[-1]
    turning, still = states[..., :size], states[..., size:]
    first, second = turning.chunk(2, dim=-1)
    turned = turning * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([turned, still], dim=-1) if still.shape[-1] else turned


def scale_of(module: Any) -> float:
    return float(getattr(module, "scaling", module.head_dim**-0.5))


def attend_window(queries: Tensor, keys: Tensor, *, scale: float) -> Tensor:
    """Causal attention weights of the last W tokens, [B, H, W, T], fp32.

    queries [B, H, W, D], keys [B, HKV, T, D] with the window's own keys last; W is small.
    """
    rows, heads, window, size = queries.shape
    grouped = queries.reshape(rows, keys.shape[1], -1, size)  # [B, HKV, group * W, D]
    # Scaled before it is rounded to the model's dtype, as in a fused kernel; one pass over memory less.
    flat = grouped.flatten(0, 1)
    scores = torch.baddbmm(flat.new_zeros(()), flat, keys.transpose(2, 3).flatten(0, 1), beta=0, alpha=scale)
    scores = scores.view(rows, heads, window, -1)
    later = torch.ones(window, window, dtype=torch.bool, device=scores.device).triu(1)
    scores[..., -window:].masked_fill_(later, float("-inf"))
    return scores.softmax(dim=-1, dtype=torch.float32)


def column_sums(queries: Tensor, keys: Tensor, *, scale: float, block: int = 0) -> Tensor:
    """Attention that each key gets, summed over the queries and averaged over each group of query heads: [B, HKV, S], fp32.

    queries [B, H, T, D] are the last T of keys [B, HKV, S, D]; causal. By the Triton kernel where it runs and is right
    (`kernel_is_right`), else in blocks of at most `block` scores (0: as many as the device takes well).
    """
    rows, heads, tokens, size = queries.shape
    held = keys.shape[2]
    if (
        not block
        and tokens >= LEAST_QUERIES
        and queries.is_cuda
        and kernel_is_right(queries.device, queries.dtype, size)
    ):
        from longboard_kernels.scores import attention_received

        return attention_received(queries, keys, scale=scale) / (heads // keys.shape[1])
    block = block or BLOCK.get(queries.device.type, BLOCK["cpu"])
    step = max(1, min(tokens, block // (rows * heads * held)))
    total = torch.zeros(rows, keys.shape[1], held, device=keys.device)
    for start in range(0, tokens, step):
        end = min(start + step, tokens)
        visible = held - tokens + end
        weights = attend_window(queries[:, :, start:end], keys[:, :, :visible], scale=scale)
        total[..., :visible] += weights.view(rows, keys.shape[1], -1, visible).sum(dim=2)
    return total / (heads // keys.shape[1])


@cache
def kernel_is_right(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Does `longboard_kernels.scores.attention_received` run here and agree with the blocks? Tried once a process."""
    try:
        from longboard_kernels.scores import attention_received
    except ImportError:
        return False
    draw = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(1, heads, 500, size, generator=draw).to(device, dtype) for heads in (4, 2))
    queries, scale = queries[:, :, -300:], size**-0.5
    expected = column_sums(queries, keys, scale=scale, block=BLOCK["cpu"])
    try:
        found = attention_received(queries, keys, scale=scale) / 2
    except Exception as error:  # whatever a compiler raises: the blocks are slower and as good
        log.warning("attention kernel does not run", extra={"why": f"{type(error).__name__}: {str(error)[:200]}"})
        return False
    worst = float(((found - expected).abs() / expected).max())
    if not worst < KERNEL_ERROR:
        log.warning("attention kernel disagrees with the blocks", extra={"relative_error": worst})
    return worst < KERNEL_ERROR
