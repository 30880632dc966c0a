"""One recipe a model: its stock transformers configuration and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, GraniteMoeHybridConfig, LlamaConfig, Mamba2Config, MistralConfig, PreTrainedConfig

from longboard_tasks.zoo.tokenizer import VOCABULARY


@dataclass(frozen=True, slots=True)
class Stage:
    longest: int  # tokens; a batch has one length, drawn between the shortest and this
    steps: int


@dataclass(frozen=True, slots=True)
class Recipe:
    config: PreTrainedConfig
    stages: tuple[Stage, ...]
    tokens_per_step: int = 65_536
    learning_rate: float = 1e-3
    warmup: int = 200  # steps
    weight_decay: float = 0.05
    shortest: int = 128  # tokens
    seed: int = 0

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]


SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
}
CURRICULUM = (Stage(256, 1_600), Stage(512, 800), Stage(1_024, 900), Stage(2_048, 1_700))

# The first two models answered 99 % of the questions right from step 850 on: the later ones get fewer steps.
SHORT_CURRICULUM = (Stage(256, 600), Stage(512, 300), Stage(1_024, 400), Stage(2_048, 700))

RECIPES = {
    "llama-3m": Recipe(
        LlamaConfig(
            hidden_size=192,
            intermediate_size=544,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=32_768,
            **SHARED,
        ),
        CURRICULUM,
    ),
    "mamba2-3m": Recipe(
        Mamba2Config(
            hidden_size=192,
            state_size=128,
            num_heads=6,
            head_dim=64,
            n_groups=1,
            num_hidden_layers=10,
            **SHARED,
        ),
        CURRICULUM,
    ),
    "granite-hybrid-3m": Recipe(
        GraniteMoeHybridConfig(
            hidden_size=192,
            shared_intermediate_size=176,
            num_hidden_layers=8,
            layer_types=["linear_attention", "linear_attention", "linear_attention", "full_attention"] * 2,
            num_attention_heads=6,
            num_key_value_heads=6,
            attention_multiplier=32**-0.5,  # one over the root of the head size; the class has 1.0
            position_embedding_type=None,  # as in Granite 4.0: the recurrent layers know where they are
            num_local_experts=0,
            mamba_n_heads=6,
            mamba_d_head=64,
            mamba_d_state=128,
            mamba_n_groups=1,
            max_position_embeddings=32_768,
            **SHARED,
        ),
        SHORT_CURRICULUM,
    ),
    "mistral-window-3m": Recipe(
        MistralConfig(
            hidden_size=192,
            intermediate_size=544,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            head_dim=32,
            sliding_window=512,
            max_position_embeddings=32_768,
            **SHARED,
        ),
        SHORT_CURRICULUM,
    ),
}

# About 50,000 parameters, for `--smoke`: half a minute on a laptop's processor.
SMOKE = Recipe(
    LlamaConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        **{**SHARED, "vocab_size": 64, "tie_word_embeddings": False, "initializer_range": 0.1},
    ),
    (Stage(32, 600),),
    tokens_per_step=1_024,
    learning_rate=1e-2,
    warmup=30,
    shortest=32,
)


def fresh_config(recipe: Recipe) -> PreTrainedConfig:
    """A copy, so that a model cannot change the recipe."""
    return AutoConfig.for_model(**recipe.config.to_dict())
