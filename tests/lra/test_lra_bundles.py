"""What the GPU's benchmark leaves behind becomes signed baselines: each a Run that a site accepts, or left out with a reason."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from django.utils import timezone

from longboard.boards.models import Cell
from longboard.registry.services import sync_catalogue
from longboard.results.baselines import Loaded, load_baselines
from longboard.results.models import Bundle
from longboard_tasks.baselines.pack import load_key, pack
from longboard_tasks.suites.lra.architectures import check_architecture
from longboard_tasks.suites.lra.bundles import NoRun, bundles_of, main

PATH = Path(__file__).parents[2] / "benchmarks" / "lra" / "run.py"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The output of the benchmark's own toy, on this CPU, with two seeds; and a table of times in the form of a real one."""
    folder = tmp_path_factory.mktemp("lra")
    spec = importlib.util.spec_from_file_location("lra_benchmark_for_bundles", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = sys.argv
    sys.argv = ["run.py", "--out", str(folder), "--tiny", "--mixers", "linear", "--train", "linear", "--seeds", "2"]
    try:
        assert module.main() == 0
    finally:
        sys.argv = before
    return folder


@pytest.fixture
def copy(out, tmp_path):
    """A copy to spoil, whose times stand at a length that lra/speed has."""
    import shutil

    shutil.copytree(out, tmp_path / "out")
    return tmp_path / "out"


def edit(path: Path, change) -> None:
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def at_1024(told) -> None:
    size = check_architecture("linear", {}).sizes["speed@1024"]
    told["rows"] = [
        row | {"tokens": 1_024, "parameters": size.parameters} for row in told["rows"] if row["tokens"] == 128
    ]


def reasons(folder: Path) -> dict[str, str]:
    return {about: str(made) for about, made in bundles_of(folder) if isinstance(made, NoRun)}


@pytest.mark.django_db
def test_output_is_packed_loaded_and_on_the_boards_once(copy, tmp_path):
    edit(copy / "efficiency.json", at_1024)
    assert main([str(copy), str(tmp_path / "bundles")]) == 0
    key = load_key(tmp_path / "key")
    assert pack(tmp_path / "bundles", tmp_path / "shipped" / "toy-cpu", key) == 2
    sync_catalogue()
    assert load_baselines(now=timezone.now(), folder=tmp_path / "shipped") == Loaded(new=2, known=0, skipped=0)
    assert set(Bundle.objects.values_list("state", flat=True)) == {"accepted"}
    assert load_baselines(now=timezone.now(), folder=tmp_path / "shipped") == Loaded(new=0, known=2, skipped=0)
    trained = Cell.objects.get(metric="accuracy")
    assert (trained.task, trained.n, trained.system.model.slug) == ("listops_smoke", 16, "lra-linear")
    outcomes = [json.loads(path.read_text()) for path in copy.glob("listops/*/outcome.json")]
    assert trained.value == pytest.approx(sum(outcome["accuracy"] for outcome in outcomes) / 2)
    clock = Cell.objects.get(task="speed", metric="forward_tokens_per_s")
    row = json.loads((copy / "efficiency.json").read_text())["rows"][0]
    assert clock.value == pytest.approx(1_000 * row["batch"] * 1_024 / row["ms"])


def test_times_at_a_length_that_the_suite_does_not_have_are_left_out(out):
    assert set(reasons(out)) == {"speed linear 64", "speed linear 128"}
    assert "no length of lra/speed" in reasons(out)["speed linear 64"]


@pytest.mark.parametrize(
    "file, change, says",
    [
        (
            "outcome",
            lambda told: told["plan"]["budget"].update(steps=700),
            "700 steps of 2 on .* the budget of no task",
        ),
        ("outcome", lambda told: told.update(within_budget=False), "off the rule"),
        ("outcome", lambda told: told.update(device="NVIDIA H100"), "trained on NVIDIA H100"),
        ("outcome", lambda told: told["data_sha256"].update(test="0" * 64), "not those that it was tested on"),
        ("check", lambda told: told["rows"][0].update(is_right=False), "wrong on this device"),
    ],
)
def test_what_is_no_run_is_left_out_with_its_reason(copy, file, change, says):
    paths = copy.glob("listops/*/outcome.json") if file == "outcome" else [copy / "check.json"]
    for path in paths:
        edit(path, change)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(reasons(copy)["listops linear"])


def test_a_training_that_time_cut_short_does_not_count_and_the_others_do(copy):
    edit(
        copy / "listops" / "listops-linear-bidirectional-seed1" / "outcome.json",
        lambda told: told.update(stopped="time"),
    )
    made = dict(bundles_of(copy))["listops linear"]
    assert made.run.samples == 1
    edit(
        copy / "listops" / "listops-linear-bidirectional-seed0" / "outcome.json",
        lambda told: told.update(stopped="time"),
    )
    assert "ended by time" in reasons(copy)["listops linear"]


@pytest.mark.parametrize("file", ["predictions.npy", "curve.jsonl"])
def test_a_training_without_a_file_that_its_bundle_needs_is_named_and_the_rest_is_made(copy, tmp_path, capsys, file):
    edit(copy / "efficiency.json", at_1024)
    (copy / "listops" / "listops-linear-bidirectional-seed1" / file).unlink()
    assert main([str(copy), str(tmp_path / "bundles")]) == 0
    said = capsys.readouterr().out
    assert f"left out: listops linear: no predictions: listops-linear-bidirectional-seed1 has no {file}; bring" in said
    assert "1 bundles in" in said


def test_weights_that_stayed_on_the_machine_only_leave_their_digest_out(copy):
    (copy / "listops" / "listops-linear-bidirectional-seed1" / "model.safetensors").unlink()
    assert list(dict(bundles_of(copy))["listops linear"].manifest.weights_sha256) == ["seed 0"]


@pytest.mark.django_db
def test_a_training_that_shared_the_machine_has_no_rates_and_is_loaded(copy, tmp_path):
    assert main([str(copy), str(tmp_path / "bundles"), "--without-rates", "linear"]) == 0
    assert pack(tmp_path / "bundles", tmp_path / "shipped" / "toy-cpu", load_key(tmp_path / "key")) == 1
    sync_catalogue()
    assert load_baselines(now=timezone.now(), folder=tmp_path / "shipped") == Loaded(new=1, known=0, skipped=0)
    assert set(Cell.objects.values_list("metric", flat=True)) >= {"accuracy", "train_peak_memory_bytes"}
    assert not Cell.objects.filter(metric__endswith="tokens_per_s").exists()
    assert Bundle.objects.get().manifest["settings"]["rates"] == "left out: the machine had other work"


def test_an_outcome_of_an_older_benchmark_is_left_out_with_what_it_lacks(copy):
    path = copy / "listops" / "listops-linear-bidirectional-seed0" / "outcome.json"
    edit(path, lambda told: (told["plan"].pop("shape"), told.pop("measured_at")))
    assert (
        "seed0 is of an older benchmark, whose outcome.json has no measured_at, shape"
        in reasons(copy)["listops linear"]
    )


def test_a_pass_that_did_not_fit_makes_no_bundle(copy):
    edit(copy / "efficiency.json", at_1024)
    edit(copy / "efficiency.json", lambda told: told["rows"][1].update(ms=None, failure="out of memory"))
    assert "training step: out of memory" in reasons(copy)["speed linear 1024"]
