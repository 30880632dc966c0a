"""Training on the small: it learns, repeats itself, and goes on after a kill as if nothing had happened."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.lra import train as trainer
from longboard_tasks.suites.lra.__main__ import main
from longboard_tasks.suites.lra.checkpoint import NAME
from longboard_tasks.suites.lra.examples import Examples
from longboard_tasks.suites.lra.mixers.registry import NAMES
from longboard_tasks.suites.lra.model import Architecture, Classifier
from longboard_tasks.suites.lra.tasks import TASKS, Budget, Shape
from longboard_tasks.suites.lra.train import Data, Plan, batch_at, cut, learning_rate, train

TINY = Shape(16, 2, 2, 16, 32, "class", 0.1)
CPU = torch.device("cpu")
BUDGET = Budget(60, 16, 10, 1e-2, 0.01)


def toy(split: str, count: int) -> Examples:
    """Which of two ids comes first: needs nothing but one look at the start."""
    rng = np.random.default_rng([len(split), count])
    labels = rng.integers(0, 2, count)
    rows = [
        np.concatenate([[label + 1], rng.integers(3, 10, rng.integers(4, 20))]).astype(np.uint16) for label in labels
    ]
    return Examples("listops", split, rows, labels, False, f"{split}-{count}")


@pytest.fixture
def data(monkeypatch):
    monkeypatch.setitem(TASKS, "listops", replace(TASKS["listops"], length=24, shape=TINY))
    monkeypatch.setattr(trainer, "GRAIN", 8)
    return Data(toy("train", 200), toy("validation", 60), toy("test", 60))


def plan(mixer: str = "softmax", **changes) -> Plan:
    return replace(Plan("listops", Architecture(mixer), 0, BUDGET, evaluate_every=20), **changes)


def weights(path):
    from safetensors.torch import load_file

    return load_file(path / NAME)


def test_it_learns_the_toy_and_reports_what_it_did(data, tmp_path):
    lines = []
    outcome = train(plan(), data, tmp_path, device=CPU, say=lines.append)
    assert outcome.accuracy > 0.95
    assert (outcome.steps, outcome.n, outcome.stopped) == (60, 60, "budget")
    assert outcome.within_budget
    assert outcome.train_tokens_per_s > 0
    folder = tmp_path / plan().name
    rows = [json.loads(row) for row in (folder / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert len(lines) == 3
    assert json.loads((folder / "outcome.json").read_text())["accuracy"] == outcome.accuracy


def test_the_same_plan_gives_the_same_weights_and_another_seed_others(data, tmp_path):
    for place in ("a", "b"):
        train(plan(), data, tmp_path / place, device=CPU, say=str)
    train(plan(seed=1), data, tmp_path / "c", device=CPU, say=str)
    one, two = weights(tmp_path / "a" / plan().name), weights(tmp_path / "b" / plan().name)
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = weights(tmp_path / "c" / plan(seed=1).name)
    assert not torch.equal(one["weight.embed.weight"], other["weight.embed.weight"])


def test_a_run_killed_in_the_middle_ends_with_the_same_weights_and_curve(data, tmp_path, monkeypatch):
    train(plan(), data, tmp_path / "whole", device=CPU, say=str)
    taken = []
    real = trainer.batch_at

    def killed(plan_, examples, step):
        taken.append(step)
        if len(taken) == 47:
            raise KeyboardInterrupt
        return real(plan_, examples, step)

    monkeypatch.setattr(trainer, "batch_at", killed)
    with pytest.raises(KeyboardInterrupt):
        train(plan(), data, tmp_path / "cut", device=CPU, say=str, save_every_s=0)
    train(plan(), data, tmp_path / "cut", device=CPU, say=str)
    assert taken[47] == 40  # the last evaluation was saved
    whole, cut_ = tmp_path / "whole" / plan().name, tmp_path / "cut" / plan().name
    assert (whole / "curve.jsonl").read_text() == (cut_ / "curve.jsonl").read_text()
    one, two = weights(whole), weights(cut_)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_out_of_time_says_so_and_goes_on_later(data, tmp_path, monkeypatch):
    train(plan(), data, tmp_path / "whole", device=CPU, say=str)
    clock = iter(range(10**6))
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: float(next(clock)))
    outcome = train(plan(), data, tmp_path / "late", device=CPU, say=str, seconds=30)
    assert outcome.stopped == "time"
    assert 0 < outcome.steps < 60
    outcome = train(plan(), data, tmp_path / "late", device=CPU, say=str)
    assert outcome.stopped == "budget"
    folders = [tmp_path / place / plan().name / "curve.jsonl" for place in ("whole", "late")]
    assert folders[0].read_text() == folders[1].read_text()


def test_a_run_that_went_on_states_the_most_memory_of_all_its_attempts(data, tmp_path, monkeypatch):
    clock, peak = iter(range(10**6)), [500]
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(trainer, "peak_bytes", lambda device: peak[0])
    assert train(plan(), data, tmp_path, device=CPU, say=str, seconds=30).peak_memory_bytes == 500
    peak[0] = 200  # a new process, whose few steps hold less
    assert train(plan(), data, tmp_path, device=CPU, say=str).peak_memory_bytes == 500


def test_patience_ends_a_run_that_gets_no_better(data, tmp_path):
    hopeless = plan(budget=replace(BUDGET, learning_rate=0.0, steps=200), evaluate_every=10, patience=2)
    outcome = train(hopeless, data, tmp_path, device=CPU, say=str)
    assert (outcome.stopped, outcome.steps) == ("patience", 30)
    again = train(hopeless, data, tmp_path, device=CPU, say=str)
    assert (again.stopped, again.steps) == ("patience", 30)


def test_a_checkpoint_of_another_plan_is_refused(data, tmp_path):
    train(plan(), data, tmp_path, device=CPU, say=str)
    with pytest.raises(SuiteError, match="another plan or other data"):
        train(plan(budget=replace(BUDGET, steps=80)), data, tmp_path, device=CPU, say=str)


def test_a_loss_that_is_not_finite_stops_the_run(data, tmp_path):
    with pytest.raises(FloatingPointError, match="Lower the learning rate"):
        train(plan(budget=replace(BUDGET, learning_rate=1e30, warm_up=0)), data, tmp_path, device=CPU, say=str)


def test_every_epoch_shows_every_example_once_in_an_order_of_its_own(data):
    p = plan(budget=replace(BUDGET, batch=40))
    numbered = replace_rows(data.train)
    epochs = [
        [int(i) for step in range(5 * e, 5 * e + 5) for i in batch_at(p, numbered, step)[0][:, 0]] for e in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(1, 201))
    assert epochs[0] != epochs[1]


def replace_rows(examples: Examples) -> Examples:
    return replace(examples, rows=[np.array([number + 1], dtype=np.uint16) for number in range(len(examples))])


def test_a_batch_is_cut_to_its_longest_row(data):
    ids, _ = cut(data.train, np.arange(10))
    longest = max(len(row) for row in data.train.rows[:10])
    assert longest <= ids.shape[1] < longest + 8
    assert (ids[:, -8:] > 0).any()


def test_the_learning_rate_warms_up_and_falls_to_a_tenth():
    budget = Budget(100, 1, 10, 1.0, 0.0)
    rates = [learning_rate(budget, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
@pytest.mark.parametrize("name", NAMES)
def test_every_mixer_trains_a_classifier_of_single_rows_and_of_pairs(name, half):
    torch.manual_seed(0)
    for pair in (False, True):
        model = Classifier(Architecture(name), TINY, vocabulary=12, classes=3, length=20, pair=pair)
        ids = torch.randint(1, 12, (4, 2, 20) if pair else (4, 20))
        ids[0, ..., 11:] = 0
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits = model(ids)
        assert logits.shape == (4, 3)
        torch.nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1, 2, 0])).backward()
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize(("causal", "pool"), [(False, "class"), (False, "mean"), (True, "class")])
def test_padding_does_not_change_the_answer(causal, pool):
    torch.manual_seed(0)
    shape = replace(TINY, pool=pool)
    model = Classifier(Architecture("gla", causal), shape, vocabulary=12, classes=3, length=20).eval()
    ids = torch.randint(1, 12, (2, 9))
    padded = torch.nn.functional.pad(ids, (0, 11))
    torch.testing.assert_close(model(padded), model(ids), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(ids, full=True), model(ids), rtol=1e-4, atol=1e-5)


def test_a_pair_is_two_rows_of_the_same_encoder():
    torch.manual_seed(0)
    model = Classifier(Architecture("softmax"), TINY, vocabulary=12, classes=2, length=10, pair=True).eval()
    one, two = torch.randint(1, 12, (2, 3, 10))
    expected = model.head(torch.cat([model.encode(one), model.encode(two)], dim=-1))
    torch.testing.assert_close(model(torch.stack([one, two], dim=1)), expected)


def test_the_command_trains_on_a_stand_in_and_says_that_it_is_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TASKS, "image", replace(TASKS["image"], shape=TINY))
    ask = [
        "image",
        "--mixer",
        "linear",
        "--stand-in",
        "20",
        "--steps",
        "3",
        "--batch",
        "4",
        "--count",
        "40",
        "10",
        "10",
    ]
    assert main([*ask, "--out", str(tmp_path), "--seeds", "2"]) == 0
    assert "2 seeds, n=10, chance 0.1; a stand-in, not to be ranked" in capsys.readouterr().out
    assert main([*ask[:3], "--out", str(tmp_path)]) == 2
    assert "say where they are" in capsys.readouterr().err
