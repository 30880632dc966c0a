"""From a RunSpec to a bundle, by every way that ends."""

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_loading import models  # noqa: F401  (a fixture)

from longboard_tasks import evaluate as evaluation
from longboard_tasks.contract import (
    Limits,
    MethodRef,
    ModelRef,
    ResultBundle,
    RunSpec,
    SystemSpec,
    canonical_json,
)
from longboard_tasks.engine.errors import JournalMismatch, MethodError, PositionLimitError, SuiteError
from longboard_tasks.engine.journal import read_prompts
from longboard_tasks.evaluate import evaluate, evaluate_many, open_system, rescore, summarise

ROOT = Path(__file__).parents[2]


def spec(model="llama", *, source="upload", suite="niah", length=400, samples=25, **more) -> RunSpec:
    more = {"run_id": "r", "suite_version": 1, "seed": 3, **more}
    return RunSpec(
        system=more.pop("system", None) or SystemSpec(model=ModelRef(source=source, id=model)),
        suite=suite,
        tasks=more.pop("tasks", ("single",) if suite == "niah" else ("generate",)),
        context_length=length,
        samples=samples,
        **more,
    )


def same(a: ResultBundle, b: ResultBundle) -> bool:
    return (a.measurements, a.samples) == (b.measurements, b.samples)


def test_a_bundle_is_complete_and_survives_the_wire(models, tmp_path):  # noqa: F811
    seen = []
    bundle = evaluate(spec(), work_dir=tmp_path, models_dir=models, on_progress=seen.append, attempt_id="a", fence=4)
    assert ResultBundle.model_validate_json(canonical_json(bundle)) == bundle
    assert (bundle.attempt_id, bundle.fence) == ("a", 4)
    assert [s.index for s in bundle.samples] == list(range(25))
    assert {s.prompt_tokens for s in bundle.samples} == {400}
    accuracy, *by_depth = bundle.measurements
    assert (accuracy.metric, accuracy.n, accuracy.unit, accuracy.depth) == ("accuracy", 25, "share", None)
    assert [(m.metric, m.depth, m.n) for m in by_depth] == [
        ("accuracy_by_depth", d, 5) for d in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert accuracy.ci_high > accuracy.value  # never certain
    manifest = bundle.manifest
    assert (manifest.prefix_mode, manifest.architecture) == ("shared", "LlamaForCausalLM")
    assert manifest.weights_sha256.keys() == {"model.safetensors"}
    assert manifest.settings["prompt_tokens_shared"] < manifest.settings["prompt_tokens_alone"] == 25 * 400
    assert manifest.settings["held_bytes_decoded"] > 0
    assert [p.done for p in seen[1:]] == list(range(26))
    assert seen[-1].eta_s == 0


@pytest.mark.parametrize("model", ["llama", "mamba2"])
def test_shared_and_unshared_runs_have_identical_records(models, tmp_path, model):  # noqa: F811
    bundles = []
    for share in (True, False):
        system = open_system(spec(model).system, models_dir=models, share=share)
        bundles.append(evaluate(spec(model), work_dir=tmp_path / str(share), system=system))
    assert same(*bundles)
    assert bundles[0].manifest.settings["tokens"] < bundles[1].manifest.settings["tokens"]
    assert (tmp_path / "True/journal.jsonl").read_bytes() == (tmp_path / "False/journal.jsonl").read_bytes()


def test_a_run_that_stops_between_blocks_resumes_and_ends_the_same(models, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(evaluation, "BLOCK", 5)
    whole = evaluate(spec(), work_dir=tmp_path / "whole", models_dir=models)

    class Killed(Exception):
        pass

    def kill_at(done):
        def report(progress):
            if progress.done == done:
                raise Killed

        return report

    for done in (3, 9, 18):
        with pytest.raises(Killed):
            evaluate(spec(), work_dir=tmp_path / "cut", models_dir=models, on_progress=kill_at(done))
    seen = []
    resumed = evaluate(spec(), work_dir=tmp_path / "cut", models_dir=models, on_progress=seen.append)
    assert seen[1].done == 15
    assert seen[1].note == "resumed"
    assert same(whole, resumed)
    assert (tmp_path / "cut/journal.jsonl").read_bytes() == (tmp_path / "whole/journal.jsonl").read_bytes()


def test_a_resumed_run_keeps_the_schedule_it_began_with(models, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(evaluation, "BLOCK", 5)
    system = open_system(spec().system, models_dir=models)
    monkeypatch.setattr(system.engine, "wish", replace(system.engine.wish, chunk=64, rows=2))

    def stop(progress):
        if progress.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(spec(), work_dir=tmp_path, system=system, on_progress=stop)
    bundle = evaluate(spec(), work_dir=tmp_path, models_dir=models)  # a fresh process would choose other numbers
    assert (bundle.manifest.chunk_size, bundle.manifest.settings["rows"]) == (64, 2)


def test_scores_follow_from_stored_samples_without_a_model(models, tmp_path):  # noqa: F811
    bundle = evaluate(spec(samples=10), work_dir=tmp_path, models_dir=models)
    stored = [record for record, _ in read_prompts(tmp_path / "journal.jsonl")]
    assert tuple(summarise(stored, 400)) == bundle.measurements
    lucky = [record.model_copy(update={"answer": f"It is {record.target}.", "score": 0.0}) for record in stored]
    assert summarise(rescore("niah", lucky), 400)[0].value == 1.0
    code = "import sys, longboard_tasks.engine.journal, longboard_tasks.suites.niah.scoring; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "tasks")})


def test_another_request_in_the_same_folder_is_refused(models, tmp_path):  # noqa: F811
    evaluate(spec(samples=5), work_dir=tmp_path, models_dir=models)
    with pytest.raises(JournalMismatch):
        evaluate(spec(samples=6), work_dir=tmp_path, models_dir=models)


def test_lengths_of_one_system_load_it_once(models, tmp_path, monkeypatch):  # noqa: F811
    opened = []
    real = evaluation.open_system
    monkeypatch.setattr(evaluation, "open_system", lambda *a, **k: opened.append(1) or real(*a, **k))
    seen = []
    specs = [spec(length=length, samples=5) for length in (300, 400)]
    bundles = list(
        evaluate_many(
            specs,
            work_dir=tmp_path,
            models_dir=models,
            on_progress=lambda s, p: seen.append((s.context_length, p.done)),
        )
    )
    assert [b.run.context_length for b in bundles] == [300, 400]
    assert len(opened) == 1
    assert seen[-1] == (400, 5)


@pytest.mark.parametrize("model", ["tiny-llama", "tiny-mamba2"])
def test_efficiency_is_measured_with_random_weights(tmp_path, model):
    bundle = evaluate(spec(model, source="config", suite="efficiency", length=300, samples=3), work_dir=tmp_path)
    found = {m.metric: m for m in bundle.measurements}
    assert set(found) == {
        "ttft_ms", "tpot_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "peak_memory_bytes", "cache_bytes",
    }  # fmt: skip
    for m in found.values():
        assert m.n == 3
        assert m.ci_low <= m.value <= m.ci_high
    assert found["prefill_tokens_per_s"].value == pytest.approx(300 / found["ttft_ms"].value * 1_000, rel=0.01)
    assert found["peak_memory_bytes"].value >= bundle.manifest.parameters * 4
    expected = 300 * 512 if model == "tiny-llama" else 21_504
    assert found["cache_bytes"].value == expected
    assert bundle.manifest.settings["random_weights"]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"suite": "nothing"}, SuiteError, "There are: niah"),
        ({"tasks": ("other",)}, SuiteError, "It has: single"),
        ({"suite_version": 2}, SuiteError, "niah@2 was asked for; this node has niah@1"),
        ({"length": 100}, SuiteError, "at least 1"),
        ({"length": 150}, SuiteError, "Ask for at least 1"),
        ({"length": 40_000}, PositionLimitError, "at most 32768"),
        ({"source": "config", "model": "tiny-llama"}, SuiteError, "random weights"),
        (
            {"system": SystemSpec(model=ModelRef(source="upload", id="llama"), method=MethodRef(name="snap"))},
            MethodError,
            "snap",
        ),
    ],
)
def test_a_request_that_cannot_be_run_says_why_and_is_bad_input(models, tmp_path, change, error, says):  # noqa: F811
    with pytest.raises(error, match=says) as caught:
        evaluate(spec(**change), work_dir=tmp_path, models_dir=models)
    assert caught.value.failure_class == "bad_input"
    assert caught.value.code


