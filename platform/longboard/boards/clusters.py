"""Samples that share a document are not independent: which do."""

from __future__ import annotations

# Samples of one document by (suite, task): so many, one after the other, in each seed.
PER_DOCUMENT = {("niah", "streamed"): 9}


def document_of(suite: str, task: str, seed: int, index: int) -> tuple[int, int]:
    """Samples with equal keys are asked of one document."""
    return seed, index // PER_DOCUMENT.get((suite, task), 1)
