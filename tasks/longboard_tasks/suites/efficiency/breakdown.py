"""Where one pass spends its time: kernels by group from the profiler, and modules by device events.

Never mixed with timed runs: the profiler slows the host down.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from longboard_tasks.engine.machine import synchronize

# Our kernels whose names say too little, as the profiler calls them.
OURS = {
    **dict.fromkeys(("_outputs", "_chunk_states", "_chain", "_ends", "_steps", "_products", "_step"), "scan_and_conv"),
    **dict.fromkeys(("_prepare", "_pass"), "scan_and_conv"),  # the gated delta rule
    **dict.fromkeys(("_decode", "_join"), "attention"),
}
# First match wins. By the kernel's (or, on a CPU, the operator's) name.
GROUPS = (
    ("attention", r"flash|fmha|attention|sdpa|softmax"),
    ("matmul", r"gemm|cutlass|nvjet|gemv|wgmma|splitk|matmul|addmm|\bmm\b|bmm|linear|dot_kernel"),
    ("scan_and_conv", r"conv|scan|cumsum|cumprod|ssd|selective|delta_rule|tril|triu"),
    ("sampling", r"argmax|topk|sort|multinomial"),
    ("norm", r"norm|rms|mean|reduce"),
    ("copy", r"memcpy|memset|copy|\bcat|index|gather|scatter|pad|_to_"),
)
MODULES = (
    ("attention", r"Attention$"),
    ("state_space", r"Mixer$|MambaLayer$|GatedDeltaNet$|ShortConv$|RecurrentBlock$"),
    ("mlp", r"MLP$|MoE$|FeedForward$"),
    ("norm", r"Norm$|NormGated$"),
)
MOST_KERNELS = 400_000


def group_of(name: str) -> str:
    lower = name.lower()
    return OURS.get(name) or next((group for group, pattern in GROUPS if re.search(pattern, lower)), "elementwise")


def group_times(kernels: Iterable[tuple[str, float]], wall_ms: float) -> tuple[dict[str, float], float, int]:
    """(ms by group with `idle`, busy ms, number) of (name, ms). `idle` is the wall time that no kernel filled."""
    groups: dict[str, float] = {}
    known: dict[str, str] = {}
    busy, number = 0.0, 0
    for name, ms in kernels:
        group = known.get(name) or known.setdefault(name, group_of(name))
        groups[group] = groups.get(group, 0.0) + ms
        busy, number = busy + ms, number + 1
    groups["idle"] = max(0.0, wall_ms - busy)
    return groups, busy, number


def profile(work: Callable[[], Any], device: torch.device) -> tuple[dict[str, float], float, float, int]:
    """Run `work` once before and once under the profiler: (ms by group, wall ms, busy ms, launches).

    The wall time is of a run without the profiler. On a CPU the operators stand for kernels, by their own time.
    """
    work()
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    wall_ms = (time.perf_counter() - started) * 1_000
    on_cuda = device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CUDA if on_cuda else torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, acc_events=True) as prof:
        work()
        synchronize(device)
    if on_cuda:
        events = prof.profiler.kineto_results.events()  # key_averages() takes minutes over 100,000 kernels
        kernels = [(e.name(), e.duration_ns() / 1e6) for e in events if "CUDA" in str(e.device_type())]
    else:
        kernels = [
            (row.key.removeprefix("aten::"), row.self_cpu_time_total / 1_000 / row.count)
            for row in prof.key_averages()
            for _ in range(row.count)
        ]
    groups, busy, number = group_times(kernels[:MOST_KERNELS], wall_ms)
    return groups, wall_ms, busy, number


def module_times(model: nn.Module, work: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """ms between entering and leaving the modules of a kind during one run of `work`: gaps of the host are in it.

    A module inside another of the list counts once, for the outer one.
    """
    on_cuda = device.type == "cuda"
    spans: list[tuple[str, Any, Any]] = []
    stack: list[tuple[str, Any]] = []
    handles = []

    def mark() -> Any:
        if not on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def enter(kind: str) -> Callable[..., None]:
        return lambda *_: stack.append((kind, mark()))

    def leave(*_: Any) -> None:
        kind, begun = stack.pop()
        if not stack:
            spans.append((kind, begun, mark()))

    for module in model.modules():
        name = type(module).__name__
        kind = next((kind for kind, pattern in MODULES if re.search(pattern, name)), None)
        if kind:
            handles += [module.register_forward_pre_hook(enter(kind)), module.register_forward_hook(leave)]
    try:
        work()
        synchronize(device)
    finally:
        for handle in handles:
            handle.remove()
    times: dict[str, float] = {}
    for kind, begun, ended in spans:
        ms = begun.elapsed_time(ended) if on_cuda else (ended - begun) * 1_000
        times[kind] = times.get(kind, 0.0) + ms
    return times
