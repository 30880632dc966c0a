"""What an architecture holds and does, layer by layer: parameters, FLOPs and bytes in closed form. Pure Python, no torch.

`families` reads one from a transformers configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
STATE_SIZE = 4  # bytes of a recurrent state's element: transformers holds them in fp32 whatever the dtype


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what it stores, what a token uses, and what it remembers."""

    mixer: Literal["attention", "window", "state", "state and attention", "none"]
    stored: int  # parameters held for this layer alone
    used: int  # parameters that one token multiplies with: shared blocks each time, experts only the chosen ones
    kv_width: int = 0  # elements of keys and values of one token
    score_width: int = 0  # query heads x head size: FLOPs against each key are 4 times this
    window: int = 0  # 0: none
    state: int = 0  # elements of the recurrent state
    conv: int = 0  # elements of the convolution's state, in the model's dtype
    scan_flops: int = 0  # for each token, beside the matrix products
    scan_bytes: int = 0  # short-lived fp32 tensors of the stock scan, for each token of a pass

    def keys(self, length: int) -> int:
        """Keys held after `length` tokens. transformers keeps one less than the window, for the token to come."""
        return min(length, self.window - 1) if self.window else length


@dataclass(frozen=True, slots=True)
class Architecture:
    name: str
    vocabulary: int
    hidden: int
    inner: int  # the widest MLP
    layers: tuple[Layer, ...]
    stored: int  # all parameters, tied ones once
    head_used: int  # of the output projection
    logit_size: int = 0  # bytes; 0: as the model's dtype. Mamba classes cast to fp32
    is_guess: bool = False

    @property
    def used(self) -> int:
        """Parameters that one token multiplies with, the embedding's look-up not counted."""
        return sum(layer.used for layer in self.layers) + self.head_used

    @property
    def kind(self) -> Literal["attention", "state", "hybrid"]:
        has_state = any(layer.state for layer in self.layers)
        has_keys = any(layer.kv_width for layer in self.layers)
        return "hybrid" if has_state and has_keys else "state" if has_state else "attention"

    def weight_bytes(self, dtype: str = "bfloat16") -> int:
        return self.stored * SIZES[dtype]

    def kv_bytes_per_token(self, dtype: str = "bfloat16") -> int:
        """Growth with every token, windows not counted: they stop."""
        return sum(layer.kv_width for layer in self.layers if not layer.window) * SIZES[dtype]

    def state_bytes(self, dtype: str = "bfloat16") -> int:
        """Of one row; does not grow."""
        return sum(layer.state * STATE_SIZE + layer.conv * SIZES[dtype] for layer in self.layers)

    def cache_bytes(self, length: int, dtype: str = "bfloat16", batch: int = 1) -> int:
        """Keys, values and states held after `length` tokens of each of `batch` rows."""
        keys = sum(layer.kv_width * layer.keys(length) for layer in self.layers) * SIZES[dtype]
        return batch * (keys + self.state_bytes(dtype))

    def attention_flops(self, length: int, before: int = 0) -> float:
        """Scores and weighted sums of tokens `before` to `length`, causal."""
        total = 0.0
        for layer in self.layers:
            if layer.score_width:
                total += 4.0 * layer.score_width * _seen(length, before, layer.window)
        return total

    def prefill_flops(self, length: int, *, full_logits: bool = False) -> float:
        head = self.head_used * (length if full_logits else 1)
        body = (self.used - self.head_used) * length
        scans = sum(layer.scan_flops for layer in self.layers) * length
        return 2.0 * (head + body) + self.attention_flops(length) + scans

    def decode_flops(self, length: int) -> float:
        scans = sum(layer.scan_flops for layer in self.layers)
        return 2.0 * self.used + self.attention_flops(length + 1, length) + scans

    def decode_bytes(self, length: int, dtype: str = "bfloat16", batch: int = 1) -> float:
        """Weights once for the batch; keys and values read; states read and written."""
        return self.used * SIZES[dtype] + self.cache_bytes(length, dtype, batch) + batch * self.state_bytes(dtype)


def _seen(length: int, before: int, window: int) -> float:
    """Pairs of (query, key) that causal attention looks at, for queries `before` to `length`."""

    def below(n: int) -> float:
        if window and n > window:
            return window * (window + 1) / 2 + (n - window) * window
        return n * (n + 1) / 2

    return below(length) - below(before)
