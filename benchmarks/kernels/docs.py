"""docs/kernels.md's tables and figures from the results in benchmarks/kernels/results: `python benchmarks/kernels/docs.py`.

The page's own words stay; what stands between `<!-- kernels -->` and `<!-- /kernels -->`, and the same for `kernels_h200`,
`models` and `models_h200`, is written anew, and so are docs/kernels/*.svg.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from models import write_table as write_models
from table import write_table as write_kernels

ROOT = Path(__file__).parents[2]
RESULTS, PAGE, FIGURES = ROOT / "benchmarks/kernels/results", ROOT / "docs/kernels.md", ROOT / "docs/kernels"
COLOURS = ["#0b6e99", "#b3541e", "#4d7c0f", "#7a3e9d"]
WIDTH, ROW = 860, 20


def fill(page: str, name: str, body: str) -> str:
    """`page` with `body` between the marks of `name`."""
    marks = f"<!-- {name} -->", f"<!-- /{name} -->"
    return re.sub(rf"{marks[0]}.*?{marks[1]}", lambda _: f"{marks[0]}\n{body.strip()}\n{marks[1]}", page, flags=re.S)


def draw_floors(parts: list[dict[str, Any]]) -> str:
    """Bars: for each shape how much of the floor ours reaches, and beside it the best peer."""
    lines: list[tuple[str, float, float | None]] = []
    for part in parts:
        for shape, bits in dict.fromkeys((r["shape"], r.get("bits")) for r in part["rows"]):
            here = [r for r in part["rows"] if (r["shape"], r.get("bits")) == (shape, bits) and "ms" in r]
            mine = [r["of_floor"] for r in here if r["side"] == "ours"]
            peers = [r["of_floor"] for r in here if r["side"] != "ours"]
            if mine:
                name = f"{part['kernel']} {shape}" + (f", {bits} bits" if bits else "")
                lines.append((name, max(mine), max(peers, default=None)))
    height = ROW * len(lines) + 50
    out = [start_svg(height, "Share of the floor reached: bars ours, ticks the best peer")]
    for number, (name, mine, peer) in enumerate(lines):
        y = 30 + ROW * number
        out.append(f'<text x="330" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect x="340" y="{y + 3}" width="{min(mine, 1.1) * 450:.1f}" height="13" fill="{COLOURS[0]}"/>')
        out.append(f'<text x="{345 + min(mine, 1.1) * 450:.1f}" y="{y + 13}">{mine:.2f}</text>')
        if peer is not None:
            x = 340 + min(peer, 1.1) * 450
            out.append(f'<path d="M{x:.1f} {y} v19" stroke="{COLOURS[1]}" stroke-width="3"/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def draw_prefill(parts: list[dict[str, Any]]) -> str:
    """Lines: GPU time of prefill over the context length, both axes logarithmic; stock dashed."""
    rows = [r for part in parts for r in part["rows"] if "prefill_gpu_ms" in r]
    xs, ys = [math.log2(r["length"]) for r in rows], [math.log10(r["prefill_gpu_ms"]) for r in rows]
    low_x, high_x, low_y, high_y = min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys))

    def place(length: float, ms: float) -> str:
        x = 60 + (math.log2(length) - low_x) / (high_x - low_x) * 560
        return f"{x:.1f},{400 - (math.log10(ms) - low_y) / (high_y - low_y) * 360:.1f}"

    out = [start_svg(440, "GPU time of prefill, ms, by context length; dashed: stock")]
    for power in range(low_y, high_y + 1):
        y = 400 - (power - low_y) / (high_y - low_y) * 360
        out.append(
            f'<path d="M60 {y:.1f} h560" stroke="#ccc"/><text x="52" y="{y + 4:.1f}" text-anchor="end">{10**power:g}</text>'
        )
    for length in sorted({r["length"] for r in rows}):
        x = place(length, 10**low_y).split(",")[0]
        out.append(f'<text x="{x}" y="420" text-anchor="middle">{length // 1024}K</text>')
    shapes = list(dict.fromkeys(r["shape"] for r in rows))
    for number, shape in enumerate(shapes):
        for side, dash in (("ours", ""), ("stock", ' stroke-dasharray="6 4"')):
            points = [place(r["length"], r["prefill_gpu_ms"]) for r in rows if (r["shape"], r["side"]) == (shape, side)]
            out.append(
                f'<polyline points="{" ".join(points)}" fill="none" stroke="{COLOURS[number % 4]}" stroke-width="2"{dash}/>'
            )
        out.append(f'<text x="640" y="{60 + 22 * number}" fill="{COLOURS[number % 4]}">{escape(shape)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def start_svg(height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
        f'<title>{escape(title)}</title><rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="10" y="18" font-size="14">{escape(title)}</text>'
    )


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def main() -> None:
    FIGURES.mkdir(exist_ok=True)
    page = PAGE.read_text()
    for name, write, draw, figure in (
        ("kernels", write_kernels, draw_floors, "floors.svg"),
        ("kernels_h200", write_kernels, draw_floors, "floors_h200.svg"),
        ("models", write_models, draw_prefill, "prefill.svg"),
        ("models_h200", write_models, draw_prefill, "prefill_h200.svg"),
    ):
        source = RESULTS / f"{name}.json"
        if not source.exists():
            print(f"no {source.name} yet")
            continue
        parts = json.loads(source.read_text())
        write(parts, RESULTS / f"{name}.md")
        (FIGURES / figure).write_text(draw(parts))
        page = fill(page, name, (RESULTS / f"{name}.md").read_text())
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
