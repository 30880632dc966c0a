"""From a claim and a measured figure to a verdict, by the rule that the claim's row names. Nothing is typed in by hand.

    e expected, t tolerance of the hardware class, m measured
    at_least    holds if m >= e - t|e|
    at_most     holds if m <= e + t|e|
    within      holds if |m - e| <= t|e|; for ratios |ln(m/e)| <= ln(1 + t)
    between     holds inside the bounds
    equal       holds if equal, or within t

Otherwise the claim holds in part when m is on its side of parity (a ratio beyond 1, a difference above 0), and does not hold
here when it is not. A row whose interval reaches over the border of its verdict says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from longboard.literature.catalogue import Claim

# Compared with nothing: there is no side to be on.
SINGLE_FIGURES = (
    "value", "rel_error", "r_squared", "slope_loglog", "crossover_length", "share_pct", "ratio_measured_over_bound",
)  # fmt: skip

Outcome = Literal["holds", "in_part", "fails", "reported", "not_measured"]
WORDS: dict[Outcome, str] = {
    "holds": "holds",
    "in_part": "holds in part",
    "fails": "does not hold here",
    "reported": "shown beside it",
    "not_measured": "not measured",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Our figure for one claim, in the claim's unit. `low` and `high`: its interval, equal to it for closed forms."""

    value: float
    low: float
    high: float
    basis: str  # what was compared, for the page
    hardware: str  # "" for a closed form
    measured_on: str = ""  # date
    same_class: bool = False  # is it the paper's hardware class?
    scaled: bool = False  # another size, length or system than the claim names
    outcome: Outcome | None = None  # for the few that a figure alone does not decide
    url: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    claim: Claim
    evidence: Evidence | None
    outcome: Outcome
    sure: bool  # both ends of the interval give the same outcome
    says: str

    @property
    def word(self) -> str:
        return WORDS[self.outcome]

    @property
    def badges(self) -> list[str]:
        found = []
        if self.evidence:
            if not self.evidence.hardware:
                found.append("closed form")
            elif not self.evidence.same_class and "independent" not in self.claim.hardware_note:
                found.append("other hardware")
            if self.evidence.scaled:
                found.append("scaled")
            if not self.sure:
                found.append("interval crosses the border")
            if self.outcome == "holds" and _misses(self.claim, self.evidence.value):
                found.append("within the tolerance")
        if self.claim.is_recalled:
            found.append("figure recalled")
        if self.claim.claim_type != "paper":
            found.append(self.claim.claim_type)
        return found


def judge(claim: Claim, evidence: Evidence | None) -> Verdict:
    if evidence is None:
        return Verdict(claim, None, "not_measured", True, claim.needs)
    if evidence.outcome is not None:
        return Verdict(claim, evidence, evidence.outcome, True, evidence.basis)
    if claim.verdict_rule == "report_only":
        return Verdict(claim, evidence, "reported", True, evidence.basis)
    outcomes = {_outcome(claim, m, same_class=evidence.same_class) for m in (evidence.low, evidence.high)}
    return Verdict(
        claim,
        evidence,
        _outcome(claim, evidence.value, same_class=evidence.same_class),
        len(outcomes) == 1,
        evidence.basis,
    )


def _outcome(claim: Claim, m: float, *, same_class: bool) -> Outcome:
    if _holds(claim, m, same_class=same_class):
        return "holds"
    return "in_part" if _on_claimed_side(claim, m) else "fails"


def _holds(claim: Claim, m: float, *, same_class: bool) -> bool:
    low, high = borders(claim, same_class=same_class)
    return low - 1e-9 * abs(low) <= m <= high + 1e-9 * abs(high)


def _misses(claim: Claim, m: float) -> bool:
    """Short of the paper's own bound, though within what the rule allows."""
    if claim.verdict_rule not in ("at_least", "at_most"):
        return False
    beyond = m - float(claim.expected)
    return beyond < 0 if claim.verdict_rule == "at_least" else beyond > 0


def borders(claim: Claim, *, same_class: bool) -> tuple[float, float]:
    """Between which figures the claim holds; infinite where it has no such side."""
    if claim.verdict_rule == "between":
        return float(claim.expected_low), float(claim.expected_high)
    e = float(claim.expected)
    tolerance = float((claim.tolerance_rel if same_class else claim.tolerance_rel_other_hw) or 0)
    below, above = e - tolerance * abs(e), e + tolerance * abs(e)
    if claim.verdict_rule == "at_least":
        return below, math.inf
    if claim.verdict_rule == "at_most":
        return -math.inf, above
    if claim.unit == "ratio" and e > 0:
        return e / (1 + tolerance), above  # the same factor both ways
    return below, above


def has_sides(claim: Claim) -> bool:
    """Whether a figure that misses the expected one can be on its side of "no difference", so that it holds in part."""
    if claim.compare in SINGLE_FIGURES or not claim.expected:
        return False
    beyond = float(claim.expected) - _parity(claim)
    # "No more than", "no less than": missing it is missing all of it.
    return {"at_most": beyond < 0, "at_least": beyond > 0}.get(claim.verdict_rule, beyond != 0)


def _parity(claim: Claim) -> float:
    return 1.0 if claim.compare.startswith("ratio") else 0.0


def _on_claimed_side(claim: Claim, m: float) -> bool:
    return has_sides(claim) and (m - _parity(claim)) * (float(claim.expected) - _parity(claim)) > 0
