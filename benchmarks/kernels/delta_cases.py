"""K8 (gated delta rule): the fp64 recurrence on a few heads, then times at 4K to 64K and of one token, Qwen3-Next's shape."""

from __future__ import annotations

from typing import Any

import peers
import torch
from bench import Bench
from inputs import make_delta
from torch import Tensor

from longboard_kernels import tuned
from longboard_kernels.gated_delta import gated_delta, gated_delta_cost
from longboard_kernels.gated_delta_step import gated_delta_step, gated_delta_step_cost

K = 1024
GROUPS, HEADS, SIZE = 16, 32, 128


def recur_exactly(made: dict[str, Tensor], state: Tensor, head: int) -> tuple[Tensor, Tensor]:
    """One head of row 0 in fp64 on the host: runs of 32 tokens by forward substitution, o [T, V] and the end state [K, V]."""
    share = made["v"].shape[2] // made["q"].shape[2]
    q, k = (made[name][0, :, head // share].double().cpu() for name in ("q", "k"))
    q, k = (x / (x.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt() for x in (q, k))
    v, decay, beta = (made[name][0, :, head].double().cpu() for name in ("v", "decay", "beta"))
    h, rows = state[0, head].double().cpu(), []
    for first in range(0, len(v), 32):
        run = slice(first, first + 32)
        sums = decay[run].cumsum(0)
        near, far = (sums[:, None] - sums).clamp(max=0).exp(), sums.exp()[:, None]
        system = beta[run, None] * (k[run] @ k[run].T) * near
        wanted = beta[run, None] * (v[run] - far * (k[run] @ h))
        written = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
        rows.append(far * (q[run] @ h) + ((q[run] @ k[run].T) * near).tril() @ written)
        h = sums[-1].exp() * h + ((sums[-1] - sums).exp()[:, None] * k[run]).T @ written
    return torch.cat(rows) * q.shape[1] ** -0.5, h


def check_delta(bench: Bench) -> None:
    torch.set_num_threads(1)  # the host's products are small: more threads wait for each other, ten times as long
    for tokens, groups, heads, size, slow in (
        (1, 16, 32, 128, False),
        (63, 16, 32, 128, False),
        (65, 4, 4, 64, False),
        (4 * K + 5, 16, 32, 128, False),
        (9000, 2, 8, 32, False),
        (64 * K, 16, 32, 128, False),
        (64 * K + 1, 16, 32, 128, True),
    ):

        def work(tokens: int = tokens, groups: int = groups, heads: int = heads, size: int = size, slow: bool = slow):
            made = make_delta(tokens, groups, heads, size, slow=slow)
            state = torch.randn(1, heads, size, size, device="cuda")
            some = (0, heads // 2, heads - 1)
            exact = [recur_exactly(made, state, head) for head in some]
            o = gated_delta(**made, state=state)
            got = [o[0, :, head].float().flatten() for head in some] + [state[0, head].flatten() for head in some]
            return torch.cat(got), torch.cat([e[0].flatten() for e in exact] + [e[1].flatten() for e in exact])

        name = f"bf16 L{tokens} G{groups} H{heads} K{size}"
        bench.check(f"{name}, carried state{', slow decay' if slow else ''}", work, 6e-3)

    def single():
        made = {k: v.float() for k, v in make_delta(1000, 2, 4, 128).items()}
        return gated_delta(**made)[0, :, 1], recur_exactly(made, torch.zeros(1, 4, 128, 128, device="cuda"), 1)[0]

    bench.check("fp32 L1000", single, 1e-5)

    def step():
        made, state = make_delta(1, GROUPS, HEADS, SIZE, batch=3), torch.randn(3, HEADS, SIZE, SIZE, device="cuda")
        exact = [recur_exactly(made, state, head) for head in range(HEADS)]
        o = gated_delta_step(**{k: v[:, 0] for k, v in made.items()}, state=state)
        wanted = torch.cat([torch.stack([part[i].flatten() for part in exact]) for i in (0, 1)], dim=1)
        return torch.cat([o[0].float(), state[0].flatten(1)], dim=1), wanted

    bench.check("one token, B3", step, 3e-3)


def time_delta(bench: Bench, tuning: bool) -> dict[str, Any]:
    found: dict[str, dict[str, dict[str, int]]] = {"gated_delta": {}, "gated_delta_step": {}}
    lengths, key = [64 * K, 16 * K, 4 * K], f"k{SIZE}-v{SIZE}"
    cases = {length: make_delta(length, GROUPS, HEADS, SIZE) for length in lengths}
    now = dict(tuned.choose("gated_delta", key))
    if tuning:
        longest = cases[lengths[0]]
        whole = [{"values": v, "num_warps": w, "num_stages": s} for v, w, s in ((64, 4, 3), (64, 8, 3), (64, 4, 1))]
        best = dict(bench.tune("gated_delta", key, [now | c for c in whole], lambda: gated_delta(**longest), now))
        parts = [
            {"prepare_registers": 255},
            {"prepare_warps": 8, "prepare_registers": 128},
            {"segment": 2048},
            {"segment": 8192},
        ]
        best = dict(bench.tune("gated_delta", key, [best | c for c in parts], lambda: gated_delta(**longest), best))
        found["gated_delta"][key] = best
    for length, made in cases.items():
        with tuned.forced("gated_delta", found["gated_delta"].get(key, now)):
            bench.time(describe(length), "ours", lambda made=made: gated_delta(**made), cost_of(length))
            bench.split(describe(length), lambda made=made: gated_delta(**made))
    time_step(bench, tuning, found["gated_delta_step"])
    for measure in (peers.time_stock_gated_delta, peers.time_gated_delta):  # fla last: it may compile for minutes
        for length, made in cases.items():
            measure(bench, describe(length), made, cost_of(length), lambda made=made: gated_delta(**made))
    return found


def describe(length: int) -> str:
    return f"L{length // K}K G{GROUPS} H{HEADS} K{SIZE}"


def cost_of(length: int) -> Any:
    return gated_delta_cost(tokens=length, heads=HEADS, key_heads=GROUPS, size=SIZE, values=SIZE)


def time_step(bench: Bench, tuning: bool, found: dict[str, dict[str, int]]) -> None:
    for batch in (1, 64):
        made = {k: v[:, 0] for k, v in make_delta(1, GROUPS, HEADS, SIZE, batch=batch).items()}
        state = torch.zeros(batch, HEADS, SIZE, SIZE, device="cuda")

        def work(made: dict[str, Tensor] = made, state: Tensor = state) -> Tensor:
            return gated_delta_step(**made, state=state)

        if tuning and not found:
            grid = [{"values": v, "num_warps": w} for v, w in ((16, 4), (16, 2), (64, 4), (64, 8), (128, 8), (8, 1))]
            now = tuned.choose("gated_delta_step")
            found[""] = dict(bench.tune("gated_delta_step", "", grid, work, now))
        cost = gated_delta_step_cost(heads=HEADS, size=SIZE, values=SIZE, batch=batch)
        with tuned.forced("gated_delta_step", found.get("", tuned.choose("gated_delta_step"))):
            bench.time(f"one token, B{batch} H{HEADS} K{SIZE}", "ours", work, cost)
