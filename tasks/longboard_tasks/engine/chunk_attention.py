"""Attention of a chunk after a cache, without a mask in memory.

transformers describes such a chunk by a mask of chunk x context booleans, and with any mask PyTorch leaves the flash kernel: on
an H100 the chunked prefill of a 1B Llama over 64K tokens took 3.0 times as long as one pass. A causal chunk needs no
mask, only its alignment: query i of T sees the first S - T + i + 1 of S keys ("lower right"), which the flash kernel knows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

NAME = "longboard_chunks"


def use_chunk_attention(model: Any) -> bool:
    """Switch a model that runs PyTorch's SDPA to this attention. False: it runs another, and is left as it is."""
    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, make_mask)
    try:
        model.set_attn_implementation(NAME)
    except ValueError:  # an architecture with its own attention code
        return False
    return True


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """As transformers' SDPA function: query [B, H, T, D], keys and values [B, HKV, S, D] -> [B, T, H, D]."""
    tokens, held = query.shape[2], key.shape[2]
    is_plain = attention_mask is None and options.get("position_bias") is None and not options.get("dropout")
    if not is_plain or not 1 < tokens < held:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    out = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=causal_lower_right(tokens, held),
        scale=options.get("scaling"),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).contiguous(), None


def make_mask(*args: Any, **asked: Any) -> Tensor | None:
    """None for a chunk whose tokens see everything before them; else transformers' own mask, True where a token may look.

    Takes what `transformers.masking_utils.sdpa_mask` takes, by name.
    """
    sees_all = asked.get("mask_function", causal_mask_function) is causal_mask_function
    is_whole = asked.get("attention_mask") is None and asked.get("local_size") is None
    ends_here = int(asked.get("q_offset", 0)) + asked["q_length"] == asked["kv_length"] and not asked.get(
        "kv_offset", 0
    )
    if sees_all and is_whole and ends_here and asked.get("allow_is_causal_skip", True):
        return None
    return sdpa_mask(*args, **asked)
