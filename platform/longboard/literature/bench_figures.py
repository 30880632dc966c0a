"""Our figure for each claim that a benchmark file of ours can judge: operators (K1) and Long Range Arena, on one device each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from django.conf import settings
from django.urls import reverse

from longboard.literature.catalogue import Claim
from longboard.literature.claim_figures import is_same_class
from longboard.literature.kernel_pages import FILE as KERNELS
from longboard.literature.verdicts import Evidence
from longboard.quantities import length_label
from longboard_tasks.intervals import wilson

ARENA = "benchmarks/lra/results"  # benchmarks/lra/run.py writes it
CLOCK = f"{ARENA}/h200/efficiency.json"  # that of the card which had no other work, and goes to 16K
LENGTHS = range(1_024, 16_385)

Measure = Callable[[Claim], Evidence | None]
Row = dict[str, Any]


@cache
def _read(path: str) -> Any:
    """None where the file is not part of the installation."""
    file = settings.REPOSITORY / path
    return json.loads(file.read_text()) if file.is_file() else None


def _evidence(
    claim: Claim, stat: tuple[float, float, float], basis: str, *, device: str, day: str, url: str, scaled: bool = False
) -> Evidence:
    return Evidence(
        *stat, basis, hardware=device, measured_on=day, same_class=is_same_class(claim, device), scaled=scaled, url=url
    )  # fmt: skip


def _operator(slug: str) -> Row | None:
    parts: list[Row] = _read(KERNELS) or []
    return next((part for part in parts if part["kernel"] == slug), None)


def _of_operator(claim: Claim, part: Row, stat: tuple[float, float, float], basis: str, *, scaled: bool) -> Evidence:
    return _evidence(
        claim, stat, basis, device=part["machine"]["device"], day=part["measured_at"][:10], scaled=scaled,
        url=f"{reverse('kernels')}?device=h100#{part['kernel']}",
    )  # fmt: skip


def tokens_of(shape: str) -> int:
    """The context length that a benchmark's shape names: "B1 L64K" is 65,536 tokens; 0 where it names none or several."""
    found = re.fullmatch(r"(?:B\d+ )?L(\d+)K", shape)
    return 1_024 * int(found[1]) if found else 0


def split_decode(lengths: Sequence[int], *, scaled: bool) -> Measure:
    """Stream-K decode (K1, bf16) against PyTorch's SDPA, which also splits over keys: geometric mean over shapes."""

    def measure(claim: Claim) -> Evidence | None:
        part = _operator("K1")
        rows = [row for row in part["rows"] if "ms" in row and tokens_of(row["shape"]) in lengths] if part else []
        peers = {row["shape"]: row for row in rows if row["side"] == "SDPA"}
        ours: dict[str, Row] = {}
        for row in rows:
            best = ours.get(row["shape"], row)
            if row["side"] == "ours" and row["bits"] == 16 and row["ms"] <= best["ms"]:
                ours[row["shape"]] = row
        shapes = sorted(ours.keys() & peers.keys(), key=lambda shape: (shape[:2], tokens_of(shape)))
        if part is None or not shapes:
            return None

        def mean(ends: Callable[[Row, Row], float]) -> float:
            return math.exp(sum(math.log(ends(peers[s], ours[s])) for s in shapes) / len(shapes))

        stat = (
            mean(lambda peer, mine: peer["ms"] / mine["ms"]),
            mean(lambda peer, mine: peer["p10"] / mine["p90"]),
            mean(lambda peer, mine: peer["p90"] / mine["p10"]),
        )
        reached = [f"{shape} {100 * peers[shape]['of_floor']:.0f} %" for shape in shapes]
        basis = (
            f"Time of PyTorch's SDPA over our stream-K kernel, bf16, 32 heads on 8. SDPA splits over keys here as well; of the "
            f"rate at which bytes can be read at all it reaches {', '.join(reached)}"
        )
        return _of_operator(claim, part, stat, basis, scaled=scaled)

    return measure


def decode_error(claim: Claim) -> Evidence | None:
    """The largest error of the checks that K1 passed in bf16; a relative one, where the claim names an absolute one."""
    part = _operator("K1")
    checks = [c for c in part["checks"] if c["shape"].startswith("bf16") and "error" in c] if part else []
    if part is None or not checks:
        return None
    worst = max(checks, key=lambda c: c["error"])
    basis = (
        f"Relative L2 distance to attention in fp64 over {len(checks)} checks of 1 to 1M tokens, ragged, paged and windowed ones "
        f"among them; the largest: {worst['shape'].removeprefix('bf16 ')}"
    )
    return _of_operator(claim, part, (worst["error"], 0.0, worst["error"]), basis, scaled=True)


