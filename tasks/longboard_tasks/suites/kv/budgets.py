"""How many keys a budget leaves, in each layer. No torch here."""

from __future__ import annotations


def kept_count(tokens: int, budget: float) -> int:
    """Keys that `budget` (share kept) leaves of `tokens`: the whole part of the product, and one at least.

    kvpress counts int(n * (1 - r)) with r the share removed: the same for budgets that are powers of two. It may keep none.
    """
    return min(tokens, max(1, int(tokens * budget)))


def pyramid_counts(tokens: int, budget: float, layers: int, *, window_size: int, beta: float) -> list[int]:
    """Keys for each layer, falling linearly from the first to the last, `budget` of all tokens on average.

    Source: Cai et al. 2024 (PyramidKV, arXiv:2406.02069), section 4.1, with the amounts of kvpress: the last layer gets
    tokens * budget / beta, the first twice the mean less that; no layer more than tokens - window_size. Where that leaves a layer
    less than the window, or there is one layer, every layer gets the mean, rounded.
    """
    mean = tokens * budget
    least = mean / beta
    most = 2 * mean - least
    if most >= tokens - window_size:
        most = tokens - window_size
        least = 2 * mean - most
    if layers < 2 or not tokens >= most >= least >= window_size:
        return [max(1, round(mean))] * layers
    step = (most - least) / (layers - 1)
    return [round(most - layer * step) for layer in range(layers)]


def lazy_counts(tokens: int, budget: float, layers: int) -> tuple[int, int]:
    """(layers that stay whole, keys of each of the others): half of the budget to either, as near as whole layers allow."""
    whole = min(int(budget * layers / 2 + 0.5), int(budget * layers))
    rest = int(budget * layers * tokens) - whole * tokens
    return whole, max(1, rest // max(1, layers - whole))
