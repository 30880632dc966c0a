"""Samples that share a document are not independent: which do, and the interval of a share that allows for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import fmean

from longboard_tasks.intervals import Z95, wilson

# Samples of one document by (suite, task): so many, one after the other, in each seed.
PER_DOCUMENT = {("niah", "streamed"): 9}


def document_of(suite: str, task: str, seed: int, index: int) -> tuple[int, int]:
    """Samples with equal keys are asked of one document."""
    return seed, index // PER_DOCUMENT.get((suite, task), 1)


def clustered_wilson(scores: Sequence[float], documents: Sequence[Hashable]) -> tuple[float, float]:
    """95 % interval of the mean score of samples that share documents: Wilson's with n over the design effect.

    The design effect (Kish 1965) is the variance between documents over that of independent samples, at least 1. With a
    document for each sample this is Wilson's own interval. Few documents cannot show how alike their samples are: below
    ten, each counts as one sample.
    """
    share, n = fmean(scores), len(scores)
    sums: dict[Hashable, float] = defaultdict(float)
    sizes: dict[Hashable, int] = defaultdict(int)
    for score, document in zip(scores, documents, strict=True):
        sums[document] += score - share
        sizes[document] += 1
    groups = len(sums)
    if groups == n:
        return wilson(share, n)
    effective = groups
    if groups >= 10 and 0 < share < 1:
        between = groups / (groups - 1) * sum(total**2 for total in sums.values()) / n**2
        effect = between / (share * (1 - share) / n)
        effective = min(n, max(groups, round(n / effect))) if effect > 1 else n
        # The design effect is itself an estimate from few documents: Student's quantile in place of the normal one.
        student = Z95 + (Z95**3 + Z95) / (4 * (groups - 1))
        effective = max(1, round(effective * (Z95 / student) ** 2))
    return wilson(share, effective)
