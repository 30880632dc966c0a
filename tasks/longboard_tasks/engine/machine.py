"""What the node is made of and which software runs: the manifest's facts, and the memory in use."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from pathlib import Path

import psutil
import torch

from longboard_tasks.contract import HardwareReport
from longboard_tasks.hardware import hardware_report, software_versions


def report_hardware(device: torch.device) -> HardwareReport:
    """The machine as `device` sees it: a run on the CPU of a GPU machine reports the CPU."""
    return hardware_report(use_accelerator=device.type == "cuda")


def report_software() -> dict[str, str]:
    """Installed versions, and what torch was built for and runs with."""
    found = software_versions() | {"threads": str(torch.get_num_threads())}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def free_bytes(device: torch.device, limit: int = 0) -> int:
    """Memory that may still be taken on `device`; `limit` (bytes of the whole process, 0: none) can only lower it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        room = free + cached
        return min(room, limit - torch.cuda.memory_allocated(device)) if limit else room
    room = psutil.virtual_memory().available
    return min(room, limit - psutil.Process().memory_info().rss) if limit else room


class PeakMemory:
    """Peak memory of a stretch of work, as bytes above what was held when it began.

    CUDA: the allocator's high-water mark. Linux: the kernel's VmHWM, reset first, so that no sampling misses a spike; freed
    pages are given back before, or work that reuses them would look free. Elsewhere: the process's life-time peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.base = torch.cuda.memory_allocated(self.device)
            return
        _trim_heap()
        with contextlib.suppress(OSError):  # the peak then is the life-time one: too high, never too low
            Path("/proc/self/clear_refs").write_text("5")
        self.base = psutil.Process().memory_info().rss

    def above_start(self) -> int:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return max(0, torch.cuda.max_memory_allocated(self.device) - self.base)
        return max(0, peak_rss() - self.base)


def peak_rss() -> int:
    """The process's peak resident memory, bytes."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return int(found.group(1)) * 1024
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def peak_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_rss()


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read on the host means something."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _trim_heap() -> None:
    with contextlib.suppress(OSError, AttributeError):  # another libc: freed pages stay counted in the base
        ctypes.CDLL("libc.so.6").malloc_trim(0)
