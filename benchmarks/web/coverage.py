"""How often each published kind of 95 % interval holds the truth, from 10 samples to 3,000: every table of `docs/boards.md`.

    python benchmarks/web/coverage.py [--trials 2000] [--out results/coverage.json]

In simulation, but for the table of single shares, which is exact (`coverage_exact.py`). With 2,000 trials the standard error of a
cell is 0.5 points, and a true 95.0 shows as 94.0 to 96.0. Seven minutes of a quiet core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT / "tasks")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")
os.environ.setdefault("LONGBOARD_LOG_LEVEL", "ERROR")

SIZES = (10, 30, 100, 1_000, 3_000)
FEW = (2, 3, 4, 5, 10, 30)  # launches
SAID = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)  # borders of what a board says


def head(*names: str, columns: Sequence[str]) -> None:
    print("\n| " + " | ".join((*names, *columns)) + " |\n" + "|---" * (len(names) + len(columns)) + "|")


def line(*cells: Any) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1)


def simulate_intervals(trials: int) -> dict[str, Any]:
    import numpy as np
    from coverage_numbers import NUMBERS
    from coverage_places import PLACES

    found: dict[str, Any] = {}
    head("interval", "n counts", "truth", columns=[f"{n:,}" for n in SIZES])
    for title, (counted, draw) in {**NUMBERS, **PLACES}.items():
        found[title] = {"n": counted}
        for name, hard in (("average", False), ("hardest", True)):
            row: dict[str, float] = {}
            for n in SIZES:
                rng = np.random.default_rng([n, hard])
                seen = [drawn for _ in range(trials) if (drawn := draw(rng, n, hard)) is not None]
                row[str(n)] = percent(sum(low - 1e-12 <= truth <= high + 1e-12 for truth, low, high in seen), len(seen))
            found[title][name] = row
            line(*(("", "") if hard else (title, counted)), name, *row.values())
    return found


def simulate_launches(trials: int) -> dict[str, Any]:
    import numpy as np
    from coverage_places import LAUNCHES, launches

    found = {}
    head("launches differ", columns=[str(count) for count in FEW])
    for title, noise in LAUNCHES.items():
        truth = float(np.exp(np.median(noise(np.random.default_rng(0), 2_000_001))))
        row = {}
        for count in FEW:
            rng = np.random.default_rng(count)
            row[str(count)] = percent(sum(launches(rng, count, noise, truth) for _ in range(trials)), trials)
        found[title] = row
        line(title, *row.values())
    return found


def simulate_ranks(trials: int) -> dict[str, Any]:
    """Fewer trials where many Systems make one long, and where all of them hold."""
    import numpy as np
    from coverage_places import SKILLS, ranks

    found: dict[str, Any] = {}
    head("true shares", "systems", columns=[f"{n:,}" for n in SIZES])
    for title, skills in SKILLS.items():
        found[title] = {}
        for systems, part in ((2, 1), (10, 8), (50, 40)):
            row = {}
            for n in SIZES:
                rng = np.random.default_rng([n, systems])
                seen = [ranks(rng, n, systems, skills) for _ in range(trials // part)]
                held, places = np.mean(seen, axis=0)
                row[str(n)] = {"held": percent(held, 1), "places": round(float(places), 1), "trials": len(seen)}
            found[title][str(systems)] = row
            line(title, systems, *(f"{cell['held']} ({cell['places']})" for cell in row.values()))
    return found


def simulate_fronts(trials: int) -> dict[str, Any]:
    """What became of all that a board said between two borders, over boards of 2 to 50 Systems."""
    import numpy as np
    from coverage_places import BOARDS, SYSTEMS, fronts

    found: dict[str, Any] = {}
    names = [f"{low:g} to {high:g}" for low, high in pairwise(SAID)]
    head("board", "n", columns=names)
    for title in BOARDS:
        found[title] = {}
        for n in SIZES:
            rng = np.random.default_rng(n)
            told = [fronts(rng, n, systems, title) for systems in SYSTEMS for _ in range(max(10, trials // systems))]
            said, true = (np.concatenate(part) for part in zip(*told, strict=True))
            group = np.clip(np.searchsorted(SAID, said, side="right") - 1, 0, len(names) - 1)
            row = {}
            for at, name in enumerate(names):
                if count := int((here := group == at).sum()):
                    row[name] = {
                        "said": percent(said[here].mean(), 1),
                        "true": percent(true[here].mean(), 1),
                        "n": count,
                    }
            found[title][str(n)] = row
            line(title, f"{n:,}", *(_told(row[name]) if name in row else "" for name in names))
    return found


def _told(cell: dict[str, float]) -> str:
    return f"{cell['said']:.0f} → {cell['true']:.0f}" + ("" if cell["n"] >= 100 else f" (of {cell['n']:.0f})")


def sum_exactly() -> dict[str, Any]:
    from coverage_exact import exact

    found: dict[str, Any] = {}
    for n in SIZES:
        found[str(n)] = here = exact(n)
        methods = here["methods"]
        if n == SIZES[0]:
            head("n", "forced", columns=list(methods))
        told = (f"{m['below']} + {m['above']} ({m['mean']}; {m['least']})" for m in methods.values())
        line(f"{n:,}", here["forced"], *told)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.json")
    options = parser.parse_args()
    import django

    django.setup()
    found = {
        "trials": options.trials,
        "coverage_percent": simulate_intervals(options.trials),
        "launches_percent": simulate_launches(options.trials),
        "ranks": simulate_ranks(options.trials),
        "fronts_percent": simulate_fronts(options.trials),
        "exact_shares_percent": sum_exactly(),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
