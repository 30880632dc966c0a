"""What machine and what software this is, for enrolment and for every manifest. Imports torch only where it is there."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path

from longboard_tasks.contract import HardwareReport

PACKAGES = (
    "longboard",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "lm_eval",
    "triton",
    "numpy",
    "mamba-ssm",
    "causal-conv1d",
    "flash-linear-attention",
)


@cache
def hardware_report(*, use_accelerator: bool = True) -> HardwareReport:
    """The accelerator if torch sees one and it is asked for, else the CPU. A serial leaves this machine as a digest alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu, operating_system = _cpu_name(), f"{platform.system()} {platform.release()}"
    try:
        import torch
    except ImportError:
        torch = None  # type: ignore[assignment]
    if use_accelerator and torch is not None and torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        return HardwareReport(
            device=device.name,
            kind="cuda",
            memory_bytes=device.total_memory,
            cores=cores,
            cpu=cpu,
            driver=_driver(),
            operating_system=operating_system,
            uuid_sha256=hashlib.sha256(str(device.uuid).encode()).hexdigest(),
        )
    return HardwareReport(
        device=cpu or "CPU",
        kind="cpu",
        memory_bytes=_memory_bytes(),
        cores=cores,
        cpu=cpu,
        operating_system=operating_system,
    )


def software_versions() -> dict[str, str]:
    """Installed versions of what a number can depend on, and the Python that runs it."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()[:200]
    except OSError:
        pass  # not Linux: the generic name below
    return platform.processor()[:200]


def _memory_bytes() -> int:
    """Physical memory, or the container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return total if limit == "max" else min(total, int(limit))


def _driver() -> str:
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # NVML raises its own classes, and a missing driver version must not stop a run
        return ""
