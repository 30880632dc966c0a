"""The methods that drop keys, each with its source, its defaults and how groups of query heads are put together.

Defaults are those of kvpress 0.5.4 (NVIDIA, Apache-2.0; read for its definitions) where it has the method. T tokens in the
context, H query heads in groups of H / HKV for each key-value head. Softmax and sums are in fp32 whatever the model's dtype.
"""

from __future__ import annotations

import random
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.suites.kv.budgets import lazy_counts, pyramid_counts
from longboard_tasks.suites.kv.dropping import ALWAYS, Dropping, View
from longboard_tasks.suites.kv.expected import ExpectedAttention
from longboard_tasks.suites.kv.observing import (
    ColumnSums,
    LastQueries,
    attend_window,
    scale_of,
)


class Random(Dropping):
    """Any token is as good as another: the control. A fixed draw for each (`seed` 0, layer, head, position) decides.

    The same on every device. What is held while decoding stays a uniform sample of all that was read.
    """

    evicts = True
    marks = ("positions",)

    def __init__(self, budget: float, *, question_aware: bool = False, seed: int = 0) -> None:
        super().__init__(budget, question_aware=question_aware)
        self.seed = seed

    def score(self, view: View) -> Tensor:
        salt = random.Random(f"kv/random@1:{self.seed}:{view.number}").getrandbits(62)
        heads = torch.arange(view.keys.shape[1], device=view.keys.device)[:, None] << 40
        return scatter_bits(view.layer.marks["positions"].long() + heads + salt)


class Knorm(Dropping):
    """Keys of the smallest L2 norm, after the rotation, are kept. Devoto et al. 2024 (arXiv:2406.11430)."""

    evicts = True

    def score(self, view: View) -> Tensor:
        return -view.keys.float().norm(dim=-1)


class StreamingLLM(Dropping):
    """The first `n_sink` (4) tokens and the most recent. Xiao et al. 2023 (StreamingLLM, arXiv:2309.17453)."""

    evicts = True
    marks = ("positions",)

    def __init__(self, budget: float, *, question_aware: bool = False, n_sink: int = 4) -> None:
        super().__init__(budget, question_aware=question_aware)
        self.n_sink = n_sink

    def score(self, view: View) -> Tensor:
        score = view.layer.marks["positions"].float()
        return score.masked_fill(score < self.n_sink, ALWAYS)

    def select(self, views: list[View]) -> list[Tensor]:
        count = self.counts(views[0].layer.length, len(views))[0]
        if count <= self.n_sink:  # no room for anything recent: the first of the sinks
            first = torch.arange(count, device=views[0].keys.device)
            return [first.expand(*view.keys.shape[:2], -1) for view in views]
        return super().select(views)


class ObservedAttention(Dropping):
    """Attention that a key got, averaged over the queries that could see it, then over the group: the oracle of the prompt.

    Source: kvpress (after H2O). Here without eager attention: columns are summed in blocks.
    """

    marks = ("scores",)

    def observation(self) -> ColumnSums:
        return ColumnSums()

    def score(self, view: View) -> Tensor:
        sums = view.layer.marks["scores"]
        could_see = torch.arange(sums.shape[-1], 0, -1, device=sums.device)
        return sums / could_see


class H2O(Dropping):
    """Heavy hitters and recent tokens, half of the budget each (the odd one to the heavy). Zhang et al. 2023 (arXiv:2306.14048).

    A key's weight is the attention it got so far, summed over the queries, averaged over the group; it goes on growing
    in decoding, over what is still held. We differ: the paper fixes the size by the prompt, here the budget is a share of
    all tokens read.
    """

    evicts = True
    marks = ("scores", "positions")

    def observation(self) -> ColumnSums:
        return ColumnSums()

    def score(self, view: View) -> Tensor:
        return self.step_score(view, self.counts(view.layer.length, 1)[0])

    def step_score(self, view: View, cap: int) -> Tensor:
        layer = view.layer
        is_recent = layer.marks["positions"] >= layer.seen - cap // 2
        return layer.marks["scores"].masked_fill(is_recent, ALWAYS)


