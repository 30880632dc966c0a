"""K7: log-probabilities of given tokens from hidden states; the logits exist a tile at a time, in registers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import multiprocessors, runs_triton
from longboard_kernels.errors import require

TOGETHER = 16  # blocks of rows whose programs run side by side: they share what the L2 cache holds of the vocabulary
MOST_PARTS = 2**22  # running numbers of one kind that are kept at once


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Of each position: logprobs [T] fp32 in nats, of its target; best [T] int64, the token with the highest logit (the first
    of equals); best_logprobs [T] fp32, of that token."""

    logprobs: Tensor
    best: Tensor
    best_logprobs: Tensor


def token_logprobs(hidden: Tensor, head: Tensor, targets: Tensor, *, bias: Tensor | None = None) -> TokenScores:
    """log_softmax(hidden head^T + bias) at `targets`.

    hidden   [T, E]  fp32, fp16 or bf16, stride 1 in E
    head     [V, E]  dtype of hidden, stride 1 in E
    targets  [T]     int64, 0 to V - 1
    bias     [V]     or None

    A program multiplies a block of rows with a run of tiles of the vocabulary and folds each tile from its registers into a
    running maximum, sum, target and argmax; what the runs found is joined at the end. No logit reaches memory.
    Source: the online softmax of Milakov and Gimelshein 2018 (arXiv:1805.02867); over a vocabulary: Wijmans et al. 2024 (Cut
    Cross-Entropy, arXiv:2411.09009). Held to `token_logprobs_ref`: 1e-3 absolute, the argmax equal but for ties.
    Cost: 2 T E V FLOPs; compute-bound. Memory: four numbers a row and run, at most 64 MiB.
    Raises KernelInputError for shapes, strides or dtypes that do not belong together.
    """
    require(
        hidden.dtype == head.dtype, f"hidden is {hidden.dtype} and head {head.dtype}; token_logprobs needs one dtype."
    )
    require(hidden.shape[1] == head.shape[1], f"hidden has {hidden.shape[1]} channels, head {head.shape[1]}.")
    require(
        targets.shape == hidden.shape[:1], f"targets has shape {tuple(targets.shape)} for {hidden.shape[0]} positions."
    )
    require(hidden.stride(1) == 1 == head.stride(1), "token_logprobs needs hidden and head with stride 1 at the end.")
    if not runs_triton(hidden):
        return token_logprobs_ref(hidden, head, targets, bias=bias)
    (count, channels), vocabulary, device = hidden.shape, head.shape[0], hidden.device
    single = hidden.dtype == torch.float32
    config = tuned.choose("token_logprobs", "fp32" if single else "")
    blocks, tiles = triton.cdiv(count, config["rows"]), triton.cdiv(vocabulary, config["columns"])
    runs = choose_runs(blocks, tiles, multiprocessors(device), max(1, MOST_PARTS // max(count, 1)))
    span = triton.cdiv(tiles, runs)
    runs = triton.cdiv(tiles, span)
    tops, sums, found = torch.empty(3, runs, count, dtype=torch.float32, device=device)
    best = torch.empty(runs, count, dtype=torch.int32, device=device)
    _fold[(blocks * runs,)](
        hidden, head, targets, bias if bias is not None else tops, tops, sums, found, best, count, vocabulary, channels,
        hidden.stride(0), head.stride(0), blocks, runs, span,
        HAS_BIAS=bias is not None, BM=config["rows"], BN=config["columns"], BK=config["channels"], TOGETHER=TOGETHER,
        EVEN=channels % config["channels"] == 0, WHOLE=vocabulary % config["columns"] == 0,
        PRECISION="ieee" if single else "tf32", num_warps=config["num_warps"], num_stages=config["num_stages"],
    )  # fmt: skip
    top = tops.amax(0)
    spread = (sums * (tops - top).exp()).sum(0).log()
    best = best.masked_fill(tops < top, vocabulary).amin(0)
    return TokenScores(found.amax(0) - top - spread, best.long(), -spread)


def choose_runs(blocks: int, tiles: int, programs: int, most: int) -> int:
    """Into how many runs of tiles the vocabulary is cut for each block of rows, so that the last of `programs` at a time ends
    soonest, at most `most`; of equals the fewest."""

    def ends(runs: int) -> int:
        return -(-blocks * runs // programs) * -(-tiles // runs)

    return min(range(1, max(1, min(tiles, programs, most)) + 1), key=ends)


def token_logprobs_ref(hidden: Tensor, head: Tensor, targets: Tensor, *, bias: Tensor | None = None) -> TokenScores:
    """The definition: same contract, plain PyTorch, any device; 512 positions at a time."""
    parts = []
    for part, wanted in zip(hidden.split(512), targets.split(512), strict=True):
        logits = part.float() @ head.float().T + (bias.float() if bias is not None else 0.0)
        logs = logits.log_softmax(-1)
        best = logits.argmax(-1)
        parts.append((logs.gather(-1, wanted[:, None])[:, 0], best, logs.gather(-1, best[:, None])[:, 0]))
    return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))


def token_logprobs_cost(*, tokens: int, hidden: int, vocabulary: int, itemsize: int = 2) -> Cost:
    return Cost(nbytes=float((tokens + vocabulary) * hidden * itemsize), flops=2.0 * tokens * hidden * vocabulary)


@triton.jit
def _fold(
    HIDDEN, HEAD, TARGETS, BIAS, TOPS, SUMS, FOUND, BEST, T, V, E, ht, hv, BLOCKS, RUNS, SPAN,
    HAS_BIAS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, TOGETHER: tl.constexpr, EVEN: tl.constexpr,
    WHOLE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One block of rows against one run of tiles of the vocabulary."""
    group = tl.program_id(0) // (TOGETHER * RUNS)
    inside = tl.program_id(0) % (TOGETHER * RUNS)
    rows = tl.minimum(BLOCKS - group * TOGETHER, TOGETHER)
    m0 = (group * TOGETHER + inside % rows) * BM
    run = inside // rows
    m = m0 + tl.arange(0, BM)
    n = tl.arange(0, BN)
    e = tl.arange(0, BK)
    # Rows and words past the end are read as the last one: no mask in the loop over channels.
    h_p = HIDDEN + tl.minimum(m, T - 1)[:, None].to(tl.int64) * ht + e[None, :]
    target = tl.load(TARGETS + m, mask=m < T, other=-1).to(tl.int32)
    top = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    found = tl.full((BM,), float("-inf"), tl.float32)
    best = tl.zeros((BM,), tl.int32)
    for tile in tl.range(run * SPAN, tl.minimum((run + 1) * SPAN, tl.cdiv(V, BN))):
        word = tile * BN + n
        w_p = HEAD + tl.minimum(word, V - 1)[None, :].to(tl.int64) * hv + e[:, None]
        x = tl.zeros((BM, BN), tl.float32)
        for e0 in tl.range(0, E, BK):
            if EVEN:
                a = tl.load(h_p + e0)
                w = tl.load(w_p + e0)
            else:
                a = tl.load(h_p + e0, mask=(e0 + e < E)[None, :], other=0.0)
                w = tl.load(w_p + e0, mask=(e0 + e < E)[:, None], other=0.0)
            x = tl.dot(a, w, x, input_precision=PRECISION)
        if HAS_BIAS:
            x += tl.load(BIAS + word, mask=word < V, other=0.0).to(tl.float32)[None, :]
        if not WHOLE:
            x = tl.where((word < V)[None, :], x, float("-inf"))
        here = tl.max(x, 1)
        # The smallest index of the largest: of equal logits the first is the argmax, as in torch.
        first = tl.min(tl.where(x == here[:, None], word[None, :], 2147483647), 1)
        best = tl.where(here > top, first, best)
        new = tl.maximum(top, here)
        shift = new * 1.4426950408889634
        total = total * tl.exp2(top * 1.4426950408889634 - shift)
        total += tl.sum(tl.exp2(x * 1.4426950408889634 - shift[:, None]), 1)
        top = new
        wanted = (target >= tile * BN) & (target < tile * BN + BN)
        if tl.max(wanted.to(tl.int32), 0) > 0:  # few tiles hold a target of these rows
            own = tl.max(tl.where(word[None, :] == target[:, None], x, float("-inf")), 1)
            found = tl.maximum(found, own)
    out = run.to(tl.int64) * T + m
    tl.store(TOPS + out, top, mask=m < T)
    tl.store(SUMS + out, total, mask=m < T)
    tl.store(FOUND + out, found, mask=m < T)
    tl.store(BEST + out, best, mask=m < T)
