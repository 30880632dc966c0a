"""What we say of each claim: its closed form, a device's table, a benchmark's file, or the results that this site has."""

from __future__ import annotations

from longboard.literature.bench_figures import BENCHED
from longboard.literature.catalogue import Claim, load_claims
from longboard.literature.closed_forms import COMPUTED
from longboard.literature.measured import MEASURED
from longboard.literature.measurements import Table, load_tables
from longboard.literature.site_figures import SITE
from longboard.literature.verdicts import Evidence, Verdict, judge


def all_verdicts() -> list[Verdict]:
    return [verdict_of(claim) for claim in load_claims().values()]


def verdict_of(claim: Claim, table: Table | None = None) -> Verdict:
    """By the claim's own kind of figure: a formula, the newest table that has the numbers (or `table` alone), a file, results."""
    return judge(claim, _evidence(claim, table))


def _evidence(claim: Claim, table: Table | None) -> Evidence | None:
    for figures in (COMPUTED, BENCHED, SITE):
        if claim.claim_id in figures:
            return figures[claim.claim_id](claim)
    measure = MEASURED.get(claim.claim_id)
    for one in [table] if table else load_tables().values():
        found = measure(claim, one) if measure else None
        if found is not None:
            return found
    return None