class SnapKV(Dropping):
    """What the last `window_size` (64) queries look at. Li et al. 2024 (SnapKV, arXiv:2404.14469).

    Mean attention of the window's queries to each earlier key, pooled along the text (`pooling` "avg" or "max", `kernel_size` 5),
    averaged over the group. The window itself is kept first; of a budget smaller than it, its most recent tokens.
    Defaults are those of kvpress; the paper's experiments also use windows of 16 and 32 and a kernel of 7 with "max".
    """

    def __init__(
        self, budget: float, *, question_aware: bool = False, window_size: int = 64, kernel_size: int = 5,
        pooling: Literal["avg", "max"] = "avg",
    ) -> None:  # fmt: skip
        super().__init__(budget, question_aware=question_aware)
        if kernel_size % 2 == 0 or window_size < 1 or pooling not in ("avg", "max"):
            raise MethodError(
                f"window_size={window_size}, kernel_size={kernel_size}, pooling={pooling}: the window has at least one "
                'token, the kernel an odd number, and pooling is "avg" or "max".'
            )
        self.window_size, self.kernel_size, self.pooling = window_size, kernel_size, pooling

    def observation(self) -> LastQueries:
        return LastQueries(self.window_size)

    def score(self, view: View) -> Tensor:
        queries = view.observed.queries
        window = min(queries.shape[2], view.layer.length - 1)
        weights = attend_window(queries[:, :, queries.shape[2] - window :], view.keys, scale=scale_of(view.module))
        weights = weights[..., : weights.shape[-1] - window].mean(dim=2)  # [B, H, T - window]
        pool = avg_pool1d if self.pooling == "avg" else max_pool1d
        weights = pool(weights, self.kernel_size, stride=1, padding=self.kernel_size // 2)
        score = weights.view(*view.keys.shape[:2], -1, weights.shape[-1]).mean(dim=2)
        # Above every weight, and rising: a budget smaller than the window keeps its most recent part.
        own = torch.arange(2, 2 + window, dtype=score.dtype, device=score.device)
        return torch.cat([score, own.expand(*score.shape[:2], -1)], dim=-1)


class PyramidKV(SnapKV):
    """SnapKV's scores, more of the budget to the first layers than to the last. Cai et al. 2024 (PyramidKV, arXiv:2406.02069).

    `beta` (20): how steep. `budgets.pyramid_counts` gives the amounts.
    """

    uneven = True

    def __init__(
        self, budget: float, *, question_aware: bool = False, beta: float = 20.0, window_size: int = 64, kernel_size: int = 5,
        pooling: Literal["avg", "max"] = "avg",
    ) -> None:  # fmt: skip
        super().__init__(
            budget, question_aware=question_aware, window_size=window_size, kernel_size=kernel_size, pooling=pooling
        )
        if beta < 1:
            raise MethodError(f"beta={beta} would give the last layers more than the first: use 1 or more.")
        self.beta = beta

    def counts(self, tokens: int, layers: int) -> list[int]:
        return pyramid_counts(tokens, self.budget, layers, window_size=self.window_size, beta=self.beta)


class TOVA(Dropping):
    """What the last query looks at, averaged over all heads: one set for every head of a layer.

    Source: Oren et al. 2024 (arXiv:2401.06104). The last token is always kept (as in kvpress;
    the paper lets it go like any other).
    """

    evicts = True

    def observation(self) -> LastQueries:
        return LastQueries(1)

    def score(self, view: View) -> Tensor:
        weights = attend_window(view.observed.queries, view.keys, scale=scale_of(view.module))[:, :, 0]  # [B, H, T]
        score = weights.mean(dim=1, keepdim=True)
        score[..., -1] = ALWAYS
        return score.expand(-1, view.keys.shape[1], -1).contiguous()


class LazyLayers(Dropping):
    """Some layers keep everything, the lazy ones only sinks and recent tokens.

    After Zhang et al. 2024 (LightTransfer, arXiv:2410.13846). A layer is the lazier, the more of the attention of the last
    `n_last` (64) queries goes to the first `n_sink` (4) and the last `n_recent` (1,020) tokens, averaged over heads (and the
    prompts of a batch). We differ: the paper makes half of the layers lazy; here the budget decides how many stay whole
    (`budgets.lazy_counts`) and what the lazy ones keep.
    """

    uneven = True

    def __init__(
        self, budget: float, *, question_aware: bool = False, n_sink: int = 4, n_recent: int = 1_020, n_last: int = 64
    ) -> None:
        super().__init__(budget, question_aware=question_aware)
        self.n_sink, self.n_recent, self.n_last = n_sink, n_recent, n_last

    def observation(self) -> LastQueries:
        return LastQueries(self.n_last)

    def laziness(self, view: View) -> Tensor:
        weights = attend_window(view.observed.queries, view.keys, scale=scale_of(view.module)).mean(dim=(0, 1, 2))
        recent = min(self.n_recent, weights.shape[0] // 4)  # of a short prompt, what is recent is less
        return weights[: self.n_sink].sum() + weights[weights.shape[0] - recent :].sum()

    def select(self, views: list[View]) -> list[Tensor]:
        tokens = views[0].layer.length
        whole, count = lazy_counts(tokens, self.budget, len(views))
        laziness = torch.stack([self.laziness(view) for view in views])
        busy = set(laziness.argsort(stable=True)[:whole].tolist())
        everything = torch.arange(tokens, device=views[0].keys.device)
        first = min(self.n_sink, count)
        kept = torch.cat([everything[:first], everything[tokens - (count - first) :]])
        return [(everything if view.number in busy else kept).expand(*view.keys.shape[:2], -1) for view in views]


def scatter_bits(numbers: Tensor) -> Tensor:
    """int64 -> fp64 in [0, 1), as good as random: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = numbers * -7046029254386353131  # 0x9E3779B97F4A7C15, signed; products wrap
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        mixed = (mixed ^ ((mixed >> shift) & ((1 << (64 - shift)) - 1))) * factor
    mixed = mixed ^ ((mixed >> 31) & ((1 << 33) - 1))
    return ((mixed >> 11) & ((1 << 53) - 1)).double() / (1 << 53)


POLICIES: dict[str, type[Dropping]] = {
    "random": Random,
    "streaming_llm": StreamingLLM,
    "h2o": H2O,
    "tova": TOVA,
    "knorm": Knorm,
    "snapkv": SnapKV,
    "pyramidkv": PyramidKV,
    "expected_attention": ExpectedAttention,
    "observed_attention": ObservedAttention,
    "lazy_layers": LazyLayers,
}
