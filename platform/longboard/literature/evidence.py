"""What we say of each claim: its closed form, or else the newest table that has the numbers."""

from __future__ import annotations

from longboard.literature.catalogue import Claim, load_claims
from longboard.literature.closed_forms import COMPUTED
from longboard.literature.measured import MEASURED
from longboard.literature.measurements import Table, load_tables
from longboard.literature.verdicts import Verdict, judge


def all_verdicts(table: Table | None = None) -> list[Verdict]:
    """Every claim judged: closed forms first, then the newest table that has the numbers (or `table` alone)."""
    return [verdict_of(claim, table) for claim in load_claims().values()]


def verdict_of(claim: Claim, table: Table | None = None) -> Verdict:
    if claim.claim_id in COMPUTED:
        return judge(claim, COMPUTED[claim.claim_id](claim))
    measure = MEASURED.get(claim.claim_id)
    for one in [table] if table else load_tables().values():
        found = measure(claim, one) if measure else None
        if found is not None:
            return judge(claim, found)
    return judge(claim, None)
