"""The self-test knows which caches may be continued, and notices a state that was not put back."""

import pytest
import torch
import transformers
from tiny import ALL, OFF, SHARED, STEP, load_tiny, open_tiny

from longboard_tasks.engine import selftest
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.selftest import run_self_test

EXPECTED = {**dict.fromkeys(SHARED, "shared"), **dict.fromkeys(STEP, "step"), **dict.fromkeys(OFF, "off")}


@pytest.mark.parametrize("name", ALL)
def test_each_architecture_gets_the_mode_that_an_independent_study_found(name):
    outcome = run_self_test(open_reader(load_tiny(name).model))
    assert outcome.mode == EXPECTED[name], outcome.reason
    assert outcome.reason


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [*SHARED[:6], *STEP])
def test_half_precision_changes_nothing_about_the_mode_nor_about_the_weights(name, dtype):
    model = load_tiny(name, dtype).model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    outcome = run_self_test(open_reader(model))
    assert outcome.mode == EXPECTED[name], outcome.reason
    after = model.state_dict()
    assert all(torch.equal(after[key], value) and after[key].dtype == value.dtype for key, value in before.items())


def zero_states(stream):
    """What a restore does that forgets the recurrent state, or the keys and values."""
    for layer in stream.cache.layers:
        for state in [*getattr(layer, "recurrent_states", {}).values(), *getattr(layer, "conv_states", {}).values()]:
            if state is not None:
                state.zero_()
        if isinstance(getattr(layer, "keys", None), torch.Tensor):
            layer.values.zero_()


@pytest.mark.parametrize("name", ["llama", "mistral", "mamba2", "zamba2", "falcon-h1", "qwen3-next", "mamba", "lfm2"])
def test_a_zeroed_state_after_a_restore_fails_the_self_test(name):
    outcome = run_self_test(open_reader(load_tiny(name).model), tamper=zero_states)
    assert outcome.mode == "off"
    assert "same bits" in outcome.reason


def nudge_one_number(stream):
    layer = stream.cache.layers[0]
    state = layer.recurrent_states[0] if hasattr(layer, "recurrent_states") else layer.values
    state.view(-1)[3] += 0.01


@pytest.mark.parametrize("name", ["llama", "mamba2"])
def test_one_number_off_by_a_hundredth_fails_the_self_test(name):
    assert run_self_test(open_reader(load_tiny(name).model), tamper=nudge_one_number).mode == "off"


def test_a_batch_whose_rows_disturb_one_another_is_noticed():
    # transformers 5.23: RWKV's token shift broadcasts over the batch when one token is read.
    outcome = run_self_test(open_reader(load_tiny("rwkv").model))
    assert outcome.mode == "shared"
    assert not outcome.batches
    assert "one by one" in outcome.reason


@pytest.mark.parametrize("name", [name for name in SHARED if name != "rwkv"])
def test_rows_of_a_batch_and_calls_that_are_repeated_give_the_same(name):
    outcome = open_tiny(name).self_test
    assert outcome.batches, outcome.reason
    assert outcome.repeats, outcome.reason


def test_only_models_whose_whole_memory_is_full_attention_may_pack_prompts_into_one_row():
    packs = {name for name in ALL if open_tiny(name).self_test.packs}
    assert packs == {"llama", "gpt2"}


@pytest.mark.parametrize(("name", "has_scan"), [("mamba2", True), ("llama", False)])
def test_the_second_yardstick_moves_the_borders_of_a_scan_and_puts_them_back(name, has_scan):
    reader = open_reader(load_tiny(name).model)
    scans = [module for module in reader.model.modules() if hasattr(module, "chunk_size")]
    before = [module.chunk_size for module in scans]
    ids = selftest._draw_tokens(reader)
    moved = selftest._measure_borders(reader, ids, selftest._read_whole(reader, ids))
    assert [module.chunk_size for module in scans] == before
    assert (moved > 0) == has_scan
    assert moved < 1e-4  # rounding, in fp32


def test_a_scan_that_depends_on_its_chunk_by_more_than_rounding_is_wrong(monkeypatch):
    # A scan that drops what came before a chunk disagrees with itself at every border: no yardstick to lean on.
    module = transformers.models.mamba2.modeling_mamba2
    whole_scan = module.mamba2_chunk_scan

    def forgetful(*args, initial_states=None, **options):
        return whole_scan(*args, initial_states=None, **options)

    monkeypatch.setattr(module, "mamba2_chunk_scan", forgetful)
    outcome = run_self_test(open_reader(load_tiny("mamba2").model))
    assert outcome.mode != "shared", outcome.reason
