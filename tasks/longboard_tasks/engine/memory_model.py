"""How much memory a schedule takes: weights, cache, and the passing tensors of one chunk. Chooses chunk and batch.

The cache is measured, not assumed: bytes held after two lengths give the slope (keys and values per token) and the rest (a
state of fixed size). The passing tensors are an estimate from the configuration, generous by design; what it misses is
answered by the back-off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from longboard_tasks.engine.reader import Reader
from longboard_tasks.engine.stream import count_bytes
from longboard_tasks.sizes import bytes_text

SHARE_OF_ROOM = 0.8  # leave the rest to fragmentation and to what we do not count
CHUNKS_CPU = (512, 256, 128, 64)  # larger ones gain nothing on a CPU and cost cache misses
CHUNKS_CUDA = (4_096, 2_048, 1_024, 512, 256, 128)


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """All in bytes. `per_token` and `state` are for one row."""

    weights: int
    per_token: float  # cache growth for each token read
    state: float  # cache that does not grow
    passing: float  # short-lived tensors for each token of a chunk
    passing_per_pair: float  # and for each (query, key) pair: the attention mask, once a layer
    logits: float  # for each position whose logits are asked for
    spread: float = 0  # keys and values of one layer repeated for every query head, for each token held

    def cache(self, tokens: int) -> float:
        """Of one row that has read `tokens`. Too much for sliding windows, which stop growing: the safe side."""
        return self.state + self.per_token * tokens

    def pass_bytes(self, tokens: int, chunk: int, keep: int) -> float:
        return chunk * self.passing + chunk * tokens * self.passing_per_pair + keep * self.logits + tokens * self.spread

    def rows_that_fit(self, tokens: int, keep: int, chunk: int, room: int) -> int:
        """Rows of a batch, `chunk` tokens of each in one pass, whose caches fit beside the trunk's own cache."""
        spare = room * SHARE_OF_ROOM - self.cache(tokens)
        row = self.cache(tokens) + self.pass_bytes(tokens, chunk, keep)
        return max(1, int(spare // max(row, 1)))

    def choose_chunk(self, tokens: int, room: int, device: torch.device) -> int:
        """The largest chunk whose passing tensors fit beside one cache."""
        chunks = CHUNKS_CUDA if device.type == "cuda" else CHUNKS_CPU
        spare = room * SHARE_OF_ROOM - self.cache(tokens)
        for chunk in chunks:
            if self.pass_bytes(tokens, chunk, 1) <= spare:
                return chunk
        return chunks[-1]

    def explain(self, tokens: int, chunk: int, room: int) -> str:
        """For the person whose run did not fit."""
        parts = (self.weights, self.cache(tokens), self.pass_bytes(tokens, chunk, 1))
        weights, cache, rest = map(bytes_text, parts)
        return (
            f"Prefill needs about {bytes_text(sum(parts))} at context {tokens} (weights {weights}, cache {cache}, "
            f"one chunk of {chunk} tokens {rest}); {bytes_text(room)} were free beside the weights. "
            "Try a shorter context, a smaller dtype, or a node with more memory."
        )


def measure_memory(reader: Reader, weights: int) -> MemoryModel:
    """Read 64 and 128 random tokens and see what is held. Modes without a cache hold nothing."""
    config: Any = reader.config
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    held = [0, 0]
    if reader.mode != "off":
        for i, tokens in enumerate((64, 128)):
            stream = reader.open(tokens)
            reader.read(stream, torch.full((1, tokens), 1, device=reader.device), 1)
            held[i] = sum(count_bytes(stream).values())
    size = next(p.element_size() for p in reader.model.parameters())
    heads = _number(config, "num_attention_heads", "n_head") or 1
    hidden, inner = _number(config, "hidden_size", "n_embd", "d_model"), _number(config, "intermediate_size", "n_inner")
    inner = max(inner, 4 * hidden)
    per_token = (held[1] - held[0]) / 64
    return MemoryModel(
        weights=weights,
        per_token=per_token,
        state=max(0.0, held[0] - 64 * per_token),
        passing=size * (12 * hidden + 4 * inner) + _scan_bytes(config),
        # A boolean mask, plus scores for every head where attention is not fused.
        passing_per_pair=1 + (4 * heads if getattr(config, "_attn_implementation", "") == "eager" else size),
        logits=config.vocab_size * (size + 4 + 4),
        spread=2 * size * heads * (_number(config, "head_dim") or hidden // heads) if per_token else 0,
    )


def _number(config: Any, *names: str) -> int:
    return next((value for name in names if isinstance(value := getattr(config, name, None), int)), 0)


def _scan_bytes(config: Any) -> int:
    """For each token: what transformers' own chunked scan of Mamba-2 layers holds, fp32, some five tensors of a position's
    scores against its whole chunk, for every head. More than all the rest of the layer."""
    length = _number(config, "chunk_size", "mamba_chunk_size")
    heads = _number(config, "num_heads", "mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
    return 5 * 4 * length * heads if _number(config, "state_size", "mamba_d_state", "ssm_state_size") else 0
