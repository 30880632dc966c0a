"""Norms, residual sums and attention: RMSNorm alone, the sum with the next norm in one pass, rotary write without `cat`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longboard_kernels.accelerate.swap import Handoff, run_stock
from longboard_kernels.decode import decode_attention
from longboard_kernels.norms import add_rms_norm, gated_rms_norm
from longboard_kernels.rope import rope_and_store

# Attention whose forward is: project, rotate halves, put into the cache, attend, project.
ATTENTION = ("LlamaAttention", "MistralAttention", "Qwen2Attention", "BambaAttention", "FalconH1Attention")
DECODER_LAYERS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer")
MAMBA_BLOCKS = ("MambaBlock", "Mamba2Block")


def is_rms_norm(module: Any) -> bool:
    """A norm as T5 and Llama have it: weight * x / rms(x). (Qwen3-Next's, with 1 + weight, holds no variance_epsilon.)"""
    return (
        type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon") and hasattr(module, "weight")
    )


def norm(self: Any, hidden_states: Tensor) -> Tensor:
    dtype = torch.promote_types(self.weight.dtype, hidden_states.dtype)
    return add_rms_norm(hidden_states, None, self.weight, self.variance_epsilon, out_dtype=dtype)[0]


def norm_from_one(self: Any, hidden_states: Tensor) -> Tensor:
    """Qwen3NextRMSNorm and its kin: the weight is kept as its distance from one."""
    return add_rms_norm(hidden_states, None, 1.0 + self.weight.float(), self.eps, out_dtype=hidden_states.dtype)[0]


def gated_norm(self: Any, hidden_states: Tensor, gate: Tensor) -> Tensor:
    """Qwen3NextRMSNormGated and its kin: the norm first, then SiLU of the gate."""
    return gated_rms_norm(hidden_states, gate, self.weight, self.variance_epsilon, norm_first=True)


QWEN = ("Qwen3Next", "Qwen3_5", "Qwen3_5Moe")
NORMS: dict[str, Callable[..., Tensor]] = {f"{name}RMSNorm": norm_from_one for name in QWEN} | {
    f"{name}RMSNormGated": gated_norm for name in QWEN
}


def make_last_norm(handoff: Handoff) -> Callable[..., Tensor]:
    """The norm after the last block, which that block has computed already."""

    def last_norm(self: Any, hidden_states: Tensor) -> Tensor:
        normed = handoff.take(hidden_states)
        return normed if normed is not None else norm(self, hidden_states)

    return last_norm


def make_mamba_block(handoff: Handoff, own: Any, following: Any) -> Callable[..., Tensor]:
    """MambaBlock.forward; `own` and `following` are the norms of this block and of whatever comes after it."""

    def forward(self: Any, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        normed = handoff.take(hidden_states)
        if normed is None:
            normed = own(hidden_states.to(own.weight.dtype))
        residual = hidden_states.float() if self.residual_in_fp32 else hidden_states
        mixed = self.mixer(normed, **kwargs)
        y, stream = add_rms_norm(mixed, residual, following.weight, following.variance_epsilon)
        return handoff.give(stream, y)

    return forward


def make_decoder_layer(handoff: Handoff, following: Any) -> Callable[..., Tensor]:
    """LlamaDecoderLayer.forward with both sums and norms in one pass each."""

    def forward(self: Any, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        normed = handoff.take(hidden_states)
        if normed is None:
            normed = self.input_layernorm(hidden_states)
        attended, _ = self.self_attn(hidden_states=normed, **kwargs)
        after = self.post_attention_layernorm
        y, stream = add_rms_norm(attended, hidden_states, after.weight, after.variance_epsilon)
        y, stream = add_rms_norm(self.mlp(y), stream, following.weight, following.variance_epsilon)
        return handoff.give(stream, y)

    return forward


def attend(
    self: Any, hidden_states: Tensor, position_embeddings: Any = None, attention_mask: Any = None,
    past_key_values: Any = None, **kwargs: Any,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Attention over a cache layer that lends its buffers (`open_room`, `advance`, `clock`); the stock forward over any other.

    A layer with a `clock` is being decoded: where the token goes and how far it looks stand on the device, and the whole
    buffer is attended to by K1, so that one CUDA graph serves every step.
    """
    layer: Any = past_key_values.layers[self.layer_idx] if past_key_values is not None else None
    if position_embeddings is None or not getattr(layer, "lends_buffers", False):
        return run_stock(
            self, hidden_states, position_embeddings=position_embeddings, attention_mask=attention_mask,
            past_key_values=past_key_values, **kwargs,
        )  # fmt: skip
    rows, tokens, _ = hidden_states.shape
    q, k, v = (p(hidden_states).view(rows, tokens, -1, self.head_dim) for p in (self.q_proj, self.k_proj, self.v_proj))
    if hasattr(self, "key_multiplier"):
        k = k * self.key_multiplier
    keys, values = layer.open_room(k.transpose(1, 2), v.transpose(1, 2))
    clock = layer.clock
    cos, sin = position_embeddings
    rope_and_store(q, k, v, cos, sin, keys, values, layer.length if clock is None else clock.start)
    if clock is not None:
        out = decode_attention(q[:, 0], keys, values, clock.lengths, scale=self.scaling)
        return self.o_proj(out.view(rows, 1, -1)), None
    held_keys, held_values = layer.advance(tokens)
    modeling = sys.modules[type(self).__module__]
    run: Any = modeling.ALL_ATTENTION_FUNCTIONS.get_interface(
        self.config._attn_implementation, modeling.eager_attention_forward
    )
    out, weights = run(
        self, q.transpose(1, 2), held_keys, held_values, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs
    )
    return self.o_proj(out.reshape(rows, tokens, -1)), weights
