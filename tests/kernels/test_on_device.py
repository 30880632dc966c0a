"""The device suite (`make test-gpu`): every check of the benchmark, at up to 1M tokens of Gaussian data against fp64."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "kernels"
NAMES = ("K1", "K1q", "K2", "K3", "K4", "K5", "K6", "K7", "K8")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_every_check_of_the_benchmark_passes_on_this_device(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    bench = import_module("bench").Bench(name, tmp_path, budget_s=600)
    module, check, _ = import_module("run").KERNELS[name]
    getattr(import_module(module), check)(bench)
    assert bench.ok, [row for row in bench.body["checks"] if not row["passed"]]
