"""What machine and what software this is, for enrolment and for every manifest. Imports torch only where it is there."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

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
            operating_system=operating_system,
            uuid_sha256=hashlib.sha256(str(device.uuid).encode()).hexdigest(),
            ram_bytes=_memory_bytes(),
            **read_nvml(str(device.uuid)),
        )
    return HardwareReport(
        device=cpu or "CPU",
        kind="cpu",
        memory_bytes=_memory_bytes(),
        cores=cores,
        cpu=cpu,
        operating_system=operating_system,
        ram_bytes=_memory_bytes(),
    )


def read_nvml(uuid: str) -> dict[str, Any]:
    """What the driver says of the GPU with torch's `uuid`: fields of a HardwareReport, without those that it does not tell.

    By its uuid, since NVML counts every GPU of the machine and torch those that it may see. A part of a GPU (MIG) answers
    little.
    """
    try:
        import pynvml as nvml

        nvml.nvmlInit()
    except Exception:  # NVML raises its own classes, and a missing driver library must not stop a run
        return {}
    handle: Any = None
    for kind in ("GPU", "MIG"):
        with contextlib.suppress(Exception):
            handle = handle or nvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}")
    readings: dict[str, Callable[[], Any]] = {
        "driver": lambda: str(nvml.nvmlSystemGetDriverVersion()),
        "clock_mhz": lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "memory_clock_mhz": lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1_000,
        "vbios": lambda: str(nvml.nvmlDeviceGetVbiosVersion(handle)),
        "ecc": lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),  # now, and after the next restart
        "pcie_width": lambda: int(nvml.nvmlDeviceGetMaxPcieLinkWidth(handle)),  # of card and slot together
    }
    found: dict[str, Any] = {}
    for name, read in readings.items():
        with contextlib.suppress(Exception):  # not every device has every reading
            found[name] = read()
    return found


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
