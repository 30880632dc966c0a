"""Named random-weight configurations: for efficiency at a size that nobody had to train, and for tests.

An id here is what a ModelRef with source "config" names. Weights are drawn after `torch.manual_seed(0)`.
"""

from __future__ import annotations

from typing import Any

BYTES = {"vocab_size": 259, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}  # engine/byte_tokenizer.py

# id -> (name of the configuration class in transformers, its settings)
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny-llama": (
        "LlamaConfig",
        BYTES
        | {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
        },
    ),
    "tiny-mamba2": (
        "Mamba2Config",
        BYTES
        | {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "state_size": 16,
            "num_heads": 8,
            "head_dim": 16,
            "n_groups": 1,
            "chunk_size": 64,
        },
    ),
    "llama-1b": (  # Llama-3.2-1B's shape and vocabulary
        "LlamaConfig",
        BYTES
        | {
            "vocab_size": 128_256,
            "hidden_size": 2_048,
            "intermediate_size": 8_192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 1_048_576,
            "tie_word_embeddings": True,
        },
    ),
    "mamba2-1b": (  # mamba2-1.3b's shape and vocabulary
        "Mamba2Config",
        BYTES
        | {
            "vocab_size": 50_288,
            "hidden_size": 2_048,
            "num_hidden_layers": 48,
            "state_size": 128,
            "num_heads": 64,
            "head_dim": 64,
            "n_groups": 1,
            "chunk_size": 256,
            "tie_word_embeddings": True,
        },
    ),
}


def build_config(shape_id: str) -> Any:
    """The transformers configuration of a named shape. Raises KeyError for an unknown name."""
    import transformers

    class_name, settings = SHAPES[shape_id]
    return getattr(transformers, class_name)(**settings)
