"""How often each published kind of 95 % interval holds the truth, in simulation, from 10 samples to 3,000.

    python benchmarks/web/coverage.py [--trials 2000] [--out results/coverage.json]

Prints the table of `docs/boards.md`. Answers are discrete, so that no interval covers 95 % at every single truth: "average" draws
the truth anew in each trial (shares from 0.02 to 0.98), as Brown, Cai and DasGupta (2001) compare intervals; "hardest" has it
close to one end (shares from 0.90 to 0.98, or tasks nearly all right or all wrong), the worst place for all of them. With 2,000
trials the standard error of a cell is 0.5 points, and a true 95.0 shows as 94.0 to 96.0.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT / "tasks")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")

SIZES = (10, 20, 50, 200, 1_000, 3_000)
Draw = Callable[[Any, int, bool], tuple[float, float, float]]  # (generator, n, hardest) -> truth, low, high


def kinds() -> dict[str, tuple[str, Draw]]:
    """title -> (what n counts, one trial)."""
    import numpy as np

    from longboard.boards.aggregates import Part, means_of, means_of_trained
    from longboard.boards.differences import ratio_of
    from longboard.boards.lengths import length_area
    from longboard.boards.paired import paired_difference, separate_difference
    from longboard.boards.share_intervals import evidence, interval
    from longboard_tasks.intervals import median_interval, wilson
    from longboard_tasks.suites.lra.summary import accuracy_interval

    def share(rng: Any, hard: bool) -> float:
        return float(rng.uniform(0.90, 0.98) if hard else rng.uniform(0.02, 0.98))

    def tasks(rng: Any, count: int, hard: bool) -> Any:
        return rng.choice([0.02, 0.05, 0.95, 0.98], count) if hard else rng.uniform(0.02, 0.98, count)

    def single(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        p = share(rng, hard)
        return p, *wilson(rng.binomial(n, p) / n, n)

    def partial(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        p = share(rng, hard)
        return p, *interval([evidence(rng.binomial(5, rng.beta(p * 2, (1 - p) * 2, n)) / 5)])

    def documents(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        p, count = share(rng, hard), max(2, n // 9)
        scores = (rng.random((count, 9)) < rng.beta(p * 3, (1 - p) * 3, count)[:, None]).astype(float)
        return p, *interval([evidence(scores.ravel(), np.repeat(np.arange(count), 9).tolist())])

    def mean(rng: Any, n: int, hard: bool, *, above: bool = False) -> tuple[float, float, float]:
        count = int(rng.integers(2, 18))
        shares, chance = tasks(rng, count, hard), rng.choice([0.0, 0.1, 0.25], count)
        sizes = np.maximum(10, (n * rng.choice([0.5, 1, 2], count)).astype(int))
        drawn = rng.binomial(sizes, shares) / sizes
        found = means_of([Part(float(p), int(k), float(c)) for p, k, c in zip(drawn, sizes, chance, strict=True)])
        truths = float(shares.mean()), max(0.0, float(((shares - chance) / (1 - chance)).mean()))
        return truths[above], found[above].low, found[above].high

    def pair(rng: Any, n: int, hard: bool) -> tuple[float, Any, Any]:
        p, q = share(rng, hard), share(rng, hard)
        first = rng.random(n)  # the same hard sample is hard for both, half of the time
        second = np.where(rng.random(n) < 0.5, first, rng.random(n))
        return q - p, (first < p).astype(float), (second < q).astype(float)

    def paired(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        truth, first, second = pair(rng, n, hard)
        found = paired_difference(first, second)
        return truth, found.low, found.high

    def paired_documents(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        p, q, count = share(rng, hard), share(rng, hard), max(2, n // 9)
        first = np.where(rng.random((count, 1)) < 0.4, rng.random((count, 1)), rng.random((count, 9)))
        second = np.where(rng.random((count, 1)) < 0.5, first, rng.random((count, 9)))
        keys = np.repeat(np.arange(count), 9).tolist()
        found = paired_difference((first < p).astype(float).ravel(), (second < q).astype(float).ravel(), keys)
        return q - p, found.low, found.high

    def separate(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        p, q = share(rng, hard), share(rng, hard)
        found = separate_difference((rng.binomial(n, p) / n, n), (rng.binomial(n, q) / n, n))
        return q - p, found.low, found.high

    def times(rng: Any, n: int, hard: bool) -> Any:
        """Of median 1: lognormal; hardest: one in five much slower."""
        values = rng.lognormal(0, 0.2, n)
        return (
            np.where(rng.random(n) < 0.2, 1 + 5 * rng.random(n), np.exp(-abs(np.log(values)) * 0.1)) if hard else values
        )

    def median(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        return 1.0 if not hard else _median_of(times), *median_interval(times(rng, n, hard).tolist())[1:]

    def cost(rng: Any, n: int) -> Any:
        value, low, high = median_interval(rng.lognormal(0, 0.05, n).tolist())
        return SimpleNamespace(value=value, ci_low=low, ci_high=high)

    def ratio(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        low, _, high = ratio_of(cost(rng, n), cost(rng, n))
        return 1.0, low, high

    def area(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        lengths = 2 ** np.arange(10, 18)
        shares = np.sort(tasks(rng, len(lengths), hard))[::-1]
        drawn = rng.binomial(n, shares) / n
        ends = np.array([wilson(float(x), n) for x in drawn])
        _, low, high, _ = length_area(drawn[None], ends[None, :, 0], ends[None, :, 1], lengths)
        truth = length_area(shares[None], shares[None], shares[None], lengths)[0]
        return float(truth[0]), float(low[0]), float(high[0])

    def trained(rng: Any, n: int, hard: bool) -> tuple[float, tuple[float, float, float]]:
        """Five seeds on one test split of n examples; seeds differ by 0.02 (hardest: not at all)."""
        p, shift = float(rng.uniform(0.3, 0.9)), 0.0 if hard else 0.02
        level = rng.random(n)
        seeds = [float((level < p + shift * rng.standard_normal()).mean()) for _ in range(5)]
        return p, accuracy_interval(seeds, n)

    def one_trained(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        truth, (_, low, high) = trained(rng, n, hard)
        return truth, low, high

    def mean_trained(rng: Any, n: int, hard: bool) -> tuple[float, float, float]:
        drawn = [trained(rng, n, hard) for _ in range(5)]
        found, _ = means_of_trained([(number, 0.0) for _, number in drawn])
        return math.fsum(truth for truth, _ in drawn) / 5, found.low, found.high

    return {
        "share": ("samples", single),
        "share, scores between 0 and 1": ("samples", partial),
        "share, nine samples a document": ("samples", documents),
        "mean over 2 to 17 tasks": ("samples a task", mean),
        "the same above chance": ("samples a task", lambda *a: mean(*a, above=True)),
        "difference, shared samples": ("samples", paired),
        "difference, nine samples a document": ("samples", paired_documents),
        "difference, separate samples": ("samples each", separate),
        "median of times": ("values", median),
        "ratio of two medians": ("values each", ratio),
        "area under the length curve": ("samples a length", area),
        "accuracy of five trainings": ("test examples", one_trained),
        "mean of five trained tasks": ("test examples", mean_trained),
    }


def _median_of(times: Any, cache: list[float] = []) -> float:  # noqa: B006 (one number a process)
    import numpy as np

    if not cache:
        cache.append(float(np.median(times(np.random.default_rng(0), 4_000_001, True))))
    return cache[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.json")
    options = parser.parse_args()
    os.environ.setdefault("LONGBOARD_LOG_LEVEL", "ERROR")
    import django
    import numpy as np

    django.setup()
    found: dict[str, dict[str, Any]] = {}
    print("| interval | n counts | truth | " + " | ".join(f"{n:,}" for n in SIZES) + " |")
    print("|---|---|---|" + "---|" * len(SIZES))
    for title, (counted, draw) in kinds().items():
        found[title] = {"n": counted}
        for name, hard in (("average", False), ("hardest", True)):
            row = []
            for n in SIZES:
                rng = np.random.default_rng([n, hard])
                held = sum(
                    low - 1e-12 <= truth <= high + 1e-12
                    for truth, low, high in (draw(rng, n, hard) for _ in range(options.trials))
                )
                row.append(round(100 * held / options.trials, 1))
            found[title][name] = dict(zip(map(str, SIZES), row, strict=True))
            print(
                f"| {title if not hard else ''} | {counted if not hard else ''} | {name} | "
                + " | ".join(map(str, row))
                + " |",
                flush=True,
            )
    options.out.write_text(json.dumps({"trials": options.trials, "coverage_percent": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
