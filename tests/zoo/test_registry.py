"""What the platform reads about the zoo, without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from longboard_tasks.zoo.card import readme, with_tables
from longboard_tasks.zoo.registry import ZOO, ModelMissing, find_model, weights_dir


def test_reading_the_registry_loads_no_torch():
    code = "import sys, longboard_tasks.zoo.registry; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": "tasks"}).returncode == 0


def test_an_unknown_model_is_refused_with_the_names_that_exist():
    with pytest.raises(ModelMissing, match=r'no model "gpt-5"\. It has: llama-3m, mamba2-3m'):
        find_model("gpt-5")


def test_every_shipped_model_has_its_weights_in_the_checkout_and_all_of_them_stay_under_40_mb():
    folders = [weights_dir(model.id) for model in ZOO.values() if model.shipped]
    files = [file for folder in folders for file in folder.iterdir()]
    assert {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "card.json",
        "README.md",
    } <= {file.name for file in files}
    assert sum(file.stat().st_size for file in files) < 40e6


def test_a_model_that_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(ModelMissing, match=r"zoo\.smollm2 --out DIR"):
        weights_dir("smollm2-135m-instruct")
    with pytest.raises(ModelMissing, match=rf"zoo\.smollm2 --out {tmp_path}"):
        weights_dir("smollm2-135m-instruct", tmp_path)


def test_a_fetched_model_is_found_in_the_folder_for_fetched_models(tmp_path):
    (tmp_path / "smollm2-135m-instruct").mkdir()
    (tmp_path / "smollm2-135m-instruct/config.json").write_text("{}")
    assert weights_dir("smollm2-135m-instruct", tmp_path) == tmp_path / "smollm2-135m-instruct"


def test_the_readmes_and_the_page_say_what_the_cards_say():
    page = Path("docs/zoo.md").read_text()
    assert page == with_tables(page)
    for model in ZOO.values():
        if model.shipped:
            assert (weights_dir(model.id) / "README.md").read_text() == readme(model)
