"""Bundles of the zoo: planned once for every site, signed, about the weights that ship."""

import hashlib

from tests.signing import make_bundle

from longboard_tasks.baselines import machines, public_key, read_baselines
from longboard_tasks.baselines.pack import load_key, pack
from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.contract import ModelRef, RunSpec, SystemSpec, canonical_json
from longboard_tasks.zoo.card import say
from longboard_tasks.zoo.evaluate import ASKS, SPEED, plan
from longboard_tasks.zoo.registry import weights_dir

EVERYTHING = {"suites": ["niah", "recall", "babilong", "efficiency"], "lengths": (512, 2_048), "most": 1_000}


def specs(**changes):
    return list(plan("llama-3m", **{"dtype": "float32", "device": "CPU"} | EVERYTHING | changes))


def test_a_run_of_the_plan_has_the_same_name_everywhere_and_another_on_another_device():
    names = [spec.run_id for spec in specs()]
    assert names == [spec.run_id for spec in specs()]
    assert len(set(names)) == len(names)
    assert not set(names) & {spec.run_id for spec in specs(device="NVIDIA H100 80GB HBM3")}


def test_the_plan_asks_for_every_suite_and_for_no_task_at_a_length_that_cannot_hold_it():
    assert {ask.suite for ask in (*ASKS, SPEED)} == set(SUITES) - {"kv", "lra"}  # for every Method; architectures
    for spec in specs():
        for task in spec.tasks:
            assert SUITES[spec.suite].task(task).least_context_length <= spec.context_length


def test_what_is_packed_is_signed_by_a_key_that_stays_outside(tmp_path):
    run = RunSpec(
        run_id="r", system=SystemSpec(model=ModelRef(source="zoo", id="llama-3m")), suite="niah", suite_version=1,
        tasks=("single",), context_length=512, samples=5, seed=1,
    )  # fmt: skip
    (tmp_path / "bundles/llama-3m").mkdir(parents=True)
    bundle = make_bundle(run, attempt_id="a", fence=1)
    (tmp_path / "bundles/llama-3m/000512-niah-single.json").write_bytes(canonical_json(bundle))
    key = load_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert pack(tmp_path / "bundles", tmp_path / "bench", key) == 1
    [baseline] = read_baselines(tmp_path / "bench")
    assert baseline.bundle == bundle
    key.public_key().verify(bytes.fromhex(baseline.signed.signature), baseline.signed.payload.encode())
    assert public_key(tmp_path / "bench") == baseline.signed.public_key
    assert (tmp_path / "key").read_text() not in "".join(
        path.read_text("latin-1") for path in (tmp_path / "bench").iterdir()
    )


def test_a_cell_of_the_table_has_its_interval_and_n():
    run = specs()[0].model_copy(update={"samples": 5})
    accuracy = make_bundle(run, attempt_id="a", fence=1).measurements[0]
    assert say(accuracy) == "1.000 [0.566, 1.000], n=5"


def test_the_zoos_shipped_bundles_are_about_the_weights_that_ship_and_cover_the_suites():
    shipped = [
        b.bundle for machine in machines() for b in read_baselines(machine) if b.bundle.run.system.model.source == "zoo"
    ]
    for bundle in shipped:
        weights = weights_dir(bundle.run.system.model.id) / "model.safetensors"
        assert bundle.manifest.weights_sha256 == {weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert {bundle.run.suite for bundle in shipped} >= set(SUITES) - {"kv", "lra"}


def test_runs_with_our_kernels_are_other_runs_of_another_system():
    stock, ours = specs(), specs(kernels="longboard")
    assert {spec.system.runtime.kernels for spec in ours} == {"longboard"}
    assert not {spec.run_id for spec in stock} & {spec.run_id for spec in ours}
    assert [(s.suite, s.tasks, s.context_length) for s in stock] == [(s.suite, s.tasks, s.context_length) for s in ours]
