"""Our kernels operator by operator, as the benchmark on a device left them: the same file that docs/kernels.md shows.

What a first run got wrong is on the page as it was: a kernel whose checks failed says so above its times.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings

from longboard.quantities import figure_text

FILE = "benchmarks/kernels/results/kernels.json"  # benchmarks/kernels/run.py writes it
TITLES = {
    "K1": "Decode attention",
    "K1q": "Decode attention over 8-bit and 4-bit caches",
    "K2": "Selective scan (Mamba)",
    "K3": "Chunk scan (Mamba-2)",
    "K4": "Convolution and norms",
    "K5": "Rotary positions and cache write",
    "K6": "Attention received by key",
    "K7": "Log-probabilities",
    "K8": "Gated delta rule (Qwen3-Next)",
}


@dataclass(frozen=True, slots=True)
class OperatorLine:
    """One shape, formatted: medians in ms, with the 10th and 90th percentile of ours."""

    shape: str
    ours: str
    spread: str
    floor_share: str
    peers: str
    ratio: float | None  # the fastest other's time over ours
    memory: str


@dataclass(frozen=True, slots=True)
class KernelTable:
    slug: str
    title: str
    checks: str
    says: str  # how ours stands against the fastest other
    failures: tuple[str, ...]
    lines: tuple[OperatorLine, ...]


@dataclass(frozen=True, slots=True)
class KernelsPage:
    device: str
    measured_on: str
    software: str
    commit: str
    ceilings: str
    tables: tuple[KernelTable, ...]


@cache
def kernels_page() -> KernelsPage | None:
    """The page of the committed measurement; None where the file is not part of the installation."""
    path = settings.REPOSITORY / FILE
    if not path.is_file():
        return None
    parts: list[dict[str, Any]] = json.loads(path.read_text())
    machine, ceilings = parts[0]["machine"], parts[0]["ceilings"]
    return KernelsPage(
        device=machine["device"],
        measured_on=parts[0]["measured_at"][:10],
        software=f"torch {machine['torch']}, Triton {machine['triton']}",
        commit=parts[0].get("commit") or "unknown",
        ceilings=f"{ceilings['bytes_per_s'] / 1e12:.2f} TB/s read, {ceilings['flops_per_s'] / 1e12:.0f} TFLOP/s bf16",
        tables=tuple(_table(part) for part in parts),
    )


def _table(part: dict[str, Any]) -> KernelTable:
    checks, rows = part["checks"], part["rows"]
    keys = sorted({(row["shape"], row.get("bits")) for row in rows}, key=_by_size)
    lines = tuple(line for key in keys if (line := _line(*key, rows)) is not None)
    return KernelTable(
        slug=part["kernel"],
        title=TITLES.get(part["kernel"], part["kernel"]),
        checks=f"{sum(check['passed'] for check in checks)} of {len(checks)} checks on the device passed",
        failures=tuple(
            f"{c['shape']}: error {c['error']:.2g}, {c['tolerance']:g} allowed"
            if "error" in c
            else f"{c['shape']}: {c['failed']}"
            for c in checks
            if not c["passed"]
        ),
        lines=lines,
        says=_standing([line.ratio for line in lines if line.ratio is not None]),
    )


def _by_size(key: tuple[str, int | None]) -> tuple[object, ...]:
    """Shapes as a reader counts: 4K before 16K before 256K."""
    return (*(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", key[0])), key[1] or 0)


def _standing(ratios: list[float]) -> str:
    if not ratios:
        return ""
    ahead = sum(ratio > 1 for ratio in ratios)
    shapes = "shape" if len(ratios) == 1 else f"{len(ratios)} shapes"
    span = f"{min(ratios):.2f}x" if len(ratios) == 1 else f"{min(ratios):.2f}x to {max(ratios):.2f}x"
    return f"Faster than the best other at {ahead} of {shapes}: {span}"


def _line(shape: str, bits: int | None, rows: list[dict[str, Any]]) -> OperatorLine | None:
    """None where ours has no time of this shape. A quantised cache is held against the 16-bit peers."""
    same = [row for row in rows if row["shape"] == shape and "ms" in row]
    ours = [row for row in same if row["side"] == "ours" and row.get("bits") == bits]
    if not ours:
        return None
    mine = min(ours, key=lambda row: row["ms"])
    peers = [row for row in same if row["side"] != "ours"]
    best = min((row["ms"] for row in peers), default=None)
    low, high = (figure_text(mine[end]) for end in ("p10", "p90"))
    return OperatorLine(
        shape=shape if bits is None else f"{shape}, {bits} bits",
        ours=figure_text(mine["ms"]),
        spread=low if low == high else f"{low} to {high}",
        floor_share=f"{100 * mine['of_floor']:.0f} %",
        peers=", ".join(f"{row['side']} {figure_text(row['ms'])}" for row in peers) or "none installed",
        ratio=best / mine["ms"] if best else None,
        memory=f"{mine['extra_bytes'] / 2**20:.0f}",
    )
