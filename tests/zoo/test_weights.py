"""The models that ship: stock classes load them, they are what the registry says, and they find needles."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from longboard_tasks.prose import load_prose
from longboard_tasks.zoo.evaluate import niah_accuracy
from longboard_tasks.zoo.recipes import RECIPES, fresh_config
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
    assert max(stage.longest for stage in RECIPES[model_id].stages) == entry.trained_length
    assert card["steps"] == card["planned_steps"] == RECIPES[model_id].steps
    assert tokenizer.get_vocab() == load_tokenizer().get_vocab()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("model_id", SHIPPED)
def test_the_shipped_configuration_is_the_recipes(model_id):
    said_later = {"transformers_version", "dtype", "architectures", "_name_or_path"}
    shipped, recipe = (
        {key: value for key, value in config.to_dict().items() if key not in said_later}
        for config in (AutoConfig.from_pretrained(weights_dir(model_id)), fresh_config(RECIPES[model_id]))
    )
    assert shipped == recipe


def test_models_have_equal_parameter_counts_within_half_a_percent():
    counts = [ZOO[model_id].parameters for model_id in SHIPPED]
    assert max(counts) / min(counts) < 1.005


@pytest.mark.parametrize(
    "model_id, length, samples",
    [("llama-3m", 512, 20), ("mamba2-3m", 256, 10), ("granite-hybrid-3m", 256, 10), ("mistral-window-3m", 256, 10)],
)
def test_a_shipped_model_finds_nine_needles_of_ten_in_prose_and_wording_that_it_never_saw(model_id, length, samples):
    model, tokenizer = load(model_id)
    prose = tokenizer.encode(load_prose().text[:20_000], add_special_tokens=False)
    right = niah_accuracy(model, tokenizer, prose, length=length, samples=samples, seed=424_242, at_once=4_096)
    assert sum(right) >= 0.9 * samples
