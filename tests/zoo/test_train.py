"""Training: a stopped run ends where an unbroken one does, and the recipes are what they promise."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from longboard_tasks.zoo.batches import batch_of
from longboard_tasks.zoo.data import ToyRepeats
from longboard_tasks.zoo.make import ORDER
from longboard_tasks.zoo.recipes import RECIPES, SMOKE, Stage, fresh_config
from longboard_tasks.zoo.shelf import put_batch, take_batch
from longboard_tasks.zoo.train import learning_rate, make_optimizer, train

RECIPE = dataclasses.replace(SMOKE, stages=(Stage(32, 6), Stage(64, 6)), tokens_per_step=128)
CPU = torch.device("cpu")


class Stopped(Exception):
    pass


class StopsAfter(ToyRepeats):
    def __init__(self, sequences: int) -> None:
        self.left = sequences

    def sequence(self, rng, length, mixture):
        self.left -= 1
        if self.left < 0:
            raise Stopped
        return super().sequence(rng, length, mixture)


def run(out, source, **how):
    train("toy", RECIPE, source, out, device=CPU, workers=0, save_every_s=0, **how)
    return load_file(out / "toy/model.safetensors")


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def whole(tmp_path):
    (tmp_path / "whole").mkdir()
    return run(tmp_path / "whole", ToyRepeats())


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_weights(tmp_path, whole):
    with pytest.raises(Stopped):
        run(tmp_path, StopsAfter(30))
    assert torch.load(tmp_path / "toy.checkpoint.pt")["step"] == 8
    assert equal(whole, run(tmp_path, ToyRepeats()))


def test_a_run_out_of_time_is_saved_and_goes_on_later_while_one_in_time_is_not_cut_by_its_own_saves(tmp_path, whole):
    run(tmp_path, ToyRepeats(), seconds=0)
    assert torch.load(tmp_path / "toy.checkpoint.pt")["step"] == 1
    # A save at every step, and time for all of them: it has to reach the end.
    assert equal(whole, run(tmp_path, ToyRepeats(), seconds=3_600))
    assert torch.load(tmp_path / "toy.checkpoint.pt")["step"] == RECIPE.steps


def test_batches_from_a_shelf_are_those_made_on_demand(tmp_path, whole):
    for step in range(RECIPE.steps):
        put_batch(tmp_path, step, batch_of(RECIPE, ToyRepeats(), step))
    assert equal(whole, run(tmp_path, None, shelf=tmp_path))


def test_a_batch_that_nobody_makes_is_an_error_that_says_so(tmp_path):
    with pytest.raises(TimeoutError, match=r"000003\.npz did not appear within 0 s"):
        take_batch(tmp_path, 3, patience_s=0)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("longboard_tasks.zoo.train.learning_rate", lambda recipe, step: float("nan"))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 12"):
        run(tmp_path, ToyRepeats())


def test_the_learning_rate_warms_up_and_ends_at_a_tenth():
    assert learning_rate(SMOKE, 0) == pytest.approx(SMOKE.learning_rate / SMOKE.warmup)
    assert learning_rate(SMOKE, SMOKE.warmup) == pytest.approx(SMOKE.learning_rate)
    assert learning_rate(SMOKE, SMOKE.steps) == pytest.approx(SMOKE.learning_rate / 10)


def empty(name):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(fresh_config(RECIPES[name]))


def test_the_six_recipes_have_equal_sizes_and_budgets_and_together_fit_40_mb():
    counts = {name: sum(p.numel() for p in empty(name).parameters()) for name in RECIPES}
    assert max(counts.values()) / min(counts.values()) < 1.005
    assert sum(2 * count + 280_000 for count in counts.values()) < 40e6  # bf16, and a tokenizer beside each
    assert len({(r.stages, r.tokens_per_step, r.seed, r.learning_rate) for r in RECIPES.values()}) == 1
    assert set(ORDER) == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_norms_biases_and_decay_rates_are_not_pulled_towards_zero(name):
    model = empty(name)
    names = {id(p): n for n, p in model.named_parameters()}
    decayed, free = make_optimizer(model, RECIPES[name], CPU).param_groups
    assert free["weight_decay"] == 0 < decayed["weight_decay"]
    assert not any(names[id(p)].endswith(("A_log", "bias")) for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)