def test_haystacks_end_where_the_prose_ends(models, tmp_path):  # noqa: F811
    with pytest.raises(SuiteError, match="Ask for at most"):
        evaluate(spec("mamba2", length=2_000_000, samples=1), work_dir=tmp_path, models_dir=models)


def test_a_small_memory_limit_changes_the_schedule_and_not_the_samples(models, tmp_path):  # noqa: F811
    free = evaluate(spec(samples=10), work_dir=tmp_path / "free", models_dir=models)
    tight = evaluate(spec(samples=10, limits=Limits(memory_bytes=1)), work_dir=tmp_path / "tight", models_dir=models)
    assert tight.manifest.settings["rows"] == 1
    assert [s.prompt_sha256 for s in tight.samples] == [s.prompt_sha256 for s in free.samples]


def work_and_tell(request, work, models_dir, done):
    evaluation.BLOCK = 4
    bundle = evaluate(request, work_dir=work, models_dir=models_dir, on_progress=lambda p: done.send(p.done))
    (work / "bundle.json").write_text(bundle.model_dump_json(include={"measurements", "samples"}))


# Forked, so that four processes do not each import torch and transformers for five seconds.
PROCESSES = multiprocessing.get_context("fork")


def test_a_process_killed_at_random_moments_loses_at_most_one_block_a_kill(models, tmp_path):  # noqa: F811
    """Three kills here; benchmarks/engine/kills.py does fifty."""
    from random import Random

    request = spec(length=300, samples=24)
    rng, work = Random(0), tmp_path / "work"

    def start():
        heard, done = PROCESSES.Pipe(duplex=False)
        child = PROCESSES.Process(target=work_and_tell, args=(request, work, models, done))
        child.start()
        done.close()
        return child, heard

    before = 0
    for _ in range(3):
        child, heard = start()
        wait_for = min(before + 4 + rng.randrange(4), 20)
        while heard.recv() < wait_for:
            pass
        time.sleep(rng.random() / 50)
        child.kill()
        child.join()
        kept = len(list(read_prompts(work / "journal.jsonl")))
        assert kept >= wait_for - 4
        before = kept
    child, _ = start()
    child.join()
    assert child.exitcode == 0
    whole = evaluate(request, work_dir=tmp_path / "whole", models_dir=models)
    assert (work / "bundle.json").read_text() == whole.model_dump_json(include={"measurements", "samples"})
