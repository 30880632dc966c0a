"""Claims about the longest context: how many tokens fit under the cap, in one pass and in chunks."""

from __future__ import annotations

from longboard.literature.catalogue import Claim
from longboard.literature.claim_figures import (
    CAP,
    SSM,
    TRANSFORMER,
    measured,
)
from longboard.literature.measurements import Table
from longboard.literature.verdicts import Evidence
from longboard_tasks.suites.efficiency.report import Limit


def one_pass_edge(table: Table, system: str, logits: str) -> tuple[int, str] | None:
    """(tokens of one pass under the cap, how that is known): measured to the failure, or by a straight line through the
    peaks of the two longest passes where the search ran out of time. The line is for last-token logits, whose peak is the
    scan's: a lower bound on memory, so an upper bound on tokens with full ones."""
    found = table.limit(system, "one_shot", logits, CAP)  # type: ignore[arg-type]  # one of its words
    if found and found.is_open:
        found = None
    if found and found.ended == "out_of_memory":
        return found.tokens, "measured"
    if found and logits == "full":  # the line below would leave the logits out
        return found.tokens, "at least: the search ran out of time"
    cells = [table.find(system, "prefill", n, reading="one_shot") for n in table.lengths(system, "prefill")]
    peaks = [(c.context_length, c.memory.peak) for c in cells if c and c.memory and not c.failure]
    if len(peaks) < 2 or peaks[-1][1] < 0.25 * CAP:
        return None
    (n0, p0), (n1, p1) = peaks[-2:]
    return int(n1 + (CAP - p1) / ((p1 - p0) / (n1 - n0))), "by a line through measured peaks"


def in_chunks(table: Table, system: str, logits: str) -> Limit | None:
    return table.limit(system, "chunked", logits, CAP)  # type: ignore[arg-type]  # one of its words


def _is_bound(limit: Limit) -> bool:
    """Whether something longer may work."""
    return limit.ended in ("position_limit", "no_time")


def limit_words(table: Table, system: str, logits: str) -> str:
    """One pass and chunks of one System under the cap, in words."""
    parts = []
    one, chunks = one_pass_edge(table, system, logits), in_chunks(table, system, logits)
    if one:
        parts.append(f"one pass {one[0]:,} tokens ({one[1]})")
    if chunks:
        more = "at least " if _is_bound(chunks) else ""
        note = f" ({chunks.says})" if chunks.says and chunks.says.startswith("the logits") else ""
        parts.append(f"in chunks {more}{chunks.tokens:,}{note}")
    return f"{system}, {logits} logits: " + "; ".join(parts) if parts else ""


def longest_of_the_ssm(claim: Claim, table: Table) -> Evidence | None:
    """The claim's own reading is one pass with the logits of the whole prompt."""
    one, chunks = one_pass_edge(table, SSM, "full"), in_chunks(table, SSM, "full")
    if one is None:
        return None
    wanted = float(claim.expected) * (1 - float(claim.tolerance_rel))
    outcome = "in_part" if one[0] < wanted and chunks and chunks.tokens >= wanted else None
    return measured(
        claim, table, (one[0], one[0], one[0]),
        f"Under 24 GiB, stock transformers without kernel packages. {limit_words(table, SSM, 'full')}. What ends one pass is "
        "the memory of the scan in plain torch, not the state; what the figure rests on is whose logits are kept.",
        outcome=outcome,
    )  # fmt: skip


def longest_ratio(claim: Claim, table: Table) -> Evidence | None:
    """In chunks where both were measured so, else in one pass; the other reading stands beside it."""
    logits = "last" if claim.claim_type == "control" else "full"
    a, b = one_pass_edge(table, SSM, logits), one_pass_edge(table, TRANSFORMER, logits)
    x, y = in_chunks(table, SSM, logits), in_chunks(table, TRANSFORMER, logits)
    figures = []
    if x and y and y.tokens and not (_is_bound(x) and _is_bound(y)):  # two lower bounds have no ratio
        figures.append((x.tokens / y.tokens, "in chunks"))
    if a and b:
        figures.append((a[0] / b[0], "in one pass"))
    if not figures:
        return None
    basis = "Under 24 GiB: " + ", ".join(f"{value:.2f}× {how}" for value, how in figures)
    basis += f". {limit_words(table, SSM, logits)}. {limit_words(table, TRANSFORMER, logits)}."
    value = figures[0][0]
    return measured(claim, table, (value, value, value), basis)
