"""Our kernels inside whole models, on their plain definitions: the stock logits, whole, in chunks and token by token."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_loading import models  # noqa: F401  (a fixture)
from tiny import load_tiny, random_ids

from longboard_kernels.accelerate import accelerate, mixers
from longboard_kernels.accelerate import model as model_module
from longboard_kernels.device import interpreted
from longboard_tasks.contract import ModelRef, RunSpec, Runtime, SystemSpec
from longboard_tasks.engine import graph
from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.graph import decoding
from longboard_tasks.engine.kernels import use_kernels
from longboard_tasks.engine.loading import LoadedModel, load_system
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.selftest import run_self_test
from longboard_tasks.engine.steps import Steps
from longboard_tasks.engine.stream import fork
from longboard_tasks.evaluate import evaluate

# Of each architecture, what runs ours beside its norms.
SERVED = {
    "llama": "LlamaAttention",
    "mamba": "MambaMixer",
    "mamba2": "Mamba2Mixer",
    "bamba": "BambaMixer",
    "falcon-h1": "FalconH1Mixer",
    "granite-hybrid": "GraniteMoeHybridMambaLayer",
    "nemotron-h": "NemotronHMamba2Mixer",
    "qwen3-next": "Qwen3NextGatedDeltaNet",
    "zamba2": "Zamba2MambaMixer",
}


def own(name: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """A copy: the tiny models are shared by all tests."""
    loaded = load_tiny(name, dtype)
    return LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, {}, loaded.tokenizer_sha256, loaded.max_positions)


def read_in_pieces(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """All logits [T, V]: in chunks of 48, then eight single tokens, as the engine reads."""
    reader, border = open_reader(model, chunk=48), ids.shape[1] - 8
    stream = reader.open(ids.shape[1])
    parts = list(reader.read_span(stream, ids[:, :border], border))
    parts += [reader.read(stream, ids[:, at : at + 1], 1) for at in range(border, ids.shape[1])]
    return torch.cat(parts, dim=1)[0]


@pytest.mark.parametrize("name", SERVED)
def test_chunks_and_single_tokens_give_the_stock_logits(name: str) -> None:
    loaded, ids = own(name), torch.tensor([random_ids(130)])
    with torch.no_grad():
        stock = loaded.model(input_ids=ids, use_cache=False).logits[0]
    said = use_kernels(loaded)
    assert SERVED[name] in str(said["kernels_in"])
    assert (read_in_pieces(loaded.model, ids) - stock).pow(2).mean().sqrt() < 1e-4 * stock.std()


def test_a_trained_delta_rule_gives_the_stock_logits_on_its_definition_and_on_the_kernel() -> None:
    system = SystemSpec(model=ModelRef(source="zoo", id="qwen-delta-3m"), runtime=Runtime(dtype="float32"))
    loaded, ids = load_system(system, device="cpu"), torch.tensor([random_ids(75)])
    with torch.no_grad():
        stock = loaded.model(input_ids=ids, use_cache=False).logits[0]
    said = use_kernels(loaded)
    assert "Qwen3_5GatedDeltaNet 6" in str(said["kernels_in"])
    assert (read_in_pieces(loaded.model, ids) - stock).pow(2).mean().sqrt() < 1e-4 * stock.std()
    with interpreted(), torch.no_grad():  # slow: one piece
        few = loaded.model(input_ids=ids[:, :11], use_cache=False).logits[0]
    assert (few - stock[:11]).pow(2).mean().sqrt() < 1e-4 * stock.std()


def test_an_accelerated_mamba_may_be_continued_by_any_number_of_tokens() -> None:
    loaded = own("mamba")
    use_kernels(loaded)
    assert run_self_test(open_reader(loaded.model)).mode == "shared"  # the stock one: token by token only


@pytest.mark.parametrize("name", ["mamba2", "llama", "qwen3-next"])
def test_half_precision_is_within_its_own_tolerance(name: str) -> None:
    outcome = accelerate(own(name, torch.bfloat16).model)
    assert outcome.accepted, outcome.reason


def test_a_kernel_that_moves_the_logits_is_declined_and_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = mixers.ssd_scan
    monkeypatch.setattr(mixers, "ssd_scan", lambda x, *rest, **more: right(x * 1.05, *rest, **more))
    loaded, ids = own("bamba"), torch.tensor([random_ids(60)])
    with torch.no_grad():
        stock = loaded.model(input_ids=ids, use_cache=False).logits
        with pytest.raises(MethodError, match="logits moved"):
            use_kernels(loaded)
        assert torch.equal(loaded.model(input_ids=ids, use_cache=False).logits, stock)


@pytest.mark.parametrize("name", SERVED)
def test_a_model_that_rounding_throws_into_disorder_is_judged_layer_by_layer(name: str, monkeypatch) -> None:
    monkeypatch.setattr(model_module, "LARGEST", 0.0)
    said = use_kernels(own(name))
    assert 0 < said["kernels_error"] <= said["kernels_tolerance"] == 1e-3
    outcome = accelerate(own(name, torch.bfloat16).model)
    assert outcome.accepted, outcome.reason
    assert "worst layer" in outcome.reason


def test_layers_show_a_wrong_kernel_and_a_state_that_is_not_carried(monkeypatch) -> None:
    monkeypatch.setattr(model_module, "LARGEST", 0.0)
    right = mixers.ssd_scan
    with monkeypatch.context() as patch:
        patch.setattr(mixers, "ssd_scan", lambda x, *rest, **more: right(x * 1.05, *rest, **more))
        assert "worst layer" in accelerate(own("mamba2", torch.bfloat16).model).reason

    def forget(*inputs: Any, **more: Any) -> torch.Tensor:
        *others, state = inputs
        return right(*others, None if state is None else torch.zeros_like(state), **more)

    monkeypatch.setattr(mixers, "ssd_scan", forget)
    with pytest.raises(MethodError, match="worst layer"):
        use_kernels(own("mamba2"))


def test_a_model_without_a_module_of_ours_is_left_alone_and_told_so() -> None:
    model = own("gpt2").model
    outcome = accelerate(model)
    assert not outcome.accepted
    assert not model.follows_clock
    assert "no module" in outcome.reason


def test_a_taken_back_model_runs_its_own_code() -> None:
    loaded, ids = own("mamba"), torch.tensor([random_ids(40)])
    with torch.no_grad():
        stock = loaded.model(input_ids=ids, use_cache=False).logits
        outcome = accelerate(loaded.model)
        outcome.undo()
        assert torch.equal(loaded.model(input_ids=ids, use_cache=False).logits, stock)
    assert not any("forward" in module.__dict__ for module in loaded.model.modules())


def test_a_padded_batch_is_left_to_the_stock_code() -> None:
    loaded = own("mamba2")
    ids, mask = torch.tensor([random_ids(30)] * 2), torch.ones(2, 30, dtype=torch.long)
    mask[1, :10] = 0
    with torch.no_grad():
        stock = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        assert accelerate(loaded.model).accepted
        ours = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    assert torch.allclose(ours, stock, atol=1e-4 * float(stock.std()))


def test_an_accelerated_evaluation_has_the_stock_scores_and_says_what_it_ran(models, tmp_path) -> None:  # noqa: F811  (the fixture)
    bundles = {}
    for kernels in ("stock", "longboard"):
        system = SystemSpec(model=ModelRef(source="upload", id="llama"), runtime=Runtime(kernels=kernels))
        spec = RunSpec(
            run_id=kernels,
            system=system,
            suite="niah",
            suite_version=1,
            tasks=("single",),
            context_length=512,
            samples=4,
            seed=0,
        )
        bundles[kernels] = evaluate(spec, work_dir=tmp_path / kernels, models_dir=models)
    stock, ours = bundles["stock"], bundles["longboard"]
    assert [s.answer for s in ours.samples] == [s.answer for s in stock.samples]
    assert ours.measurements == stock.measurements
    assert ours.manifest.settings["kernels"] == "longboard"
    assert float(ours.manifest.settings["kernels_error"]) <= float(ours.manifest.settings["kernels_tolerance"])
    assert "kernels" not in stock.manifest.settings


@pytest.mark.parametrize(
    ("name", "kernels"), [("llama", True), ("mamba", True), ("mamba2", True), ("mamba2", False), ("mistral", True)]
)
def test_a_preallocated_step_gives_the_tokens_of_the_growing_one(name: str, kernels: bool) -> None:
    loaded, ids = own(name), torch.tensor([random_ids(70)])
    if kernels:
        use_kernels(loaded)
    reader = open_reader(loaded.model, chunk=64)
    growing, still = reader.open(70), reader.open(70)
    logits, again = reader.read_last(growing, ids), reader.read_last(still, ids)
    with decoding(reader, still, 12, eager=True) as step:
        # Mistral's window slides: Python moves it. Stock code is left as it is.
        assert (step is None) == (name == "mistral" or not kernels)
        if step is None:
            return
        for number in range(12):
            assert torch.allclose(again, logits, atol=1e-4 * float(logits.std()))
            chosen = logits.argmax(-1).tolist()
            logits, again = reader.read(growing, torch.tensor([chosen]), 1)[:, -1], step(chosen, number)
    assert still.position == growing.position == 82
    assert torch.allclose(reader.read(still, ids, 1), reader.read(growing, ids, 1), atol=1e-4 * float(logits.std()))


@pytest.mark.parametrize(("name", "kernels"), [("llama", True), ("mamba2", True), ("llama", False)])
def test_steps_go_on_past_their_room(name: str, kernels: bool) -> None:
    loaded, ids = own(name), torch.tensor([random_ids(40)] * 2)
    if kernels:
        use_kernels(loaded)
    reader = open_reader(loaded.model, chunk=64)
    growing, still = reader.open(40), reader.open(40)
    logits, again = reader.read_last(growing, ids), reader.read_last(still, ids)
    assert graph.stands_still(reader, still) == kernels
    steps = Steps(reader, still, 7, eager=True)
    for _ in range(20):  # twice past seven
        assert torch.allclose(again, logits, atol=1e-4 * float(logits.std()))
        chosen = logits.argmax(-1).tolist()
        logits, again = reader.read(growing, torch.tensor(chosen)[:, None], 1)[:, -1], steps(chosen)
    steps.close()
    assert still.position == growing.position == 60
    assert torch.allclose(reader.read(still, ids, 1), reader.read(growing, ids, 1), atol=1e-4 * float(logits.std()))


def test_rows_of_a_batch_tick_together() -> None:
    loaded = own("llama")
    use_kernels(loaded)
    reader = open_reader(loaded.model, chunk=64)
    alone = reader.open(30)
    reader.read_last(alone, torch.tensor([random_ids(30)]))
    pair, twin = fork(alone, 2, reserve=50), fork(alone, 2, reserve=50)
    with decoding(reader, pair, 8, eager=True) as step:
        assert step is not None
        for number in range(8):
            rows = [[number, 255 - number]] * 2
            wanted = reader.read(twin, torch.tensor(rows[0])[:, None], 1)[:, -1]
            assert torch.allclose(step(rows[0], number), wanted, atol=1e-4 * float(wanted.std()))


def test_where_a_step_cannot_be_captured_decoding_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of resource: shared memory")

    monkeypatch.setattr(graph, "_run_eagerly", fail)
    loaded = own("mamba2")
    use_kernels(loaded)
    reader = open_reader(loaded.model, chunk=64)
    stream = reader.open(20)
    reader.read_last(stream, torch.tensor([random_ids(20)]))
    with decoding(reader, stream, 8, eager=True) as step:
        assert step is None
    assert reader.read(stream, torch.tensor([[7]]), 1).isfinite().all()
