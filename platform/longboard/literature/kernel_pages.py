"""Our kernels operator by operator, as the benchmark on each device left them: the same files that docs/kernels.md shows.

What a first run got wrong is on the page as it was: a kernel whose checks failed says so above its times. Devices are measured at
different times, so an operator says where it has been measured again since, with another state of the code.
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
FILES = {"h200": "benchmarks/kernels/results/kernels_h200.json", "h100": FILE}  # the page opens with the first
Part = dict[str, Any]  # one kernel on one device
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
    commit: str
    checks: str
    newer: str  # where another device has newer code of this kernel
    says: str  # how ours stands against the fastest other
    failures: tuple[str, ...]
    lines: tuple[OperatorLine, ...]


@dataclass(frozen=True, slots=True)
class KernelsPage:
    slug: str
    device: str
    measured_on: str
    software: str
    ceilings: str
    tables: tuple[KernelTable, ...]
    missing: str  # titles of what other devices have and this one has not


def kernels_page(device: str = "") -> KernelsPage | None:
    """The page of one device, of the first for a name that none has; None where no file is part of the installation."""
    pages = kernels_pages()
    return pages.get(device) or next(iter(pages.values()), None)


@cache
def kernels_pages() -> dict[str, KernelsPage]:
    """The committed measurements by device."""
    paths = {slug: settings.REPOSITORY / file for slug, file in FILES.items()}
    files: dict[str, list[Part]] = {
        slug: json.loads(path.read_text()) for slug, path in paths.items() if path.is_file()
    }
    return {slug: _page(slug, parts, [p for other in files.values() for p in other]) for slug, parts in files.items()}


def _page(slug: str, parts: list[Part], everywhere: list[Part]) -> KernelsPage:
    machine, ceilings = parts[0]["machine"], parts[0]["ceilings"]
    here = {part["kernel"] for part in parts}
    return KernelsPage(
        slug=slug,
        device=machine["device"],
        measured_on=max(part["measured_at"] for part in parts)[:10],
        software=f"torch {machine['torch']}, Triton {machine['triton']}",
        ceilings=f"{ceilings['bytes_per_s'] / 1e12:.2f} TB/s read, {ceilings['flops_per_s'] / 1e12:.0f} TFLOP/s bf16",
        tables=tuple(_table(part, everywhere) for part in parts),
        missing="; ".join(TITLES[name] for name in sorted({part["kernel"] for part in everywhere} - here)),
    )


def _newer(part: Part, everywhere: list[Part]) -> str:
    """Says so where this kernel was measured later with another state of the code."""
    latest = max((p for p in everywhere if p["kernel"] == part["kernel"]), key=lambda p: p["measured_at"])
    if latest["commit"] == part["commit"]:
        return ""
    return (
        f"An older commit: this operator's newest times are of {latest['commit']}, on an {latest['machine']['device']}"
    )


def _table(part: Part, everywhere: list[Part]) -> KernelTable:
    checks, rows = part["checks"], part["rows"]
    keys = sorted({(row["shape"], row.get("bits")) for row in rows}, key=_by_size)
    lines = tuple(line for key in keys if (line := _line(*key, rows)) is not None)
    return KernelTable(
        slug=part["kernel"],
        title=TITLES[part["kernel"]],
        commit=part["commit"] or "unknown",
        newer=_newer(part, everywhere),
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
    shapes = "1 shape" if len(ratios) == 1 else f"{len(ratios)} shapes"
    span = f"{min(ratios):.2f}x" if len(ratios) == 1 else f"{min(ratios):.2f}x to {max(ratios):.2f}x"
    return f"Faster than the best other at {ahead} of {shapes}: {span}"


def _line(shape: str, bits: int | None, rows: list[dict[str, Any]]) -> OperatorLine | None:
    """None where ours has no time of this shape. A quantised cache is held against the 16-bit peers."""
    same = [row for row in rows if row["shape"] == shape]
    ours = [row for row in same if row["side"] == "ours" and row.get("bits") == bits and "ms" in row]
    if not ours:
        return None
    mine = min(ours, key=lambda row: row["ms"])
    peers = [row for row in same if row["side"] != "ours"]
    best = min((row["ms"] for row in peers if "ms" in row), default=None)
    low, high = (figure_text(mine[end]) for end in ("p10", "p90"))
    return OperatorLine(
        shape=shape if bits is None else f"{shape}, {bits} bits",
        ours=figure_text(mine["ms"]),
        spread=low if low == high else f"{low} to {high}",
        floor_share=f"{100 * mine['of_floor']:.0f} %",
        peers=", ".join(_peer(row) for row in peers) or "none timed",
        ratio=best / mine["ms"] if best else None,
        memory=f"{mine['extra_bytes'] / 2**20:.0f}",
    )


def _peer(row: Part) -> str:
    return f"{row['side']} {figure_text(row['ms'])}" if "ms" in row else f"{row['side']}: {row['failed'][:40]}"
