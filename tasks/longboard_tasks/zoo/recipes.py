"""One recipe a model: its stock transformers configuration and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, LlamaConfig, Mamba2Config, PreTrainedConfig

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
}

# About 50K parameters, for `--smoke`: a minute on a laptop's processor.
SMOKE = Recipe(
    LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        **{**SHARED, "vocab_size": 64},
    ),
    (Stage(64, 300),),
    tokens_per_step=2_048,
    learning_rate=3e-3,
    warmup=20,
    shortest=64,
)


def fresh_config(recipe: Recipe) -> PreTrainedConfig:
    """A copy, so that a model cannot change the recipe."""
    return AutoConfig.for_model(**recipe.config.to_dict())
