"""kernels.md from kernels.json: what was checked; for each shape ours, the peers, the ratio to the best, the floor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def write_table(parts: list[dict[str, Any]], path: Path) -> None:
    lines: list[str] = []
    for part in parts:
        lines += [f"### {part['kernel']}", "", *describe_checks(part["checks"]), ""]
        rows = part["rows"]
        if rows:
            lines += [
                "| shape | ours, ms | p10 to p90 | of the floor | extra MiB | peers, ms | ours over best peer |",
                "|---|---:|---|---:|---:|---|---:|",
            ]
        for shape, bits in dict.fromkeys((r["shape"], r.get("bits")) for r in rows):
            own = [r for r in rows if (r["shape"], r.get("bits"), r["side"]) == (shape, bits, "ours")]
            if not own:  # a peer that another row is held against
                continue
            mine = min(own, key=lambda r: r.get("ms", float("inf")), default={})
            # A quantised cache has no peer of its own: it is held against the bf16 one.
            peers = [
                r
                for r in rows
                if r["shape"] == shape and r["side"] != "ours" and (bits in (None, 8, 4) or r.get("bits") == bits)
            ]
            lines.append("| " + " | ".join(describe_row(shape, bits, mine, peers)) + " |")
        lines.append("")
    timed = [part for part in parts if "ceilings" in part]
    if timed:
        machine, ceilings = timed[0]["machine"], timed[0]["ceilings"]
        lines += [
            f"One {machine['device']}, torch {machine['torch']}, Triton {machine['triton']}, {timed[0]['measured_at'][:10]}, "
            f"{name_commits(timed)}; read {ceilings['bytes_per_s'] / 1e12:.2f} TB/s, bf16 product "
            f"{ceilings['flops_per_s'] / 1e12:.0f} TFLOP/s. Graph replays, L2 flushed; of tuned and untuned tiles the faster.",
        ]
        present = {name: version for part in parts for name, version in part.get("peers", {}).items()}
        if present:
            lines += [
                "",
                "Peers that were installed: " + ", ".join(f"{n} {v}".strip() for n, v in present.items()) + ".",
            ]
    path.write_text("\n".join(lines) + "\n")


def name_commits(parts: list[dict[str, Any]]) -> str:
    """The state of the code; where kernels were measured at different ones, which at which."""
    kernels: dict[str, list[str]] = {}
    for part in parts:
        kernels.setdefault(part.get("commit") or "unknown", []).append(part["kernel"])
    if len(kernels) == 1:
        return f"commit {next(iter(kernels))}"
    return "commits " + ", ".join(f"{commit} ({', '.join(names)})" for commit, names in kernels.items())


def describe_checks(checks: list[dict[str, Any]]) -> list[str]:
    passed = [c for c in checks if c["passed"]]
    worst = max((c["error"] / c["tolerance"] for c in passed), default=0.0)
    lines = [f"{len(passed)} of {len(checks)} checks passed; the worst used {100 * worst:.0f} % of its tolerance."]
    return lines + [f"- FAILED {c['shape']}: {c.get('failed', c.get('error'))}" for c in checks if not c["passed"]]


def describe_row(shape: str, bits: int | None, mine: dict[str, Any], peers: list[dict[str, Any]]) -> list[str]:
    name = shape if bits is None else f"{shape}, {bits} bits"
    said = (
        "; ".join(f"{p['side']} {p['ms']:.4g}" if "ms" in p else f"{p['side']}: {p['failed'][:40]}" for p in peers)
        or "none timed"
    )
    if "ms" not in mine:
        return [name, mine.get("failed", "-")[:40], "", "", "", said, ""]
    best = min((p["ms"] for p in peers if "ms" in p), default=None)
    return [
        name,
        f"{mine['ms']:.4g}",
        f"{mine['p10']:.4g} to {mine['p90']:.4g}",
        f"{mine['of_floor']:.2f}",
        f"{mine['extra_bytes'] / 2**20:.0f}",
        said,
        f"{best / mine['ms']:.2f}x" if best else "",
    ]


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write_table(json.loads(source.read_text()), source.with_suffix(".md"))
