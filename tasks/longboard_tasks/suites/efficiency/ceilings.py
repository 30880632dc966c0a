"""What this machine reaches on the simplest work of each kind: the denominators of measured / bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from longboard_tasks.engine.machine import synchronize
from longboard_tasks.suites.efficiency.report import Ceilings

REPEATS = 7


def measure_ceilings(device: torch.device, *, idle_w: float | None = None) -> Ceilings:
    """A large copy (bytes read and written), a large matrix product on random data, one small kernel, one host copy."""
    on_cuda = device.type == "cuda"
    dtype = torch.bfloat16 if on_cuda else torch.float32
    moved, copy_s = _time_copy(2**30 if on_cuda else 2**26, dtype, device)
    size = 8_192 if on_cuda else 1_024
    matmul_s = _time_matmul(size, dtype, device)
    small = torch.zeros(64, device=device)
    launches = 2_000

    def launch() -> None:
        for _ in range(launches):
            small.add_(1.0)

    launch_s = _median_s(launch, device) / launches
    link = None
    if on_cuda:
        host = torch.empty(2**28, dtype=torch.uint8, pin_memory=True)
        there = torch.empty(2**28, dtype=torch.uint8, device=device)
        link = 2**28 / _median_s(lambda: there.copy_(host, non_blocking=True), device)
    return Ceilings(
        copy_bytes_per_s=moved / copy_s,
        matmul_flops=2 * size**3 / matmul_s,
        launch_s=launch_s,
        link_bytes_per_s=link,
        idle_w=idle_w,
    )


def _time_copy(count: int, dtype: torch.dtype, device: torch.device) -> tuple[int, float]:
    """(bytes read and written, seconds)"""
    a = torch.empty(count, dtype=dtype, device=device)
    b = torch.empty_like(a)
    return 2 * a.numel() * a.element_size(), _median_s(lambda: b.copy_(a), device)


def _time_matmul(size: int, dtype: torch.dtype, device: torch.device) -> float:
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return _median_s(lambda: a @ b, device)


def _median_s(work: Callable[[], object], device: torch.device) -> float:
    work()
    seconds = []
    for _ in range(REPEATS):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return median(seconds)
