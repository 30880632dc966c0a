"""The papers behind the suites, and what they claim: read from two files that ship with the code. No database.

data/papers.csv   one row a paper: family, what it claims in our words, which suite tests it, how far that is possible
data/claims.csv   one row a claim, machine-checkable: subject, baseline, metric, rule, tolerance; verdicts.py reads it
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
DATA = Path(__file__).parent / "data"

KINDS = {
    "attention-variant": "Attention variants",
    "icl-study": "Studies of in-context learning",
    "architecture": "Architectures",
    "parallelism": "Parallelism",
    "survey": "Surveys",
    "hybrid": "Hybrids",
    "application": "Applications",
    "memory": "Memory models",
    "ssm": "State-space models and linear RNNs",
    "benchmark": "Benchmarks",
    "context-compression": "Context compression",
    "serving-system": "Serving systems",
    "kernel": "Kernels",
    "cost-model": "Cost models",
    "kv-compression": "KV-cache compression",
    "position-encoding": "Position encodings",
    "hardware": "Hardware",
}
RUNNABLE = {
    "library": "an installed library has it",
    "library+glue": "the parts are in libraries; a wrapper of ours is needed",
    "own-code": "needs an implementation of its own",
    "analytic-or-simulation": "needs no model run",
    "literature": "listed, not run",
}
# What a claim needs before it can be tested: shown where there is no verdict.
NEEDS = {
    "yes": "no run of these systems at these lengths has been taken in yet",
    "own_code": "needs an implementation that we do not have yet",
    "needs_weights": "needs trained weights that we do not have",
    "multi_gpu": "needs several GPUs of one host",
    "analytic": "a published figure that no single node can reproduce",
    "simulation": "needs a simulator that we do not have yet",
}


# Shapes of ours that stand for a paper's model, or for the ones that it compares.
STAND_INS: dict[str, tuple[str, ...]] = {
    "ssm-characterization": ("mamba2-780m", "qwen2.5-0.5b", "falcon-h1-1.5b", "zamba2-1.2b"),
    "challenges-deploying": ("yi-34b", "llama-8b"),
    "empirical-mamba": ("nemotron-h-8b", "llama-8b"),
    "hybrid-design": ("falcon-h1-1.5b", "granite-h-1b", "zamba2-1.2b"),
    "mamba": ("mamba-1.4b", "llama-1b"),
    "jamba": ("jamba-52b",),
    "deltanet": ("qwen3-next-0.7b",),
    "zebra": ("mistral-7b",),
}


@dataclass(frozen=True, slots=True)
class Paper:
    id: str
    title: str
    kind: str
    family: str
    headline_claims: str
    metric_type: str
    context_lengths: str
    code_url: str
    how_longboard_measures_it: str
    runnable_through: str
    fidelity_plan: str
    priority: str
    runnable_class: str
    code_url_elsewhere: str
    provenance: str

    @property
    def kind_title(self) -> str:
        return KINDS.get(self.kind, self.kind)

    @property
    def runnable(self) -> str:
        return RUNNABLE.get(self.runnable_class, self.runnable_class)

    @property
    def source(self) -> str:
        return explain_source(self.provenance)

    @property
    def stand_ins(self) -> tuple[str, ...]:
        return STAND_INS.get(self.id, ())

    @property
    def code(self) -> str:
        """The authors' code where we know of it."""
        return self.code_url or self.code_url_elsewhere


@dataclass(frozen=True, slots=True)
class Claim:
    claim_id: str
    paper_id: str
    priority: str
    claim_type: str
    statement: str
    suite: str
    metric: str
    subject: str
    baseline: str
    context_length: str
    settings: str
    compare: str
    verdict_rule: str
    expected: str
    expected_low: str
    expected_high: str
    expected_expr: str
    unit: str
    tolerance_rel: str
    tolerance_rel_other_hw: str
    aggregate: str
    paper_hardware: str
    hardware_note: str
    fidelity: str
    testable: str
    provenance: str
    caveat: str

    @property
    def source(self) -> str:
        return explain_source(self.provenance)

    @property
    def is_recalled(self) -> bool:
        """The paper's figure was written down from memory, not read again: shown as such."""
        return "memory" in self.provenance

    @property
    def figure(self) -> str:
        """What the paper says, as text."""
        if self.expected:
            sign = {"at_least": "≥ ", "at_most": "≤ "}.get(self.verdict_rule, "")
            return f"{sign}{_grouped(self.expected)} {self.unit_word}".rstrip()
        if self.expected_low:
            return f"{_grouped(self.expected_low)} to {_grouped(self.expected_high)} {self.unit_word}".rstrip()
        return self.expected_expr or "–"

    @property
    def unit_word(self) -> str:
        return {"ratio": "×", "percent": "%", "points": "points", "fraction": "", "slope": ""}.get(self.unit, self.unit)

    @property
    def needs(self) -> str:
        return NEEDS.get(self.testable, self.testable)


def _grouped(figure: str) -> str:
    """The paper's own digits, whole thousands apart as in ours beside it."""
    return f"{int(figure):,}" if figure.isdigit() else figure.replace("-", "−")


def explain_source(provenance: str) -> str:
    """Where a figure comes from, in words a reader can weigh."""
    words = {
        "memory": "recalled, not read again",
        "search": "from a search result, not read in the paper",
        "artifact": "from the authors' artifact",
        "computed": "computed here",
        "own analysis": "our own analysis",
        "repo": "from the authors' repository",
        "project page": "from the project's page",
        "restated": "restated by us as a test",
        "abstract": "from the abstract",
    }
    found = [text for word, text in words.items() if word in provenance]
    return "; ".join(found) or provenance


@cache
def load_papers() -> dict[str, Paper]:
    return {row.id: row for row in _read("papers.csv", Paper)}


@cache
def load_claims() -> dict[str, Claim]:
    return {row.claim_id: row for row in _read("claims.csv", Claim)}


def claims_of(paper_id: str) -> list[Claim]:
    return [claim for claim in load_claims().values() if claim.paper_id == paper_id]


def papers_by_kind(papers: Sequence[Paper]) -> list[tuple[str, list[Paper]]]:
    """Most papers first, then by name; within a kind the ones that define a suite first."""
    groups: dict[str, list[Paper]] = {}
    for paper in papers:
        groups.setdefault(paper.kind_title, []).append(paper)
    for group in groups.values():
        group.sort(key=lambda paper: (paper.priority, paper.title))
    return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))


def _read(name: str, kind: type[T]) -> list[T]:
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # dataclasses only
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return [kind(**{key: row[key].strip() for key in names}) for row in csv.DictReader(file)]
