"""A Run of lra@1 without any platform: what is refused, where data come from, and what a second attempt does not do again."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from longboard_tasks.contract import MethodRef, ModelRef, RunSpec, Runtime, SystemSpec
from longboard_tasks.engine.errors import OutOfMemory, SuiteError
from longboard_tasks.evaluate import check_request, evaluate, evaluate_many
from longboard_tasks.suites.lra import runs
from longboard_tasks.suites.lra.efficiency import PASSES, Cell
from longboard_tasks.suites.lra.runs import DataMissing, TrainingDiverged, open_data
from longboard_tasks.suites.lra.stand_ins import MAKERS
from longboard_tasks.suites.lra.tasks import RECIPES

ROOT = Path(__file__).parents[2]


def spec(task="listops_smoke", *, name="linear", length=2_000, configuration=None, **fields) -> RunSpec:
    system = fields.pop("system", None) or SystemSpec(
        model=ModelRef(source="architecture", id=name, configuration=configuration or {})
    )
    fields = {"run_id": "r", "suite": "lra", "suite_version": 1, "tasks": (task,), "samples": 1, "seed": 0} | fields
    return RunSpec(system=system, context_length=length, **fields)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"tasks": ("listops", "text")}, "trains on one task, not on 2"),
        ({"samples": 11}, "at most 10 trainings"),
        ({"name": "hyena"}, "There is no mixer"),
        ({"task": "listops", "length": 4_096}, "gets places for no more"),
        ({"system": SystemSpec(model=ModelRef(source="zoo", id="llama-3m"))}, "llama-3m has weights"),
        (
            {"system": SystemSpec(model=ModelRef(source="architecture", id="s4d"), runtime=Runtime(dtype="float16"))},
            "float32 or bfloat16",
        ),
        (
            {"system": SystemSpec(model=ModelRef(source="architecture", id="s4d"), method=MethodRef(name="int8", budget=0.5))},
            "takes no method",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_before_anything_is_made(fields, says, tmp_path):
    with pytest.raises(SuiteError, match=says):
        evaluate(spec(**fields), work_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_architecture_runs_no_other_suite():
    asked = spec(suite="niah", tasks=("single",), length=512)
    with pytest.raises(SuiteError, match="without weights: it runs lra, not niah@1"):
        check_request(asked)


def test_a_second_attempt_keeps_what_was_finished_and_gives_the_same_bundle(tmp_path, monkeypatch):
    asked = spec(samples=2)
    first = evaluate(asked, work_dir=tmp_path)

    def never(*args, **how):
        raise AssertionError("it trains again")

    monkeypatch.setattr(runs, "train", never)
    again = evaluate(asked, work_dir=tmp_path)
    assert (again.measurements, again.samples, again.curves) == (first.measurements, first.samples, first.curves)


def test_equal_runs_give_equal_curves_and_another_seed_another(tmp_path):
    one, two, other = evaluate_many([spec(), spec(run_id="s"), spec(seed=1)], work_dir=tmp_path)
    assert one.curves == two.curves
    assert one.curves[0].points != other.curves[0].points
    assert other.curves[0].seed == 1


def test_a_stand_in_is_made_where_it_is_asked_for_and_never_passes_for_the_real_files(tmp_path, monkeypatch):
    made = open_data("image_stand_in", RECIPES["image_stand_in"], models_dir=None, work_dir=tmp_path / "work")
    assert made.train.stand_in
    assert len(made.test) == 400
    with pytest.raises(DataMissing, match=r"lra/cifar-10-binary\.tar\.gz below the node's models folder"):
        open_data("image", RECIPES["image"], models_dir=tmp_path / "models", work_dir=tmp_path / "work")
    place = tmp_path / "models" / "lra" / "cifar-10-batches-bin"
    place.parent.mkdir(parents=True)
    MAKERS["image"](place, 20)
    with pytest.raises(DataMissing, match="is a generated stand-in"):
        open_data("image", RECIPES["image"], models_dir=tmp_path / "models", work_dir=tmp_path / "work")
    (place / "STAND-IN.txt").unlink()
    with pytest.raises(DataMissing, match="has 90 train examples; lra/image has 45000"):
        open_data("image", RECIPES["image"], models_dir=tmp_path / "models", work_dir=tmp_path / "work")


def test_a_loss_that_is_not_finite_is_the_architectures_own_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda logits, labels: logits.sum() * float("nan"))
    with pytest.raises(TrainingDiverged, match="the loss is nan at step") as failed:
        evaluate(spec(), work_dir=tmp_path)
    assert failed.value.failure_class == "model_error"


def test_a_pass_that_does_not_fit_ends_the_clock_as_out_of_memory(tmp_path, monkeypatch):
    def full(architecture, **how):
        return [Cell("linear", 1_024, 1, what, failure="out of memory") for what in PASSES]

    monkeypatch.setattr(runs, "measure_cells", full)
    with pytest.raises(OutOfMemory, match="the forward of 1 rows of 1024 tokens failed"):
        evaluate(spec("speed", length=1_024), work_dir=tmp_path)


def test_progress_tells_step_and_accuracy_and_counts_every_training(tmp_path):
    seen = []
    evaluate(spec(samples=2), work_dir=tmp_path, on_progress=seen.append)
    assert [(p.done, p.total) for p in (seen[0], seen[-1])] == [(0, 8), (8, 8)]
    assert "training 2 of 2: accuracy" in seen[-1].note
    assert seen[-1].tokens > 0
    told = json.loads(next(tmp_path.glob("trainings/*/outcome.json")).read_text())
    assert told["examples"] == {"train": 64, "validation": 16, "test": 16}


def test_processes_that_make_examples_end_with_the_one_that_asked(tmp_path):
    """Killed in the middle: nobody is left waiting for work."""
    code = (
        "from longboard_tasks.suites.lra.examples import open_examples\n"
        "open_examples('pathx128', 'train', count=5_000, processes=2)\n"
    )
    path = os.pathsep.join(str(ROOT / root) for root in ("tasks", "kernels"))
    asker = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    end = time.monotonic() + 60
    while len(made := psutil.Process(asker.pid).children()) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(made) == 2
    time.sleep(0.5)  # past the call that ties them to it
    asker.kill()
    asker.wait()
    _, alive = psutil.wait_procs(made, timeout=10)
    assert not alive
