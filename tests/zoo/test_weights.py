"""The models that ship: stock classes load them, they are what the registry says, and they find needles."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from longboard_tasks.contract import ModelRef, RunSpec, SystemSpec
from longboard_tasks.evaluate import evaluate
from longboard_tasks.zoo.registry import ZOO, weights_dir
from longboard_tasks.zoo.tokenizer import load_tokenizer

SHIPPED = [model.id for model in ZOO.values() if model.shipped]


def load(model_id):
    folder = weights_dir(model_id)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("model_id", SHIPPED)
def test_the_registry_states_the_class_the_parameters_and_the_lengths_of_the_real_model(model_id):
    entry, (model, tokenizer) = ZOO[model_id], load(model_id)
    card = json.loads((weights_dir(model_id) / "card.json").read_text())
    assert type(model).__name__ == entry.architecture == card["architecture"]
    assert sum(p.numel() for p in model.parameters()) == entry.parameters == card["parameters"]
    assert getattr(model.config, "max_position_embeddings", None) == entry.max_positions
    assert max(longest for longest, _ in card["stages"]) == entry.trained_length
    assert card["steps"] == card["planned_steps"]
    assert tokenizer.get_vocab() == load_tokenizer().get_vocab()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_models_have_equal_parameter_counts_within_half_a_percent():
    counts = [ZOO[model_id].parameters for model_id in SHIPPED]
    assert max(counts) / min(counts) < 1.005


@pytest.mark.parametrize(
    "model_id, length, samples",
    [
        ("llama-3m", 512, 20),
        ("mamba2-3m", 256, 10),
        ("granite-hybrid-3m", 256, 10),
        ("mistral-window-3m", 256, 10),
        ("mamba-3m", 256, 10),
        ("qwen-delta-3m", 256, 10),
    ],
)
def test_a_shipped_model_finds_nine_needles_of_ten_in_prose_and_wording_that_it_never_saw(
    tmp_path, model_id, length, samples
):
    spec = RunSpec(
        run_id="r", system=SystemSpec(model=ModelRef(source="zoo", id=model_id)), suite="niah", suite_version=1,
        tasks=("single",), context_length=length, samples=samples, seed=424_242,
    )  # fmt: skip
    accuracy = evaluate(spec, work_dir=tmp_path).measurements[0]
    assert (accuracy.metric, accuracy.n) == ("accuracy", samples)
    assert accuracy.value >= 0.9
