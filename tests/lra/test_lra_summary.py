"""Seeds, averages, speeds, and the check that comes before them."""

import math

import pytest
import torch

from longboard_tasks.intervals import wilson
from longboard_tasks.suites.lra import device_check
from longboard_tasks.suites.lra.device_check import check_mixer
from longboard_tasks.suites.lra.efficiency import measure_cells, mixer_flops
from longboard_tasks.suites.lra.mixers.registry import MIXERS, NAMES
from longboard_tasks.suites.lra.model import Architecture
from longboard_tasks.suites.lra.summary import accuracy_interval, seeds_interval
from longboard_tasks.suites.lra.tasks import TASKS, Shape

CPU = torch.device("cpu")


def test_seeds_have_students_interval_and_one_seed_has_wilsons():
    value, low, high = seeds_interval([0.30, 0.34, 0.38], 2_000)
    assert value == pytest.approx(0.34)
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.04 / math.sqrt(3), rel=1e-3)
    assert seeds_interval([0.4], 500) == (0.4, *wilson(0.4, 500))
    assert seeds_interval([0.0, 1.0], 9)[1:] == (0.0, 1.0)
    for wrong in ([], [0.5] * 11):
        with pytest.raises(ValueError, match="1 to 10 accuracies"):
            seeds_interval(wrong, 10)


def test_the_arms_of_seeds_and_of_the_test_split_add_as_squares():
    # Three seeds 0.04 apart: Student's arm 4.302653 * 0.04 / sqrt(3); Wilson's of 0.34 over 500 by hand: 0.2998 to 0.3826.
    value, low, high = accuracy_interval([0.30, 0.34, 0.38], 500)
    seeds = 4.302653 * 0.04 / math.sqrt(3)
    assert value == pytest.approx(0.34)
    assert value - low == pytest.approx(math.sqrt(seeds**2 + 0.0402**2), abs=2e-4)
    assert high - value == pytest.approx(math.sqrt(seeds**2 + 0.0426**2), abs=2e-4)
    agreeing = [0.4, 0.4, 0.4]  # three seeds that agree by chance say little about the test split
    assert accuracy_interval(agreeing, 500) == (pytest.approx(0.4), *map(pytest.approx, wilson(0.4, 500)))
    assert accuracy_interval([0.4], 500) == (0.4, *wilson(0.4, 500))
    assert accuracy_interval([0.0, 1.0], 9)[1:] == (0.0, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_check_passes_where_device_and_reference_are_one(name):
    for verdict in check_mixer(name, CPU):
        assert verdict.is_right, verdict


def test_the_check_finds_a_device_that_is_a_hundredth_off(monkeypatch):
    kind = MIXERS["linear"]
    calls = []

    class Off(kind):
        def forward(self, x, mask=None):
            calls.append(None)
            return super().forward(x, mask) * (1.0 if len(calls) == 1 else 1.01)

    monkeypatch.setitem(MIXERS, "linear", Off)
    monkeypatch.setattr(device_check, "directions", lambda name: ("causal",))
    assert not check_mixer("linear", CPU)[0].is_right


def test_speeds_are_of_both_passes_and_running_out_of_memory_is_a_result(monkeypatch):
    tiny = Shape(16, 2, 2, 16, 32, "class", 0.0)
    cells = measure_cells(Architecture("aft"), tokens=32, batch=2, device=CPU, shape=tiny, repeats=3)
    assert [cell.what for cell in cells] == ["forward", "training step"]
    for cell in cells:
        assert cell.ms_low <= cell.ms <= cell.ms_high
        assert cell.tokens_per_s == pytest.approx(64 / cell.ms * 1e3)
        assert cell.repeats == 3

    def full(self, x, mask=None):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MIXERS["aft"], "forward", full)
    cells = measure_cells(Architecture("aft"), tokens=32, batch=2, device=CPU, shape=tiny)
    assert [cell.failure for cell in cells] == ["out of memory"] * 2


def test_the_cost_of_a_stack_is_that_of_its_layers():
    shape = TASKS["text"].shape
    four = mixer_flops(Architecture("softmax"), shape, 1_000, 3)
    assert four == 3 * 4 * (8 * 1_000 * 256 * 256 + 4 * 1_000**2 * 256)
