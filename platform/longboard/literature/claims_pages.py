"""The Claims and Literature pages: what papers say, what we measured, and the verdict. Frozen rows with finished text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from longboard.literature.catalogue import Claim, Paper, claims_of, load_claims, load_papers, papers_by_kind
from longboard.literature.evidence import all_verdicts
from longboard.literature.measurements import load_tables
from longboard.literature.site_figures import results_version
from longboard.literature.verdicts import WORDS, Verdict
from longboard.literature.wording import compared_text, figure_word, kind_text, paper_hardware_text, rule_text
from longboard.quantities import many_text


@dataclass(frozen=True, slots=True)
class ClaimLine:
    verdict: Verdict
    paper: Paper | None
    ours: str
    interval: str

    @property
    def claim(self) -> Claim:
        return self.verdict.claim

    @property
    def facts(self) -> dict[str, str]:
        """How it is judged, in words."""
        return {
            "rule": rule_text(self.claim),
            "compared": compared_text(self.claim),
            "kind": kind_text(self.claim),
            "paper_hardware": paper_hardware_text(self.claim),
        }


def claim_line(verdict: Verdict) -> ClaimLine:
    ours = interval = ""
    e = verdict.evidence
    if e is not None:
        word = verdict.claim.unit_word
        ours = "none" if e.value == float("inf") else figure_word(e.value, word)
        if e.low != e.high:
            interval = f"{figure_word(e.low, '')} to {figure_word(e.high, '')}"
    return ClaimLine(verdict, load_papers().get(verdict.claim.paper_id), ours, interval)


@dataclass(frozen=True, slots=True)
class ClaimsPage:
    lines: list[ClaimLine]
    counts: Sequence[tuple[str, str, int]]  # (outcome, words, number) over all claims
    outcome: str
    paper: str
    suite: str
    papers: list[Paper]
    suites: list[str]
    total: int


def claims_page(*, outcome: str = "", paper: str = "", suite: str = "") -> ClaimsPage:
    """Unknown filters count as none."""
    everything = _all_lines()
    outcome = outcome if outcome in WORDS else ""
    suites = sorted({line.claim.suite for line in everything if line.claim.suite != "-"})
    suite = suite if suite in suites else ""
    papers = [p for p in load_papers().values() if claims_of(p.id)]
    paper = paper if any(p.id == paper for p in papers) else ""
    lines = [
        line
        for line in everything
        if outcome in ("", line.verdict.outcome)
        and paper in ("", line.claim.paper_id)
        and suite in ("", line.claim.suite)
    ]
    order = {name: i for i, name in enumerate(WORDS)}
    lines.sort(key=lambda line: (order[line.verdict.outcome], line.claim.priority, line.claim.claim_id))
    counts = [(name, word, sum(x.verdict.outcome == name for x in everything)) for name, word in WORDS.items()]
    return ClaimsPage(
        lines, counts, outcome, paper, suite, sorted(papers, key=lambda p: p.title), suites, len(everything)
    )


def _all_lines() -> tuple[ClaimLine, ...]:
    """One statement while no result has changed."""
    return _lines_as_of(results_version())


@lru_cache(maxsize=1)
def _lines_as_of(version: str) -> tuple[ClaimLine, ...]:
    return tuple(claim_line(verdict) for verdict in all_verdicts())


CSV_HEAD = (
    "claim", "paper", "statement", "rule", "expected", "unit", "recalled", "verdict", "ours", "low", "high", "hardware",
    "measured_on", "basis",
)  # fmt: skip


def claim_rows() -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for line in _all_lines():
        c, e = line.claim, line.verdict.evidence
        ours = (e.value, e.low, e.high, e.hardware, e.measured_on) if e else ("", "", "", "", "")
        expected = c.expected or f"{c.expected_low}..{c.expected_high}" if c.expected or c.expected_low else ""
        head = (c.claim_id, c.paper_id, c.statement, c.verdict_rule, expected, c.unit, c.is_recalled)
        rows.append((*head, line.verdict.word, *ours, line.verdict.says))
    return rows


def claim_detail(claim_id: str) -> tuple[ClaimLine, list[ClaimLine]] | None:
    """The claim, and the others of its paper."""
    claim = load_claims().get(claim_id)
    if claim is None:
        return None
    lines = {line.claim.claim_id: line for line in _all_lines()}
    others = [lines[other.claim_id] for other in claims_of(claim.paper_id) if other.claim_id != claim_id]
    return lines[claim_id], others


def paper_lines(paper_id: str) -> list[ClaimLine]:
    return [line for line in _all_lines() if line.claim.paper_id == paper_id]


def literature_page(*, kind: str = "", search: str = "") -> tuple[list[tuple[str, list[tuple[Paper, str]]]], list[str]]:
    """(kinds with papers and their status, all kinds)."""
    papers = list(load_papers().values())
    kinds = [title for title, _ in papers_by_kind(papers)]
    wanted = search.lower()
    papers = [
        p
        for p in papers
        if (not kind or p.kind_title == kind)
        and (not wanted or wanted in f"{p.title} {p.family} {p.headline_claims}".lower())
    ]
    lines: dict[str, list[ClaimLine]] = defaultdict(list)
    for line in _all_lines():
        lines[line.claim.paper_id].append(line)
    groups = papers_by_kind(papers)
    return [(title, [(p, paper_status(p, lines[p.id])) for p in group]) for title, group in groups], kinds


def paper_status(paper: Paper, lines: Sequence[ClaimLine]) -> str:
    """How its claims, `lines`, stand, in one phrase."""
    judged = [line for line in lines if line.verdict.outcome != "not_measured"]
    if judged:
        counts = {
            word: sum(x.verdict.word == word for x in judged) for word in dict.fromkeys(x.verdict.word for x in judged)
        }
        return f"{len(judged)} of {many_text(len(lines), 'claim')} measured: " + ", ".join(
            f"{n} {word if n == 1 else _plural(word)}" for word, n in counts.items()
        )
    if lines:
        return f"{many_text(len(lines), 'claim')}, {'not' if len(lines) == 1 else 'none'} measured yet"
    return paper.runnable


def _plural(word: str) -> str:
    """Of a verdict's word: 2 hold, 5 do not hold here."""
    return word.replace("does not", "do not").replace("holds", "hold")


def stand_ins(paper: Paper) -> list[tuple[str, str]]:
    """(shape id, slug of the newest table that measured it or "") of the Systems that stand for a paper."""
    return [
        (name, next((slug for slug, table in load_tables().items() if name in table.systems), ""))
        for name in paper.stand_ins
    ]
