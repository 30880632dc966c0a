"""A claim's row in words: when it holds, how it is compared, what tests it."""

from __future__ import annotations

import math

from longboard.literature.catalogue import Claim
from longboard.literature.verdicts import borders, has_sides

COMPARED = {
    "value": "the figure itself",
    "ratio_base_over_subject": "the other's figure over the subject's",
    "ratio_subject_over_base": "the subject's figure over the other's",
    "difference_points": "the subject's score less the other's, in points",
    "difference": "the subject's figure less the other's",
    "rel_error": "the prediction's relative error",
    "slope_loglog": "the slope of its logarithm over that of the length: 1 is linear",
    "relative_gain_pct": "the subject's gain over the other, in per cent",
    "reduction_pct": "what the subject saves of the other's, in per cent",
    "crossover_length": "the length at which the two meet",
    "share_pct": "a share, in per cent",
    "retention_pct": "what the subject keeps of the other's, in per cent",
    "spearman": "the rank correlation",
    "r_squared": "the coefficient of determination of a fit",
    "ratio_measured_over_bound": "the measured figure over its bound",
    "pareto_membership": "points of the front that are the subject's",
    "count_above_chance": "how many are above chance",
    "count_at_or_above": "how many reach the other",
    "rank_changes": "how often the ranking changes",
    "relative_loss_pct": "the subject's loss against the other, in per cent",
    "ratio_to_formula": "the measured figure over the formula's",
}
TAKEN = {
    "at_point": "at one point",
    "curve": "over the whole curve",
    "beyond_bound": "beyond the bound",
    "at_longest": "at the longest length",
    "at_last_example": "at the last example",
}
TESTED = {
    "random weights": "random weights of the real shape",
    "train small": "small models trained alike",
    "catalogue": "the published figure alone",
    "real pretrained": "pretrained models",
    "analytic": "a formula",
    "config check": "a look at the configuration",
    "simulation": "a simulation",
}
KINDS = {
    "paper": "as the paper says it",
    "derived": "follows from what the paper says",
    "revision": "of a later version of the paper",
    "control": "our control of another claim",
    "coverage": "what a benchmark must cover",
}


def figure_word(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return f"{text} {unit}".rstrip().replace("-", "−")


def rule_text(claim: Claim) -> str:
    """When it holds, with the tolerance worked in; twice where that depends on the hardware."""
    if claim.verdict_rule == "report_only":
        return "Our figure is shown beside the paper's, and nothing is judged"
    if not claim.expected and claim.verdict_rule != "between":
        return f"Ours is held against {claim.expected_expr}" if claim.expected_expr else "No figure is named"
    here, elsewhere = (_range(claim, same_class=same) for same in (True, False))
    says = f"It holds {here}"
    if here != elsewhere:
        says += f" on the paper's class of hardware, {elsewhere} elsewhere"
    return says + ("; in part on the claimed side of no difference" if has_sides(claim) else "")


def _range(claim: Claim, *, same_class: bool) -> str:
    low, high = borders(claim, same_class=same_class)
    if math.isinf(high):
        return f"at {figure_word(low, claim.unit_word)} or more"
    if math.isinf(low):
        return f"at {figure_word(high, claim.unit_word)} or less"
    if low == high:
        return f"at {figure_word(low, claim.unit_word)} exactly"
    return f"from {figure_word(low, '')} to {figure_word(high, claim.unit_word)}"


def compared_text(claim: Claim) -> str:
    taken = TAKEN.get(claim.aggregate) or claim.aggregate.replace("_over_", " over the ").replace("_and_", " and ")
    return f"{COMPARED[claim.compare]}; {taken}".replace("max over", "the largest over").replace(
        "min over", "the least over"
    )


def kind_text(claim: Claim) -> str:
    return f"{KINDS[claim.claim_type]}; tested with {TESTED[claim.fidelity]}"


def paper_hardware_text(claim: Claim) -> str:
    """ "-" stands for a paper that names none; what follows it is a remark."""
    return claim.paper_hardware.removeprefix("-").strip() or "not stated"
