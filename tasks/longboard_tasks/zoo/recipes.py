"""One recipe a model: its stock transformers configuration and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from transformers import (
    AutoConfig,
    GraniteMoeHybridConfig,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen3_5TextConfig,
)

from longboard_tasks.zoo.tokenizer import VOCABULARY


@dataclass(frozen=True, slots=True)
class Stage:
    longest: int  # tokens; a batch has one length, drawn between the shortest and this
    steps: int
    mixture: str = "whole"  # of data.MIXTURES


@dataclass(frozen=True, slots=True)
class Recipe:
    config: PreTrainedConfig
    stages: tuple[Stage, ...]
    tokens_per_step: int = 32_768
    learning_rate: float = 2e-3
    warmup: int = 150  # steps
    weight_decay: float = 0.05
    shortest: int = 128  # tokens
    seed: int = 0

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def shortened(self, steps: int) -> Recipe:
        """The same plan in about so many steps."""
        stages = tuple(replace(stage, steps=max(1, stage.steps * steps // self.steps)) for stage in self.stages)
        return replace(self, stages=stages)

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
# One budget for all: the same batches in the same order, 131 million tokens.
CURRICULUM = (Stage(256, 700, "first"), Stage(256, 900), Stage(512, 700), Stage(1_024, 700), Stage(2_048, 1_000))
ATTENTION: dict[str, Any] = {"hidden_size": 192, "num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 32}
POSITIONS: dict[str, Any] = {"max_position_embeddings": 32_768}

RECIPES = {
    "llama-3m": Recipe(
        LlamaConfig(intermediate_size=408, num_hidden_layers=6, **ATTENTION, **POSITIONS, **SHARED), CURRICULUM
    ),
    "mistral-window-3m": Recipe(
        MistralConfig(
            intermediate_size=408, num_hidden_layers=6, sliding_window=512, **ATTENTION, **POSITIONS, **SHARED
        ),
        CURRICULUM,
    ),
    "mamba-3m": Recipe(
        MambaConfig(hidden_size=192, state_size=16, expand=2, time_step_rank=18, num_hidden_layers=9, **SHARED),
        CURRICULUM,
    ),
    "mamba2-3m": Recipe(
        Mamba2Config(
            hidden_size=192, state_size=80, num_heads=6, head_dim=64, n_groups=1, num_hidden_layers=9, **SHARED
        ),
        CURRICULUM,
    ),
    "granite-hybrid-3m": Recipe(
        GraniteMoeHybridConfig(
            hidden_size=192,
            shared_intermediate_size=76,
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
            **POSITIONS,
            **SHARED,
        ),
        CURRICULUM,
    ),
    "qwen-delta-3m": Recipe(
        Qwen3_5TextConfig(
            intermediate_size=152,
            num_hidden_layers=7,
            # The class keeps its place by an attention layer. At the bottom it sees single tokens, so recall is the rest's.
            layer_types=["full_attention"] + ["linear_attention"] * 6,
            linear_num_key_heads=4,
            linear_num_value_heads=4,
            linear_key_head_dim=64,
            linear_value_head_dim=64,
            **ATTENTION,
            **POSITIONS,
            **SHARED,
        ),
        CURRICULUM,
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
