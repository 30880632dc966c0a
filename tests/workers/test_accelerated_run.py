"""One model with the stock code and, through the real worker, with our kernels: equal answers, equal scores."""

from __future__ import annotations

import json
import subprocess
from uuid import uuid4

from longboard_tasks.contract import ModelRef, ResultBundle, RunSpec, Runtime, SignedBundle, SystemSpec


def test_an_accelerated_run_through_the_worker_has_the_stock_scores_and_is_told_apart(
    tmp_path, models_dir, make_node_process
):
    from longboard_tasks.evaluate import evaluate

    specs = {
        kernels: RunSpec(
            run_id=str(uuid4()),
            system=SystemSpec(model=ModelRef(source="upload", id="tiny"), runtime=Runtime(kernels=kernels)),
            suite="niah", suite_version=1, tasks=("single",), context_length=256, samples=3, seed=7,
        )
        for kernels in ("stock", "longboard")
    }  # fmt: skip
    stock = evaluate(specs["stock"], work_dir=tmp_path / "stock", models_dir=models_dir)
    node, out = make_node_process(site="http://127.0.0.1:9"), tmp_path / "bundle.json"
    (tmp_path / "spec.json").write_text(specs["longboard"].model_dump_json())
    words = ("run", str(tmp_path / "spec.json"), "--out", str(out), "--models", str(models_dir))
    subprocess.run(node.command(*words), env=node.environment(), check=True, timeout=180)
    ours = ResultBundle.model_validate(json.loads(SignedBundle.model_validate_json(out.read_text()).payload))
    assert [sample.answer for sample in ours.samples] == [sample.answer for sample in stock.samples]
    assert ours.measurements == stock.measurements
    assert ours.run.system.digest != stock.run.system.digest
    assert ours.manifest.settings["kernels"] == "longboard"
    assert "LlamaAttention 2" in str(ours.manifest.settings["kernels_in"])
    assert "kernels" not in stock.manifest.settings
