"""K2 (selective scan) and K3 (SSD chunk scan): fp64 recurrences on a few channels or heads, then times at 1K to 256K."""

from __future__ import annotations

from typing import Any

import numpy as np
import peers
import torch
from bench import Bench
from inputs import make_scan, make_ssd
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.selective_scan import choose_key, selective_scan, selective_scan_cost
from longboard_kernels.ssd import ssd_scan, ssd_scan_cost

K = 1024


def scan_exactly(made: dict[str, Tensor], state: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence of the channels `some`, row 0, in fp64 on the host, a run of 4096 tokens at a time."""
    get = {
        k: (v[0, :, some] if k in ("u", "dt", "z") else v[0] if v.dim() == 3 else v[some]).double().cpu().numpy()
        for k, v in made.items()
    }
    step = np.log1p(np.exp(get["dt"] + get["dt_bias"]))
    h, out = state[0, some].double().cpu().numpy(), np.empty_like(get["u"])
    for first in range(0, len(step), 4096):
        run = slice(first, first + 4096)
        decay = np.exp(step[run, :, None] * get["a"])
        added = (step[run] * get["u"][run])[:, :, None] * get["b"][run, None, :]
        for t in range(len(decay)):
            h = decay[t] * h + added[t]
            added[t] = h
        out[run] = (added * get["c"][run, None, :]).sum(-1)
    out = (out + get["u"] * get["skip"]) * get["z"] / (1 + np.exp(-get["z"]))
    return torch.from_numpy(out), torch.from_numpy(h)


def check_scan(bench: Bench) -> None:
    for tokens, channels, size, batch in (
        (1, 4096, 16, 1),
        (2, 4096, 16, 1),
        (255, 64, 8, 2),
        (4 * K, 4096, 16, 1),
        (4 * K + 3, 1536, 16, 2),
        (2 * K, 64, 64, 1),
        (64 * K, 4096, 16, 1),
    ):

        def work(tokens: int = tokens, channels: int = channels, size: int = size, batch: int = batch):
            made = make_scan(tokens, channels, size, batch)
            state = torch.randn(batch, channels, size, device="cuda")
            some = torch.linspace(0, channels - 1, 16, device="cuda").long()
            wanted, end = scan_exactly(made, state, some)
            y = selective_scan(**made, state=state)
            return torch.cat([y[0, :, some].float().flatten(), state[0, some].flatten()]), torch.cat(
                [wanted.flatten(), end.flatten()]
            )

        bench.check(f"bf16 B{batch} L{tokens} D{channels} N{size}, carried state", work, 3e-3)

    def single():
        made = {k: v.float() for k, v in make_scan(4 * K, 64, 16).items()}
        state = torch.randn(1, 64, 16, device="cuda")
        some = torch.arange(64, device="cuda")
        wanted, _ = scan_exactly(made, state, some)
        return selective_scan(**made, state=state)[0], wanted

    bench.check("fp32 L4096", single, 1e-5)

    def one_lane():
        made = make_scan(64 * K, 4096, 16)
        whole, one = torch.zeros(2, 1, 4096, 16, device="cuda")
        y = selective_scan(**made, state=whole)
        with tuned.forced("selective_scan", dict(tuned.choose("selective_scan", "n16")) | {"lanes_a_channel": 1}):
            wanted = selective_scan(**made, state=one)
        return torch.cat([y.float().flatten(), whole.flatten()]), torch.cat([wanted.float().flatten(), one.flatten()])

    bench.check("bf16 L65536, one lane a channel against four", one_lane, 3e-3)


def time_one_scan(
    bench: Bench, batch: int, tokens: int, channels: int, tuning: bool, found: dict[str, dict[str, int]]
) -> None:
    made = make_scan(tokens, channels, 16, batch)
    key = choose_key(tokens, 16)
    now = tuned.choose("selective_scan", key)
    if tuning and key not in found:
        grid = [dict(now) | {"lanes_a_channel": 4}]
        grid += [
            {"lanes": n, "unroll": u, "warps": w, "shortest": 128, "lanes_a_channel": 1}
            for n, u, w in (
                (64, 2, 24),
                (64, 2, 12),
                (64, 2, 36),
                (64, 2, 48),
                (64, 4, 24),
                (32, 4, 16),
            )
        ]
        found[key] = dict(bench.tune("selective_scan", key, grid, lambda: selective_scan(**made), now))
    cost = selective_scan_cost(tokens=tokens, channels=channels, states=16, batch=batch)
    shape = f"B{batch} L{tokens // K}K D{channels} N16"
    with tuned.forced("selective_scan", found.get(key, now)):
        bench.time(shape, "ours", lambda: selective_scan(**made), cost)
        bench.split(shape, lambda: selective_scan(**made))
    peers.time_selective_scan(bench, shape, made, cost, lambda: selective_scan(**made))


def time_scan(bench: Bench, tuning: bool) -> dict[str, Any]:
    found: dict[str, dict[str, int]] = {}
    plans = [(1, n * K, 4096) for n in (64, 1, 4, 16, 256)] + [(8, 4 * K, 8192)]
    for batch, tokens, channels in plans:
        time_one_scan(bench, batch, tokens, channels, tuning, found)
        torch.cuda.empty_cache()
    return {"selective_scan": found}


def ssd_exactly(made: dict[str, Tensor], state: Tensor, head: int) -> tuple[Tensor, Tensor]:
    """One head of row 0 in fp64: the recurrence solved over runs of 32 tokens, y [T, P] and the end state [P, N]."""
    share = made["x"].shape[2] // made["b"].shape[2]
    x, step = made["x"][0, :, head].double(), made["dt"][0, :, head].double() + made["dt_bias"][head].double()
    b, c = made["b"][0, :, head // share].double(), made["c"][0, :, head // share].double()
    step = torch.log1p(torch.exp(step))
    a, h, rows = made["a"][head].double(), state[0, head].double(), []
    for first in range(0, len(x), 32):
        run = slice(first, first + 32)
        sums = (step[run] * a).cumsum(0)
        within = torch.exp(sums[:, None] - sums[None]).tril() * (c[run] @ b[run].T)
        dx = x[run] * step[run, None]
        rows.append(within @ dx + (c[run] @ h.T) * torch.exp(sums)[:, None])
        h = h * torch.exp(sums[-1]) + (dx * torch.exp(sums[-1] - sums)[:, None]).T @ b[run]
    return torch.cat(rows) + made["skip"][head].double() * x, h


def check_ssd(bench: Bench) -> None:
    for tokens, heads, groups, size, states in (
        (1, 64, 1, 64, 128),
        (255, 64, 8, 64, 128),
        (4 * K, 64, 1, 64, 128),
        (4 * K + 5, 48, 1, 64, 256),
        (1000, 128, 1, 64, 16),
        (64 * K, 64, 1, 64, 128),
    ):

        def work(
            tokens: int = tokens, heads: int = heads, groups: int = groups, size: int = size, states: int = states
        ):
            made = make_ssd(tokens, heads, groups, size, states)
            state = torch.randn(1, heads, size, states, device="cuda")
            some = (0, heads // 2, heads - 1)
            exact = [ssd_exactly(made, state, head) for head in some]
            y = ssd_scan(**made, state=state)
            got = [y[0, :, head].float().flatten() for head in some] + [state[0, head].flatten() for head in some]
            return torch.cat(got), torch.cat([e[0].flatten() for e in exact] + [e[1].flatten() for e in exact])

        bench.check(f"bf16 L{tokens} H{heads} G{groups} P{size} N{states}, carried state", work, 4e-3)

    for states in (64, 256):

        def single(states: int = states):
            made = {k: v.float() for k, v in make_ssd(1000, 4, 1, 64, states).items()}
            return ssd_scan(**made)[0, :, 1], ssd_exactly(made, torch.zeros(1, 4, 64, states, device="cuda"), 1)[0]

        bench.check(f"fp32 L1000 N{states}", single, 1e-5)


def time_one_ssd(
    bench: Bench, tokens: int, heads: int, states: int, tuning: bool, found: dict[str, dict[str, int]]
) -> None:
    made = make_ssd(tokens, heads, 1, 64, states)
    key = f"p64-n{states}"
    now = dict(tuned.choose("ssd_scan", key))
    if tuning and key not in found:
        scan = [
            {"rows": m, "keys": n, "heads": h, "num_warps": w, "num_stages": 1, "registers": r}
            for m, n, h, w, r in (
                (64, 64, 1, 4, 0),
                (64, 64, 2, 4, 0),
                (64, 32, 2, 4, 168),
                (64, 64, 2, 8, 128),
                (128, 64, 1, 8, 128),
                (128, 64, 2, 8, 0),
                (128, 32, 2, 8, 0),
                (128, 128, 1, 8, 128),
                (64, 64, 4, 8, 0),
            )
        ]
        best = dict(bench.tune("ssd_scan", key, [now | c for c in scan], lambda: ssd_scan(**made), now))
        parts = [{"ahead": n} for n in (1, 2, 8)]
        best = dict(bench.tune("ssd_scan", key, [best | c for c in parts], lambda: ssd_scan(**made), best))
        parts = [{"state_keys": n, "state_warps": w, "state_stages": s} for n, w, s in ((32, 4, 4), (64, 4, 4))]
        found[key] = dict(bench.tune("ssd_scan", key, [best | c for c in parts], lambda: ssd_scan(**made), best))
    cost = ssd_scan_cost(tokens=tokens, heads=heads, size=64, states=states)
    shape = f"L{tokens // K}K H{heads} P64 N{states}"
    with tuned.forced("ssd_scan", found.get(key, now)):
        bench.time(shape, "ours", lambda: ssd_scan(**made), cost)
        bench.split(shape, lambda: ssd_scan(**made))
    peers.time_ssd(bench, shape, made, cost, lambda: ssd_scan(**made))


def time_ssd(bench: Bench, tuning: bool) -> dict[str, Any]:
    found: dict[str, dict[str, int]] = {}
    for tokens, heads, states in (
        (64 * K, 64, 128),
        (16 * K, 64, 128),
        (256 * K, 64, 128),
        (4 * K, 64, 128),
        (1 * K, 64, 128),
        (64 * K, 48, 256),
    ):
        time_one_ssd(bench, tokens, heads, states, tuning, found)
        torch.cuda.empty_cache()
    return {"ssd_scan": found}
