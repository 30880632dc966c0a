"""K6 (attention received by key) and K7 (log-probabilities) against chunked PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from bench import Bench
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.logprobs import token_logprobs, token_logprobs_cost
from longboard_kernels.scores import attention_received, attention_received_cost, window_scores

K = 1024


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def received_exactly(q: Tensor, keys: Tensor) -> Tensor:
    """fp64, 64 queries of one key head at a time."""
    share, tokens, queries = q.shape[1] // keys.shape[1], keys.shape[2], q.shape[2]
    out = torch.zeros(q.shape[0], keys.shape[1], tokens, device="cuda", dtype=torch.float64)
    at = torch.arange(tokens, device="cuda")
    for b in range(q.shape[0]):
        for g in range(keys.shape[1]):
            k = keys[b, g].double()
            for first in range(0, queries, 64):
                part = q[b, g * share : (g + 1) * share, first : first + 64].double()
                scores = part @ k.T * q.shape[3] ** -0.5
                own = torch.arange(first, first + part.shape[1], device="cuda") + tokens - queries
                out[b, g] += scores.masked_fill_(at > own[:, None], -torch.inf).softmax(-1).sum((0, 1))
    return out


def check_scores(bench: Bench) -> None:
    for share, window, tokens in (
        (4, 32, 64 * K),
        (1, 16, 4 * K + 3),
        (8, 64, 16 * K),
        (4, 32, 256 * K),
        (4, 2 * K, 2 * K),
    ):

        def work(share: int = share, window: int = window, tokens: int = tokens):
            q, keys = draw(1, 2 * share, window, 128), draw(1, 2, tokens, 128)
            return attention_received(q, keys), received_exactly(q, keys)

        bench.check(f"window {window} of {tokens}, groups of {share}", work, 5e-3)

    def overlap():
        """One minus the share of the exact best 1024 keys that are ours too."""
        q, keys = draw(1, 8, 32, 128), draw(1, 2, 64 * K, 128)
        exact = received_exactly(q, keys)[:, :, : 64 * K - 32]
        pooled = torch.nn.functional.avg_pool1d(exact, 7, 1, 3).topk(1024).indices
        ours = window_scores(q, keys, kernel=7).topk(1024).indices
        shared = torch.stack([torch.isin(ours[0, g], pooled[0, g]).double().mean() for g in range(2)])
        return shared, torch.ones(2)

    bench.check("best 1024 of 64K after pooling, missing share", overlap, 0.01)


TILES = [
    {"rows": m, "keys": n, "num_warps": w, "num_stages": s}
    for m, n, w, s in (
        (128, 128, 8, 2),
        (128, 64, 4, 3),
        (64, 128, 4, 3),
        (128, 64, 8, 3),
        (64, 64, 4, 3),
        (128, 128, 4, 2),
        (128, 64, 4, 4),
        (64, 128, 8, 2),
    )
]


def stock_window(q: Tensor, keys: Tensor) -> Tensor:
    """As SnapKV's code: repeated keys, fp32 softmax of the whole window, mean over queries."""
    k = keys.repeat_interleave(q.shape[1] // keys.shape[1], 1)
    scores = (q @ k.mT) * q.shape[3] ** -0.5
    tokens, window = keys.shape[2], q.shape[2]
    hidden = torch.ones(window, tokens, dtype=torch.bool, device=q.device).triu(tokens - window + 1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1, dtype=torch.float32).to(q.dtype).mean(2)


def stock_columns(q: Tensor, keys: Tensor) -> Tensor:
    """Column sums over row blocks of 512 queries."""
    k = keys.repeat_interleave(q.shape[1] // keys.shape[1], 1)
    tokens = keys.shape[2]
    out = torch.zeros(q.shape[1], tokens, device=q.device)
    at = torch.arange(tokens, device=q.device)
    for first in range(0, tokens, 512):
        scores = (q[0, :, first : first + 512] @ k[0].mT) * q.shape[3] ** -0.5
        own = torch.arange(first, first + scores.shape[1], device=q.device)
        out += scores.masked_fill(at > own[:, None], -torch.inf).softmax(-1, dtype=torch.float32).sum(1)
    return out


def time_one_score(bench: Bench, window: int, tokens: int, tuning: bool, found: dict[str, dict[str, int]]) -> None:
    key = "window" if window <= 64 else "all"
    q, keys = draw(1, 32, window, 128), draw(1, 8, tokens, 128)
    now = tuned.choose("attention_received", key)
    if tuning and key not in found:
        found[key] = dict(bench.tune("attention_received", key, TILES, lambda: attention_received(q, keys), now))
    cost = attention_received_cost(queries=window, tokens=tokens, heads=32, kv_heads=8, size=128)
    shape = f"window 32 of {tokens // K}K" if key == "window" else f"all of {tokens // K}K"
    with tuned.forced("attention_received", found.get(key, now)):
        bench.time(shape, "ours", lambda: attention_received(q, keys), cost)
        bench.split(shape, lambda: attention_received(q, keys))
    if key == "window":
        bench.time(shape, "torch", lambda: stock_window(q, keys), cost)
    elif tokens <= 16 * K:
        bench.time(shape, "torch, row blocks", lambda: stock_columns(q, keys), cost)


def time_scores(bench: Bench, tuning: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for window, tokens in ((32, 64 * K), (32, 4 * K), (32, 256 * K), (16 * K, 16 * K), (64 * K, 64 * K)):
        time_one_score(bench, window, tokens, tuning, found)
        torch.cuda.empty_cache()
    return {"attention_received": found}


def check_logprobs(bench: Bench) -> None:
    for tokens, vocabulary, hidden in (
        (1500, 32_000, 2048),
        (1500, 128_256, 2048),
        (1500, 248_320, 1024),
        (9000, 32_000, 512),
    ):

        def work(tokens: int = tokens, vocabulary: int = vocabulary, hidden: int = hidden):
            x, head = draw(tokens, hidden), draw(vocabulary, hidden) * hidden**-0.5
            targets = torch.randint(0, vocabulary, (tokens,), device="cuda")
            got = token_logprobs(x, head, targets)
            exact = []
            for part, wanted in zip(x.split(100), targets.split(100), strict=True):
                logs = (part.double() @ head.double().T).log_softmax(-1)
                exact.append(torch.stack([logs.gather(1, wanted[:, None])[:, 0], logs.amax(-1)]))
            away = (torch.stack([got.logprobs, got.best_logprobs]).double() - torch.cat(exact, dim=1)).abs().amax()
            return 1 + away[None], torch.ones(1)

        bench.check(f"L{tokens} V{vocabulary} E{hidden}: largest absolute difference", work, 1e-3)


def time_one_length(bench: Bench, tokens: int, head: Tensor, tuning: bool, found: dict[str, dict[str, int]]) -> None:
    x, targets = draw(tokens, 2048), torch.randint(0, 128_256, (tokens,), device="cuda")
    now = tuned.choose("token_logprobs")
    if tuning and not found:
        grid = [
            {"rows": r, "columns": c, "channels": k, "num_warps": w, "num_stages": s}
            for r, c, k, w, s in (
                (128, 256, 64, 8, 4),
                (256, 128, 64, 8, 3),
                (128, 128, 64, 4, 3),
                (128, 128, 64, 8, 4),
                (64, 256, 64, 4, 3),
                (128, 256, 32, 8, 4),
            )
        ]
        found[""] = dict(bench.tune("token_logprobs", "", grid, lambda: token_logprobs(x, head, targets), now))
    cost = token_logprobs_cost(tokens=tokens, hidden=2048, vocabulary=128_256)
    shape = f"L{tokens // K}K V128256 E2048"
    with tuned.forced("token_logprobs", found.get("", now)):
        bench.time(shape, "ours", lambda: token_logprobs(x, head, targets), cost)

    def chunked() -> list[Tensor]:
        """Chunks of 2048 positions: logits in bf16, log-softmax in fp32."""
        return [
            (part @ head.T).float().log_softmax(-1).gather(1, wanted[:, None])
            for part, wanted in zip(x.split(2048), targets.split(2048), strict=True)
        ]

    bench.time(shape, "torch, chunks of 2048", chunked, cost)


def time_logprobs(bench: Bench, tuning: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    head = draw(128_256, 2048) * 2048**-0.5
    for tokens in (4 * K, 32 * K, 128 * K):
        time_one_length(bench, tokens, head, tuning, found)
        torch.cuda.empty_cache()
    return {"token_logprobs": found}
