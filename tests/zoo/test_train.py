"""Training: a stopped run ends where an unbroken one does."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from longboard_tasks.zoo.data import ToyRepeats
from longboard_tasks.zoo.recipes import SMOKE, Stage
from longboard_tasks.zoo.train import learning_rate, train

RECIPE = dataclasses.replace(SMOKE, stages=(Stage(32, 6), Stage(64, 6)), tokens_per_step=128)


class Stopped(Exception):
    pass


class StopsAfter(ToyRepeats):
    def __init__(self, sequences: int) -> None:
        self.left = sequences

    def sequence(self, rng, length):
        self.left -= 1
        if self.left < 0:
            raise Stopped
        return super().sequence(rng, length)


def run(out, source):
    train("toy", RECIPE, source, out, device=torch.device("cpu"), workers=0, compiled=False, save_every_s=0)
    return load_file(out / "toy/model.safetensors")


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_weights(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = run(tmp_path / "whole", ToyRepeats())
    with pytest.raises(Stopped):
        run(tmp_path / "broken", StopsAfter(30))
    assert torch.load(tmp_path / "broken/toy.checkpoint.pt")["step"] == 8
    broken = run(tmp_path / "broken", ToyRepeats())
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_the_learning_rate_warms_up_and_ends_at_a_tenth():
    assert learning_rate(SMOKE, 0) == pytest.approx(SMOKE.learning_rate / SMOKE.warmup)
    assert learning_rate(SMOKE, SMOKE.warmup) == pytest.approx(SMOKE.learning_rate)
    assert learning_rate(SMOKE, SMOKE.steps) == pytest.approx(SMOKE.learning_rate / 10)
