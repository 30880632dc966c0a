"""Only safetensors, only stock classes, only what was pinned; errors that say what to do."""

import json
import shutil

import pytest
import torch
from tiny import load_tiny

from longboard_tasks.contract import ModelRef, Runtime, SystemSpec
from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.errors import ModelLoadError, PositionLimitError, UnsafeWeights
from longboard_tasks.engine.loading import check_positions, hash_tokenizer, load_system


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("llama", "mamba2"):
        load_tiny(name).model.save_pretrained(folder / name)
        build_byte_tokenizer().save_pretrained(folder / name)
    return folder


@pytest.fixture
def upload(models, tmp_path):
    shutil.copytree(models / "llama", tmp_path / "mine")
    return tmp_path


def system(source="upload", id="mine", **runtime):
    return SystemSpec(model=ModelRef(source=source, id=id), runtime=Runtime(**runtime))


def test_an_upload_loads_with_its_digests_in_the_dtype_asked_for(upload):
    loaded = load_system(system(dtype="bfloat16"), models_dir=upload)
    assert next(loaded.model.parameters()).dtype == torch.bfloat16
    assert set(loaded.weights_sha256) == {"model.safetensors"}
    assert loaded.tokenizer_sha256 == hash_tokenizer(build_byte_tokenizer())
    assert loaded.max_positions == 32_768
    assert not loaded.model.training


def test_a_changed_weight_changes_the_digest(upload):
    before = load_system(system(), models_dir=upload).weights_sha256
    path = upload / "mine" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert load_system(system(), models_dir=upload).weights_sha256 != before


def test_pickled_weights_are_refused_with_the_way_out(upload):
    (upload / "mine" / "model.safetensors").unlink()
    torch.save({}, upload / "mine" / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match=r"pytorch_model.bin.*safe_serialization=True"):
        load_system(system(), models_dir=upload)


def test_a_repository_that_brings_code_is_refused(upload):
    path = upload / "mine" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}))
    (upload / "mine" / "modeling.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsafeWeights, match="auto_map") as caught:
        load_system(system(), models_dir=upload)
    assert caught.value.failure_class == "bad_input"


@pytest.mark.parametrize("id", ["nothing", "..", "mine"])
def test_a_model_that_is_not_there_is_named(tmp_path, id):
    with pytest.raises(ModelLoadError, match=f'"{id}"|pattern') as caught:
        load_system(
            SystemSpec(model=ModelRef.model_construct(source="upload", id=id, revision="")),
            models_dir=tmp_path / "models",
        )
    assert caught.value.failure_class == "model_error"


def test_a_broken_file_is_a_load_error_not_a_crash(upload):
    (upload / "mine" / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load_system(system(), models_dir=upload)


def test_an_unknown_zoo_model_and_an_unknown_configuration_list_what_exists():
    with pytest.raises(ModelLoadError, match="llama-3m"):
        load_system(system("zoo", "nothing"))
    with pytest.raises(ModelLoadError, match="tiny-llama"):
        load_system(system("config", "nothing"))


def test_a_hub_model_offline_says_that_the_node_is_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    reference = ModelRef(source="hub", id="someone/something", revision="0" * 40)
    with pytest.raises(ModelLoadError, match="offline"):
        load_system(SystemSpec(model=reference))


def test_a_length_beyond_the_positions_is_refused_with_the_longest_that_fits():
    loaded = load_tiny("llama")
    check_positions(loaded, context_length=32_768, new_tokens=24)  # rotary positions go on for the answer
    with pytest.raises(PositionLimitError, match=r"32769 positions.*has 32768.*at most 32768"):
        check_positions(loaded, context_length=32_769, new_tokens=24)
    with pytest.raises(PositionLimitError, match="at most 1000"):
        check_positions(load_tiny("gpt2"), context_length=1_001, new_tokens=24)
    check_positions(load_tiny("mamba2"), context_length=10**7, new_tokens=24)


def test_the_byte_tokenizer_gives_every_byte_back():
    tokenizer = build_byte_tokenizer()
    assert [tokenizer.encode(f"{chr(b)}", add_special_tokens=False) for b in range(128)] == [[b] for b in range(128)]
    text = "Käse, 鯨 and \n\t\0"
    assert tokenizer.encode(text) == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text
    assert tokenizer.encode("<bos>a<eos>") == [256, ord("a"), 257]
