"""K7: log-probabilities of given tokens from hidden states; the logits exist a tile at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.cost import Cost
from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require

LEAST_REPLAYED = 3  # blocks of rows from which a graph pays


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Of each position: logprobs [T] fp32 in nats, of its target; best [T] int64, the token with the highest logit (the first
    of equals); best_logprobs [T] fp32, of that token."""

    logprobs: Tensor
    best: Tensor
    best_logprobs: Tensor


def token_logprobs(hidden: Tensor, head: Tensor, targets: Tensor, *, bias: Tensor | None = None) -> TokenScores:
    """log_softmax(hidden head^T + bias) at `targets`.

    hidden   [T, E]  fp32, fp16 or bf16
    head     [V, E]  dtype of hidden
    targets  [T]     int64, 0 to V - 1
    bias     [V]     or None

    A tile of tokens x vocabulary is multiplied by the library (fp32 out) and folded into a running maximum, sum, target and
    argmax by our kernel, on a second stream while the next tile is multiplied; many blocks of rows replay one CUDA graph.
    Nothing of size T x V exists.
    Source: the online softmax of Milakov and Gimelshein 2018 (arXiv:1805.02867); over a vocabulary: Wijmans et al. 2024 (Cut
    Cross-Entropy, arXiv:2411.09009). Held to `token_logprobs_ref`: 1e-3 absolute, the argmax equal but for ties.
    Cost: 2 T E V FLOPs; compute-bound. Memory: two tiles of 32 MiB.
    Raises KernelInputError for shapes or dtypes that do not belong together.
    """
    require(
        hidden.dtype == head.dtype, f"hidden is {hidden.dtype} and head {head.dtype}; token_logprobs needs one dtype."
    )
    require(hidden.shape[1] == head.shape[1], f"hidden has {hidden.shape[1]} channels, head {head.shape[1]}.")
    require(
        targets.shape == hidden.shape[:1], f"targets has shape {tuple(targets.shape)} for {hidden.shape[0]} positions."
    )
    if not runs_triton(hidden):
        return token_logprobs_ref(hidden, head, targets, bias=bias)
    config = tuned.choose("token_logprobs", "bf16" if hidden.dtype == torch.bfloat16 else "")
    rows, columns = min(config["rows"], hidden.shape[0]), min(config["columns"], head.shape[0])
    count, device = hidden.shape[0], hidden.device
    stats = torch.empty(3, count, dtype=torch.float32, device=device)  # running maximum, sum, target's logit
    best = torch.empty(count, dtype=torch.int64, device=device)
    tiles = [torch.empty(rows * columns, dtype=torch.float32, device=device) for _ in range(2)]

    def score(part: Tensor, wanted: Tensor, into: Tensor, winners: Tensor) -> None:
        _score_rows(part, head, wanted, bias, into, winners, tiles, columns, config)

    done = 0
    if device.type == "cuda" and count >= LEAST_REPLAYED * rows and not torch.cuda.is_current_stream_capturing():
        done = _replay_rows(hidden, targets, stats, best, rows, score)
    for first in range(done, count, rows):
        last = min(first + rows, count)
        score(hidden[first:last], targets[first:last], stats[:, first:last], best[first:last])
    spread = stats[1].log()
    return TokenScores(stats[2] - stats[0] - spread, best, -spread)


def _score_rows(
    part: Tensor, head: Tensor, targets: Tensor, bias: Tensor | None, stats: Tensor, best: Tensor, tiles: list[Tensor],
    columns: int, config: Mapping[str, int],
) -> None:  # fmt: skip
    """Fold the whole vocabulary into the running numbers of a few rows: stats [3, n] of any row stride, best [n]."""
    with _Pipeline(part.device) as pipeline:
        for number, left in enumerate(range(0, head.shape[0], columns)):
            words = head[left : left + columns]
            logits = tiles[number % 2][: part.shape[0] * words.shape[0]].view(part.shape[0], words.shape[0])
            with pipeline.filling(number % 2):
                if part.device.type == "cuda" and part.dtype != torch.float32:
                    torch.mm(part, words.T, out_dtype=torch.float32, out=logits)
                else:
                    torch.mm(part.float(), words.T.float(), out=logits)
            with pipeline.emptying(number % 2):
                _fold[(part.shape[0],)](
                    logits, targets, bias if bias is not None else logits, stats, best, left, stats.stride(0), words.shape[0],
                    IS_FIRST=left == 0, HAS_BIAS=bias is not None, BLOCK=config["block"], num_warps=config["num_warps"],
                )  # fmt: skip


