"""The shipped shapes at a width that a CPU runs in a moment: the layer pattern and the class are those of the real one."""

from __future__ import annotations

from typing import Any

from longboard_tasks.shapes import load_shapes

COMMON = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "vocab_size": 259,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SCAN = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_chunk_size": 64}
MAMBA1 = {"hidden_size": 64, "vocab_size": 259, "num_hidden_layers": 3, "time_step_rank": 4}
CHANGES: dict[str, dict[str, Any]] = {
    "llama-1b": COMMON | {"num_hidden_layers": 3, "head_dim": 16},
    "qwen2.5-0.5b": COMMON | {"num_hidden_layers": 3},
    "mistral-7b": COMMON | {"num_hidden_layers": 3, "head_dim": 16, "sliding_window": 32},
    "mamba-1.4b": MAMBA1,
    "falcon-mamba-7b": MAMBA1,
    "mamba2-1b": {
        "hidden_size": 64, "vocab_size": 259, "num_hidden_layers": 3, "num_heads": 8, "head_dim": 16, "state_size": 16,
        "chunk_size": 64,
    },
    "falcon-h1-1.5b": COMMON | SCAN | {"num_hidden_layers": 3, "head_dim": 16, "mamba_d_ssm": 128},
    "granite-h-1b": COMMON | SCAN | {
        "num_hidden_layers": 4, "shared_intermediate_size": 128,
        "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention"],
    },
    "nemotron-h-8b": COMMON | {
        "layers_block_type": ["linear_attention", "mlp", "full_attention", "linear_attention"], "head_dim": 16,
        "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 16, "n_groups": 2, "chunk_size": 64,
    },
    "zamba2-1.2b": COMMON | {
        "num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2, "n_mamba_heads": 8,
        "num_key_value_heads": 4, "mamba_d_state": 16, "chunk_size": 64,
    },
    "qwen3-next-0.7b": COMMON | {
        "num_hidden_layers": 4, "head_dim": 16, "linear_num_key_heads": 4, "linear_num_value_heads": 4,
        "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    },
    "lfm2-1.2b": COMMON | {
        "num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2, "block_ff_dim": 128,
    },
    "jamba-52b": COMMON | {
        "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 4, "mamba_dt_rank": 4,
        "mamba_d_state": 8,
    },
}  # fmt: skip


def shrunken(shape_id: str) -> tuple[str, dict[str, Any]]:
    """(name of the configuration class, its settings)"""
    shape = load_shapes()[shape_id]
    return shape.class_name, shape.settings | CHANGES[shape_id]
