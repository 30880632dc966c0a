"""Tiny random models of many architectures, and how transformers' caches behave on each (measured on 5.23)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import transformers

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.engine import Engine, open_engine
from longboard_tasks.engine.loading import LoadedModel, hash_tokenizer, position_limit, quiet_transformers
from longboard_tasks.engine.shapes import BYTES, build_config

WIDTH = {**BYTES, "hidden_size": 64}
ATTENTION = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 32_768,
}
FOUR = {**ATTENTION, "num_hidden_layers": 4}
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_chunk_size": 64}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1}

# name -> (configuration class, settings)
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("MistralConfig", {**WIDTH, **ATTENTION, "sliding_window": 64}),
    "gpt2": (
        "GPT2Config",
        {**BYTES, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 1_024},
    ),
    "gemma3": ("Gemma3TextConfig", {**WIDTH, **FOUR, "head_dim": 16, "sliding_window": 64}),
    "lfm2": ("Lfm2Config", {**WIDTH, **FOUR, "full_attn_idxs": [1, 3]}),
    "mamba": ("MambaConfig", {**WIDTH, "num_hidden_layers": 2, "state_size": 8}),
    "falcon-mamba": ("FalconMambaConfig", {**WIDTH, "num_hidden_layers": 2, "state_size": 8}),
    "jamba": (
        "JambaConfig",
        {
            **WIDTH, **FOUR, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
            "expert_layer_offset": 1, "mamba_d_state": 8,
        },
    ),
    "bamba": ("BambaConfig", {**WIDTH, **FOUR, **MAMBA2, "attn_layer_indices": [1, 3]}),
    "zamba2": (
        "Zamba2Config",
        {
            **WIDTH, "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "mamba_d_state": 16,
            "n_mamba_heads": 8, "mamba_headdim": 16, "num_attention_heads": 4, "num_key_value_heads": 4,
            "intermediate_size": 128, "chunk_size": 64, "num_mem_blocks": 1, "use_mem_rope": True,
        },
    ),
    "falcon-h1": ("FalconH1Config", {**WIDTH, **ATTENTION, **MAMBA2, "mamba_d_ssm": 128}),
    "granite-hybrid": (
        "GraniteMoeHybridConfig",
        {
            **WIDTH, **FOUR, **MAMBA2, "layer_types": ["mamba", "attention"] * 2, "num_local_experts": 2,
            "num_experts_per_tok": 1, "shared_intermediate_size": 64,
        },
    ),
    "nemotron-h": (
        "NemotronHConfig",
        {
            **WIDTH, "hybrid_override_pattern": "M-M*M-", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "intermediate_size": 128, "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 16, "chunk_size": 64,
            "n_groups": 1,
        },
    ),
    "qwen3-next": (
        "Qwen3NextConfig",
        {
            **WIDTH, **FOUR, **EXPERTS, "head_dim": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
            "linear_key_head_dim": 16, "linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention"] * 2,
            "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64,
        },
    ),
    "recurrent-gemma": (
        "RecurrentGemmaConfig",
        {
            **WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "lru_width": 64,
            "attention_window_size": 64,
        },
    ),
    "rwkv": (
        "RwkvConfig",
        {**WIDTH, "num_hidden_layers": 2, "attention_hidden_size": 64, "intermediate_size": 128, "context_length": 1_024},
    ),
    "minimax": (
        "MiniMaxConfig",
        {**WIDTH, **FOUR, "head_dim": 16, "num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 64},
    ),
}  # fmt: skip
ALL = ("llama", "mamba2", *CONFIGS)

# What the engine may do with each cache, as an independent study of 5.23 found (tiny random models, 96 tokens cut at 61).
SHARED = (
    "llama", "mistral", "gpt2", "gemma3", "lfm2", "mamba2", "bamba", "zamba2", "falcon-h1", "granite-hybrid", "nemotron-h",
    "qwen3-next", "rwkv",
)  # fmt: skip
STEP = ("mamba", "falcon-mamba", "jamba")
OFF = ("recurrent-gemma", "minimax")


@cache
def load_tiny(name: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """A random model. Its weights are spread 3 times wider than the initialisation, or its state would hardly matter."""
    quiet_transformers()
    if name in ("llama", "mamba2"):
        config = build_config(f"tiny-{name}")
    else:
        class_name, settings = CONFIGS[name]
        config = getattr(transformers, class_name)(**settings)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.mul_(3)
    tokenizer = build_byte_tokenizer()
    return LoadedModel(model.to(dtype), tokenizer, {}, hash_tokenizer(tokenizer), position_limit(config))


@cache
def _open(name: str) -> Engine:
    return open_engine(load_tiny(name), chunk=128, rows=4)


def open_tiny(name: str, **settings: Any) -> Engine:
    """An engine of one's own on a shared model; the self-test runs once a process."""
    from dataclasses import replace

    from longboard_tasks.engine.engine import Counters

    base = _open(name)
    return replace(base, counters=Counters(), **settings)


def random_ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 256, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