def _replay_rows(
    hidden: Tensor, targets: Tensor, stats: Tensor, best: Tensor, rows: int, score: Callable[..., None]
) -> int:
    """Score whole blocks of rows by one CUDA graph, replayed: launching a tile takes the host longer than the GPU.

    Returns how many rows are done. The first block runs without the graph, which needs libraries and kernels that are loaded.
    """
    score(hidden[:rows], targets[:rows], stats[:, :rows], best[:rows])
    part, wanted = hidden[:rows].clone(), targets[:rows].clone()
    into, winners = torch.empty_like(stats[:, :rows]), torch.empty_like(best[:rows])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        score(part, wanted, into, winners)
    done = rows
    for first in range(rows, hidden.shape[0] - rows + 1, rows):
        done = first + rows
        part.copy_(hidden[first:done])
        wanted.copy_(targets[first:done])
        graph.replay()
        stats[:, first:done].copy_(into)
        best[first:done].copy_(winners)
    return done


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


class _Pipeline:
    """Two tiles in turn: one is filled on the caller's stream while the other is emptied on a second. On a CPU, one by one."""

    def __init__(self, device: torch.device) -> None:
        self.main: Any = torch.cuda.current_stream(device) if device.type == "cuda" else None
        self.side: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.emptied: list[Any] = [None, None]

    def __enter__(self) -> _Pipeline:
        if self.side is not None:
            self.side.wait_stream(self.main)
        return self

    def __exit__(self, *_: object) -> None:
        if self.main is not None:
            self.main.wait_stream(self.side)

    @contextmanager
    def filling(self, tile: int) -> Iterator[None]:
        if self.main is not None and self.emptied[tile] is not None:
            self.main.wait_event(self.emptied[tile])
        yield

    @contextmanager
    def emptying(self, tile: int) -> Iterator[None]:
        if self.side is None:
            yield
            return
        self.side.wait_stream(self.main)
        with torch.cuda.stream(self.side):
            yield
        self.emptied[tile] = self.side.record_event()


@triton.jit
def _fold(
    LOGITS, TARGETS, BIAS, STATS, BEST, LEFT, STRIDE, COLUMNS,
    IS_FIRST: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fold one row of a tile into its running numbers."""
    row = tl.program_id(0)
    stats = STATS + row
    v = tl.arange(0, BLOCK)
    line = LOGITS + row.to(tl.int64) * COLUMNS
    target = tl.load(TARGETS + row) - LEFT
    top = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    found = tl.full((), float("-inf"), tl.float32)
    best = tl.full((), 0, tl.int64)
    if not IS_FIRST:
        top = tl.load(stats)
        total = tl.load(stats + STRIDE)
        found = tl.load(stats + 2 * STRIDE)
        best = tl.load(BEST + row)
    for v0 in tl.range(0, COLUMNS, BLOCK):
        ok = v0 + v < COLUMNS
        x = tl.load(line + v0 + v, mask=ok, other=float("-inf"))
        if HAS_BIAS:
            x += tl.load(BIAS + LEFT + v0 + v, mask=ok, other=0.0).to(tl.float32)
        here = tl.max(x, 0)
        if here > top:
            # The smallest index of the largest: of equal logits the first is the argmax, as in torch.
            best = (tl.min(tl.where(x == here, v, BLOCK), 0) + v0 + LEFT).to(tl.int64)
        new = tl.maximum(top, here)
        total = total * tl.exp(top - new) + tl.sum(tl.exp(x - new), 0)
        top = new
        found = tl.maximum(found, tl.max(tl.where(v0 + v == target, x, float("-inf")), 0))
    tl.store(stats, top)
    tl.store(stats + STRIDE, total)
    tl.store(stats + 2 * STRIDE, found)
    tl.store(BEST + row, best)
