"""The node's part of a bundle's manifest: from what sources, under which conditions, with which root over its samples."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal

from longboard_tasks.contract import Provenance, ResultBundle, samples_root

# What can change a number, and carries no secret.
ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "NVIDIA_TF32_OVERRIDE",
)


def with_provenance(
    bundle: ResultBundle, *, network: Literal["cut", "refused", "open"], node: str = "", ticket_id: str = ""
) -> ResultBundle:
    """The bundle with `manifest.provenance` filled in; nothing else changes."""
    on_cuda = bundle.manifest.hardware.kind == "cuda"
    provenance = Provenance(
        node=node,
        ticket_id=ticket_id,
        worker_version=importlib.metadata.version("longboard"),
        git_commit=_git_commit(),
        suite_sha256=suite_digest(bundle.run.suite),
        container=os.environ.get("CONTAINER_IMAGE", "")[:300],
        network=network,
        samples_root=samples_root(bundle.samples),
        environment={name: os.environ[name][:300] for name in ENVIRONMENT if name in os.environ},
        device=_device_state() if on_cuda else {},
    )
    return bundle.model_copy(update={"manifest": bundle.manifest.model_copy(update={"provenance": provenance})})


def suite_digest(suite: str) -> str | None:
    """SHA-256 over the names and bytes of a suite's files: generator, prompts and scorer."""
    import longboard_tasks.suites

    folder = Path(next(iter(longboard_tasks.suites.__path__))) / suite
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".json", ".txt", ".yaml"):
            digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@cache
def _git_commit() -> str:
    """The commit of a checkout; empty for an installed package."""
    try:
        done = subprocess.run(  # noqa: S603 (fixed words)
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],  # noqa: S607 (the operator's git)
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()[:40] if done.returncode == 0 else ""


def _device_state() -> dict[str, float | int | str | bool]:
    """The accelerator right after the run: clocks, power, temperature and why it was held back, as its driver tells."""
    found: dict[str, float | int | str | bool] = {}
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # NVML raises its own classes; without it there is nothing to tell
        return found
    readings = {
        "clock_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        "power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1_000,
        "temperature_c": lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        "throttle_reasons": lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        "energy_j": lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1_000,
        "persistence": lambda: bool(pynvml.nvmlDeviceGetPersistenceMode(handle)),
        "processes": lambda: len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)),
    }
    for name, read in readings.items():
        try:
            found[name] = read()
        except Exception:  # noqa: S112 (not every device has every reading)
            continue
    return found
