"""Named random-weight configurations: for efficiency at a size that nobody had to train, and for tests.

An id here is what a ModelRef with source "config" names: two tiny ones, and the shapes of public models from their files.
Weights are drawn after `torch.manual_seed(0)`.
"""

from __future__ import annotations

from typing import Any

from longboard_tasks.shapes import load_shapes

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
}
SHAPES |= {shape.id: (shape.class_name, BYTES | shape.settings) for shape in load_shapes().values()}


def build_config(shape_id: str) -> Any:
    """The transformers configuration of a named shape. Raises KeyError for an unknown name."""
    import transformers

    class_name, settings = SHAPES[shape_id]
    return getattr(transformers, class_name)(**settings)
