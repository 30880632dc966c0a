"""What the platform knows of architectures without torch: held to the mixers, to the rule, and to one form."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.contract import ModelRef
from longboard_tasks.costmodel import SHEETS
from longboard_tasks.suites.lra import plan
from longboard_tasks.suites.lra.architectures import (
    FAMILIES,
    PATH,
    ArchitectureError,
    batch_of,
    canonical,
    check_architecture,
    check_pairing,
    key_of,
    known,
)
from longboard_tasks.suites.lra.cost import HELD, PACE, memory_bytes, price_training, training_flops
from longboard_tasks.suites.lra.examples import open_examples
from longboard_tasks.suites.lra.listops import make_expression
from longboard_tasks.suites.lra.mixers.registry import NAMES, directions
from longboard_tasks.suites.lra.model import Classifier
from longboard_tasks.suites.lra.runs import architecture_of
from longboard_tasks.suites.lra.sizes import places, sizes_of
from longboard_tasks.suites.lra.tasks import RECIPES, SPEED, TASKS, find_task

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "benchmarks" / "lra" / "results"


def test_the_table_has_every_mixer_with_its_directions_and_every_task_of_the_catalogue():
    assert tuple(known()) == NAMES
    assert set(FAMILIES) == set(HELD) == set(PACE) == set(NAMES)
    assert all(entry.directions == directions(name) for name, entry in known().items())
    assert {task.name for task in SUITES["lra"].tasks} == {*RECIPES, SPEED}
    for entry in json.loads(PATH.read_text()).values():
        assert all(set(sizes) == set(places()) for sizes in entry["variants"].values())
    for task in SUITES["lra"].tasks:
        if task.name in RECIPES:
            assert task.lengths == (find_task(RECIPES[task.name].task).length,)
            assert task.chance == find_task(RECIPES[task.name].task).chance


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_sizes_are_those_of_the_layers_themselves(name, monkeypatch):
    """At the toy's shape and at one length of the clock: all of it takes minutes, and comes from one function."""
    few = {place: where for place, where in places().items() if place in ("listops_smoke", "speed@1024")}
    monkeypatch.setattr("longboard_tasks.suites.lra.sizes.places", lambda: few)
    stored = json.loads(PATH.read_text())[name]["variants"][""]
    assert {place: list(size) for place, size in sizes_of(name, {}).items()} == {p: stored[p] for p in few}


@pytest.mark.parametrize("name, configuration", [("s4d", {"causal": True, "states": 32}), ("linformer", {"rank": 32})])
def test_a_configuration_builds_a_model_of_the_tables_size(name, configuration):
    variant = check_architecture(name, configuration)
    task = TASKS["listops"]
    architecture = architecture_of(ModelRef(source="architecture", id=name, configuration=variant.configuration))
    with torch.device("meta"):
        model = Classifier(
            architecture, task.shape, vocabulary=task.vocabulary, classes=task.classes, length=task.length
        )
    assert sum(p.numel() for p in model.parameters()) == variant.size("listops", 2_000).parameters


def test_a_configuration_has_one_form():
    assert canonical("local", {"window": 64, "causal": False}) == {}  # both say what is so anyway
    assert canonical("mamba", {"states": 16}) == {
        "states": 16
    }  # nobody's choice shrinks with a narrow model; this does not
    assert key_of(canonical("mamba", {"states": 32, "causal": True})) == "causal=1,states=32"
    assert check_architecture("block_state", {"block": 32, "causal": True}).label == "Block-state, causal, block 32"
    for name in NAMES:
        for key, _ in json.loads(PATH.read_text())[name]["variants"].items():
            given = {
                n: (bool(int(v)) if n == "causal" else int(v))
                for n, _, v in (p.partition("=") for p in key.split(",") if p)
            }
            assert key_of(canonical(name, given)) == key


def test_every_mixer_but_linformer_may_be_trained_on_all_six():
    for name in NAMES:
        variant = check_architecture(name, {})
        off = []
        for task in SUITES["lra"].tasks:
            if task.role == "scored":
                try:
                    check_pairing(variant, task.name, task.lengths[0])
                except ArchitectureError as error:
                    off.append((task.name, error.field))
        assert off == (
            []
            if name != "linformer"
            else [(t, "configuration") for t in ("text", "retrieval", "image", "pathfinder", "pathx")]
        )


def test_more_tokens_than_the_architecture_has_places_for_are_refused():
    with pytest.raises(
        ArchitectureError, match="gets places for no more: context length 4096 is beyond them"
    ) as refused:
        check_pairing(check_architecture("softmax", {}), "listops", 4_096)
    assert refused.value.field == "context_lengths"


def test_a_price_counts_every_step_every_evaluation_and_every_seed():
    variant = check_architecture("softmax", {})
    flops = variant.size("listops", 2_000).flops
    # Steps; twenty looks at the validation split, and one at both splits at the end.
    examples = 3 * 5_000 * 32 + 20 * 2_000 + 2_000 + 2_000
    assert training_flops(variant, "listops", 2_000, 2) == pytest.approx(2 * flops * examples)
    one, three = (
        price_training(variant, "listops", SHEETS["h100-80gb"], context_length=2_000, trainings=n) for n in (1, 3)
    )
    assert three.seconds == pytest.approx(3 * one.seconds)
    assert one.seconds_low < one.seconds < one.seconds_high
    assert one.fits
    assert memory_bytes(variant, "listops", 2_000, "bfloat16") < memory_bytes(variant, "listops", 2_000, "float32")
    small = replace(SHEETS["cpu"], memory_bytes=8 * 10**9)
    refused = price_training(variant, "text", small, context_length=4_000, trainings=1, dtype="float32")
    assert not refused.fits
    assert "text: a step needs about 11.0 GiB; cpu has 7.45 GiB." in refused.says
    clock = price_training(variant, SPEED, SHEETS["h100-80gb"], context_length=4_096, trainings=3)
    assert batch_of(SPEED, 4_096) == 32
    assert batch_of(SPEED, 16_384) == 8
    assert "the clock" in clock.says


@pytest.mark.parametrize("path", sorted(MEASURED.glob("listops/*/outcome.json")), ids=lambda path: path.parent.name)
def test_the_price_of_a_short_listops_holds_what_an_h100_took(path):
    outcome = json.loads(path.read_text())
    variant = check_architecture(outcome["plan"]["architecture"]["mixer"], {})
    priced = price_training(variant, "listops_short", SHEETS["h100-80gb"], context_length=2_000, trainings=1)
    assert priced.seconds_low < outcome["train_s"] < priced.seconds_high
    assert priced.memory_bytes == pytest.approx(outcome["peak_memory_bytes"], rel=0.25)


def test_targets_that_the_platform_works_out_are_those_of_the_data():
    test = open_examples("listops", "test", count=20)
    assert [plan.target("listops_short", index) for index in range(20)] == [str(label) for label in test.labels]
    assert plan.target("listops", 7) == str(make_expression(split="test", seed=0, index=7).value)
    assert plan.target("pathfinder", 0) is None
    assert (plan.size_of_test("image"), plan.size_of_test("image_stand_in")) == (10_000, None)
    assert plan.classes("image") == tuple("0123456789")


def test_the_platforms_half_needs_no_torch():
    code = (
        "import sys; from longboard_tasks.suites.lra import architectures, cost, plan; architectures.known();"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    path = {"PYTHONPATH": str(ROOT / "tasks"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, env=path, timeout=60)