def _arena_rows(mixer: str, what: str) -> list[Row]:
    """By rising length, those that fitted."""
    found = _read(CLOCK) or {"rows": []}
    rows = [
        r
        for r in found["rows"]
        if (r["mixer"], r["what"], r["failure"]) == (mixer, what, "") and r["tokens"] in LENGTHS
    ]
    return sorted(rows, key=lambda row: row["tokens"])


def _of_arena(
    claim: Claim, stat: tuple[float, float, float], basis: str, *, device: str, day: str, scaled: bool = False
) -> Evidence:
    return _evidence(claim, stat, basis, device=device, day=day, url=reverse("suite", args=["lra"]), scaled=scaled)


def _of_clock(claim: Claim, stat: tuple[float, float, float], basis: str) -> Evidence:
    found = _read(CLOCK)
    return _of_arena(claim, stat, basis, device=found["hardware"]["device"], day=found["measured_at"][:10])


def slope(mixer: str, key: str, name: str) -> Measure:
    """Least-squares slope of the logarithm of a training step's time or memory, for one sequence, over that of its length."""

    def measure(claim: Claim) -> Evidence | None:
        rows = _arena_rows(mixer, "training step")
        if len(rows) < 3:
            return None
        xs = [math.log(row["tokens"]) for row in rows]
        ys = [math.log(row[key] / row["batch"]) for row in rows]
        mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
        value = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs)
        basis = (
            f"{name} of a training step for one sequence, text classifier with this mixer, "
            f"{length_label(rows[0]['tokens'])} to {length_label(rows[-1]['tokens'])} tokens, {len(rows)} lengths"
        )
        return _of_clock(claim, (value, value, value), basis)

    return measure


def faster_than_softmax(claim: Claim) -> Evidence | None:
    """A training step with softmax attention (SDPA) over one with the mixer, for one sequence: the largest ratio from 4K on."""
    ours = {row["tokens"]: row for row in _arena_rows("fastformer", "training step")}
    base = {row["tokens"]: row for row in _arena_rows("softmax", "training step")}
    found = []
    for tokens in sorted(ours.keys() & base.keys()):
        a, b = ours[tokens], base[tokens]
        if tokens >= 4_096 and a["batch"] == b["batch"]:
            found.append((b["ms"] / a["ms"], b["ms_low"] / a["ms_high"], b["ms_high"] / a["ms_low"], tokens))
    if not found:
        return None
    value, low, high, tokens = max(found)
    rest = ", ".join(f"{ratio:.2f} at {length_label(at)}" for ratio, _, _, at in found)
    basis = f"Training step of the text classifier, softmax attention through SDPA over Fastformer: {rest}"
    return _of_clock(claim, (value, low, high), basis)


def transformer_on_listops(claim: Claim) -> Evidence | None:
    """One seed of a reduced budget."""
    outcome = _read(f"{ARENA}/listops/listops-softmax-bidirectional-seed0/outcome.json")
    if outcome is None:
        return None
    share, n = outcome["accuracy"], outcome["n"]
    low, high = wilson(share, n)
    basis = (
        f"Softmax attention, {outcome['parameters'] / 1e6:.1f}M parameters, {outcome['steps']:,} steps of "
        f"{outcome['plan']['budget']['batch']} sequences, one seed, n={n:,}; the paper trains longer"
    )
    stat = (100 * share, 100 * low, 100 * high)
    return _of_arena(claim, stat, basis, device=outcome["device"], day=outcome.get("measured_at", "")[:10], scaled=True)


BENCHED: dict[str, Measure] = {
    "lean-attention-03": split_decode(range(1_024, 262_145), scaled=False),
    "lean-attention-04": split_decode((262_144,), scaled=False),
    "lean-attention-05": decode_error,
    "fastformer-01": slope("fastformer", "ms", "Time"),
    "fastformer-02": faster_than_softmax,
    "aft-01": slope("aft", "peak_memory_bytes", "Peak memory"),
    "lra-01": transformer_on_listops,
}
