"""What a machine shows before a site lets it in: a shipped model through the whole engine, and how fast its device is.

Kept by (weights, software versions, device): enrolling again on the same machine with the same software takes no time.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from longboard_tasks.contract import RunSpec, SelfTestReport, canonical_json, sha256
from longboard_tasks.hardware import hardware_report, software_versions

MODEL = "llama-3m"
LENGTH, SAMPLES = 512, 10
LEAST_ACCURACY = 0.8  # the model finds 10 of 10 here; a broken cache or kernel finds next to none


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "longboard"


def self_test(*, cache: Path | None = None) -> SelfTestReport:
    """The report for this machine, from the cache if nothing that could change it has changed. Never raises."""
    folder = cache or cache_folder()
    key = _key()
    path = folder / f"self-test-{key[:32]}.json"
    try:
        return SelfTestReport.model_validate_json(path.read_text())
    except (OSError, ValueError):
        pass
    report = _run(key)
    if report.passed:  # a failure is looked at again
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.part")
            partial.write_text(report.model_dump_json())
            partial.replace(path)
        except OSError:
            pass  # no cache is no reason to fail
    return report


def _key() -> str:
    weights = _weights()
    hardware = hardware_report()
    facts = {
        "weights": sha256(weights.read_bytes()) if weights.exists() else "",
        "software": software_versions(),
        "device": [hardware.device, hardware.driver, hardware.uuid_sha256, hardware.cores],
        "test": [MODEL, LENGTH, SAMPLES],
    }
    return sha256(canonical_json(facts))


def _weights() -> Path:
    from longboard_tasks.zoo.registry import WEIGHTS

    return WEIGHTS / MODEL / "model.safetensors"


def _run(key: str) -> SelfTestReport:
    began = time.perf_counter()
    try:
        from longboard_tasks.evaluate import evaluate

        spec = RunSpec.model_validate(
            {
                "run_id": "self-test",
                "system": {"model": {"source": "zoo", "id": MODEL}},
                "suite": "niah",
                "suite_version": 1,
                "tasks": ["single"],
                "context_length": LENGTH,
                "samples": SAMPLES,
                "seed": 0,
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            bundle = evaluate(spec, work_dir=Path(folder))
        accuracy = next(m.value for m in bundle.measurements if m.metric == "accuracy")
        flops, copied = _speeds()
    except Exception as error:  # whatever is wrong with this machine is what the report is for
        told = f"{type(error).__name__}: {error}"[:290]
        return SelfTestReport(passed=False, reason=told, model=MODEL, cache_key=key)
    passed = accuracy >= LEAST_ACCURACY
    return SelfTestReport(
        passed=passed,
        reason=f"{MODEL} scored {accuracy:.2f} on niah@1/single at {LENGTH}; at least {LEAST_ACCURACY} is needed.",
        model=MODEL,
        weights_sha256=next(iter(bundle.manifest.weights_sha256.values()), None),
        accuracy=accuracy,
        prefix_mode=bundle.manifest.prefix_mode,
        wall_s=time.perf_counter() - began,
        matmul_flops=flops,
        copy_bytes_per_s=copied,
        cache_key=key,
    )


def _speeds() -> tuple[float, float]:
    """FLOP/s of a square product and bytes/s (read plus written) of a copy: the best of five, after one to warm up."""
    import torch

    on_cuda = torch.cuda.is_available()
    device = torch.device("cuda" if on_cuda else "cpu")
    side, copied = (8_192, 2**30) if on_cuda else (1_024, 2**26)
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if on_cuda else torch.float32)
    source = torch.empty(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def best_s(work: object) -> float:
        times = []
        for _ in range(6):
            if on_cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            work()  # type: ignore[operator]
            if on_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return min(times[1:])

    return 2 * side**3 / best_s(lambda: a @ a), 2 * copied / best_s(lambda: target.copy_(source))


if __name__ == "__main__":
    print(json.dumps(self_test().model_dump(mode="json"), indent=1))
