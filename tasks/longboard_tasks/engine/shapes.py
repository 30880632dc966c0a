"""Named random-weight configurations: for efficiency at a size that nobody had to train, and for tests.

An id here is what a ModelRef with source "config" names. Weights are drawn after `torch.manual_seed(0)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    id: str
    config_class: str  # the name in transformers
    settings: dict[str, Any] = field(default_factory=dict)


SHAPES = {
    shape.id: shape
    for shape in (
        Shape(
            "tiny-llama",
            "LlamaConfig",
            dict(
                vocab_size=259, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=32_768, bos_token_id=256, eos_token_id=257,
                pad_token_id=258, tie_word_embeddings=False,
            ),
        ),
        Shape(
            "tiny-mamba2",
            "Mamba2Config",
            dict(
                vocab_size=259, hidden_size=64, num_hidden_layers=2, state_size=16, num_heads=8, head_dim=16,
                expand=2, n_groups=1, chunk_size=64, bos_token_id=256, eos_token_id=257, pad_token_id=258,
            ),
        ),
        Shape(
            "llama-1b",  # the shape of Llama-3.2-1B
            "LlamaConfig",
            dict(
                vocab_size=128_256, hidden_size=2_048, intermediate_size=8_192, num_hidden_layers=16,
                num_attention_heads=32, num_key_value_heads=8, head_dim=64, max_position_embeddings=1_048_576,
                rope_theta=500_000.0, tie_word_embeddings=True, bos_token_id=256, eos_token_id=257, pad_token_id=258,
            ),
        ),
        Shape(
            "mamba2-1b",  # the shape of mamba2-1.3b, with its vocabulary
            "Mamba2Config",
            dict(
                vocab_size=50_288, hidden_size=2_048, num_hidden_layers=48, state_size=128, num_heads=64, head_dim=64,
                expand=2, n_groups=1, chunk_size=256, tie_word_embeddings=True, bos_token_id=256, eos_token_id=257,
                pad_token_id=258,
            ),
        ),
    )
}  # fmt: skip


def build_config(shape_id: str) -> Any:
    """The transformers configuration of a named shape. Raises KeyError for an unknown name."""
    import transformers

    shape = SHAPES[shape_id]
    return getattr(transformers, shape.config_class)(**shape.settings)
