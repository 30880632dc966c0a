"""K4 (convolution, norms) and K5 (rotary positions with cache write) against what transformers runs, eager and compiled."""

from __future__ import annotations

from typing import Any

import peers
import torch
from bench import Bench
from torch import Tensor
from torch.nn.functional import conv1d, silu

from longboard_kernels import tuned
from longboard_kernels.conv import causal_conv, causal_conv_cost
from longboard_kernels.norms import add_rms_norm, add_rms_norm_cost, gated_rms_norm, gated_rms_norm_cost
from longboard_kernels.rope import rope_and_store, rope_and_store_cost

K = 1024


def draw(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape, device="cuda", dtype=dtype)


def conv_exactly(x: Tensor, weight: Tensor, bias: Tensor, past: Tensor) -> Tensor:
    """fp64 by taps; x [B, T, C], past [B, S, C] before it."""
    line, width = torch.cat([past, x], dim=1).double(), weight.shape[1]
    start, out = past.shape[1], bias.double().expand(x.shape).clone()
    for w in range(width):
        out += weight[:, w].double() * line[:, start - width + 1 + w :][:, : x.shape[1]]
    return out * torch.sigmoid(out)


def check_glue(bench: Bench) -> None:
    for channels, width, tokens in (
        (4352, 4, 4 * K),
        (3584, 4, 1001),
        (4096, 3, 333),
        (4352, 2, 1),
        (4352, 4, 1),
        (4352, 4, 64 * K),
    ):

        def conv(channels: int = channels, width: int = width, tokens: int = tokens):
            wide = draw(1, tokens, channels + 64)
            x, weight, bias, state = wide[..., :channels], draw(channels, width), draw(channels), draw(1, channels, 4)
            past = state.transpose(1, 2).clone()
            wanted = conv_exactly(x, weight, bias, past)
            got = causal_conv(x, weight, bias, state)
            moved = torch.cat([past, x], dim=1)[:, -4:].transpose(1, 2)
            return torch.cat([got.flatten(), state.flatten()]), torch.cat([wanted.flatten(), moved.double().flatten()])

        bench.check(f"conv C{channels} W{width} L{tokens}", conv, 3e-3)
    for width, dtype in ((2048, torch.float32), (4096, torch.bfloat16), (2560, torch.float32)):

        def norm(width: int = width, dtype: torch.dtype = dtype):
            x, residual, weight = draw(4 * K, width), draw(4 * K, width, dtype=dtype), draw(width)
            y, h = add_rms_norm(x, residual, weight, 1e-5)
            summed = (x.double() + residual.double()).to(dtype).double()
            wanted = weight.double() * summed / (summed.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
            return torch.cat([y.double(), h.double()]), torch.cat([wanted, summed])

        bench.check(f"add + RMSNorm E{width} {dtype}".replace("torch.", ""), norm, 3e-3)

    def gated():
        wide, weight = draw(4 * K, 8192 + 300), draw(4096)
        x, gate = wide[:, :4096], wide[:, 4096:8192]
        inner = x.double() * gate.double() * torch.sigmoid(gate.double())
        parts = inner.unflatten(-1, (8, 512))
        wanted = (parts / (parts.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()).flatten(-2) * weight.double()
        return gated_rms_norm(x, gate, weight, 1e-5, group=512), wanted

    bench.check("gated RMSNorm E4096 in 8 groups", gated, 3e-3)


def time_conv(
    bench: Bench, tokens: int, weight: Tensor, bias: Tensor, tuning: bool, found: dict[str, dict[str, int]]
) -> None:
    x = draw(1, tokens, 4352)
    now = tuned.choose("causal_conv")
    if tuning and not found:
        grid = [
            {"rows": r, "block": b, "num_warps": w}
            for r, b, w in (
                (8, 256, 4),
                (32, 128, 4),
                (16, 128, 2),
                (16, 128, 4),
                (32, 256, 8),
                (8, 512, 4),
                (64, 64, 4),
                (16, 512, 8),
                (32, 64, 2),
                (8, 128, 2),
            )
        ]
        found[""] = dict(bench.tune("causal_conv", "", grid, lambda: causal_conv(x, weight, bias, None), now))
    cost = causal_conv_cost(tokens=tokens, channels=4352)
    shape = f"conv L{tokens // K}K C4352 W4"
    with tuned.forced("causal_conv", found.get("", now)):
        bench.time(shape, "ours", lambda: causal_conv(x, weight, bias, None), cost)
    bench.time(
        shape,
        "torch",
        lambda: silu(conv1d(x.mT, weight[:, None], bias, padding=3, groups=4352)[..., :tokens]),
        cost,
    )
    peers.time_conv(bench, shape, x, weight, bias, cost, lambda: causal_conv(x, weight, bias, None))


def time_norms(bench: Bench, tokens: int, tuning: bool, found: dict[str, dict[str, int]]) -> None:
    x, residual, weight = draw(tokens, 2048), draw(tokens, 2048, dtype=torch.float32), draw(2048)

    def stock(x: Tensor = x, residual: Tensor = residual, weight: Tensor = weight) -> tuple[Tensor, Tensor]:
        """As transformers' Mamba block: fp32 residual, cast, norm in fp32, cast, scale."""
        h = residual + x
        wide = h.to(weight.dtype).to(torch.float32)
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(weight.dtype), h

    cost = add_rms_norm_cost(rows=tokens, width=2048)
    now = tuned.choose("norms")
    if tuning and not found:
        grid = [{"per_warp": n} for n in (256, 512, 1024, 2048)]
        found[""] = dict(bench.tune("norms", "", grid, lambda: add_rms_norm(x, residual, weight, 1e-5), now))
    with tuned.forced("norms", found.get("", now)):
        bench.time(
            f"add + RMSNorm L{tokens // K}K E2048", "ours", lambda: add_rms_norm(x, residual, weight, 1e-5), cost
        )
        shape = f"add + RMSNorm L{tokens // K}K E2048"
        bench.time(shape, "torch", stock, cost)
        peers.time_norms(
            bench, shape, x, residual, weight, cost, lambda: add_rms_norm(x, residual, weight, 1e-5)[0][None]
        )
        wide, weight = draw(tokens, 8512), draw(4096)
        y, gate = draw(tokens, 4096), wide[:, :4096]

        def gated(y: Tensor = y, gate: Tensor = gate, weight: Tensor = weight) -> Tensor:
            inner = y.to(torch.float32) * silu(gate.to(torch.float32))
            return weight * (inner * torch.rsqrt(inner.pow(2).mean(-1, keepdim=True) + 1e-5)).to(y.dtype)

        cost = gated_rms_norm_cost(rows=tokens, width=4096)
        bench.time(f"gated RMSNorm L{tokens // K}K E4096", "ours", lambda: gated_rms_norm(y, gate, weight, 1e-5), cost)
        shape = f"gated RMSNorm L{tokens // K}K E4096"
        bench.time(shape, "torch", gated, cost)
        peers.time_gated_norm(
            bench, shape, y, gate, weight, 4096, cost, lambda: gated_rms_norm(y, gate, weight, 1e-5)[None]
        )
        if bench.round == "peers" and not bench.quick and bench.left_s > 40:
            bench.time(
                f"add + RMSNorm L{tokens // K}K E2048",
                "torch.compile",
                torch.compile(stock),
                add_rms_norm_cost(rows=tokens, width=2048),
            )
            bench.time(f"gated RMSNorm L{tokens // K}K E4096", "torch.compile", torch.compile(gated), cost)


def time_glue(bench: Bench, tuning: bool) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {"causal_conv": {}, "norms": {}}
    weight, bias = draw(4352, 4), draw(4352)
    for tokens in (64 * K, 4 * K, 16 * K, 256 * K):
        time_conv(bench, tokens, weight, bias, tuning, found["causal_conv"])
        torch.cuda.empty_cache()
    for tokens in (64 * K, 4 * K):
        time_norms(bench, tokens, tuning, found["norms"])
        torch.cuda.empty_cache()
    return found


def angles(tokens: int, first: int, rotary: int) -> tuple[Tensor, Tensor]:
    frequency = 500_000.0 ** -(torch.arange(0, rotary, 2, device="cuda", dtype=torch.float64) / rotary)
    line = torch.arange(first, first + tokens, device="cuda", dtype=torch.float64)[:, None] * frequency
    both = torch.cat([line, line], dim=-1)[None]
    return both.cos().bfloat16(), both.sin().bfloat16()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """transformers' apply_rotary_pos_emb for one tensor [B, H, T, D], in the dtype of x."""
    a, b = x[..., : cos.shape[-1]].chunk(2, dim=-1)
    turned = x[..., : cos.shape[-1]] * cos[:, None] + torch.cat([-b, a], dim=-1) * sin[:, None]
    return torch.cat([turned, x[..., cos.shape[-1] :]], dim=-1) if cos.shape[-1] < x.shape[-1] else turned


def check_rope(bench: Bench) -> None:
    for tokens, first, rotary, size in (
        (4 * K, 7, 128, 128),
        (1, 64 * K, 128, 128),
        (333, 0, 64, 128),
        (64 * K, 0, 64, 64),
    ):

        def work(tokens: int = tokens, first: int = first, rotary: int = rotary, size: int = size):
            q, k, v = (
                part.unflatten(-1, (-1, size))
                for part in draw(1, tokens, 48 * size).split([32 * size, 8 * size, 8 * size], dim=-1)
            )
            cos, sin = angles(tokens, first, rotary)
            keys, values = torch.full((2, 1, 8, first + tokens, size), torch.nan, device="cuda", dtype=torch.bfloat16)
            wanted = [turn(x.transpose(1, 2).double(), cos.double(), sin.double()).flatten() for x in (q, k)] + [
                v.transpose(1, 2).flatten().double()
            ]
            rope_and_store(q, k, v, cos, sin, keys, values, torch.tensor([first], device="cuda"))
            got = [q.transpose(1, 2).flatten(), keys[:, :, first:].flatten(), values[:, :, first:].flatten()]
            return torch.cat(got), torch.cat(wanted)

        bench.check(f"rope L{tokens} after {first}, {rotary} of {size} channels", work, 3e-3)


def time_one_rope(bench: Bench, tokens: int, first: int, tuning: bool, found: dict[str, dict[str, int]]) -> None:
    q, k, v = (
        part.unflatten(-1, (-1, 128)) for part in draw(1, tokens, 48 * 128).split([32 * 128, 8 * 128, 8 * 128], dim=-1)
    )
    cos, sin = angles(tokens, first, 128)
    keys, values = torch.zeros(2, 1, 8, first + tokens, 128, device="cuda", dtype=torch.bfloat16)
    at = torch.tensor([first], device="cuda")
    now = tuned.choose("rope")

    def ours() -> None:
        rope_and_store(q, k, v, cos, sin, keys, values, at)

    def stock() -> tuple[Tensor, ...]:
        turned_q, turned_k = (turn(x.transpose(1, 2), cos, sin) for x in (q, k))
        held = (keys[:, :, :first], values[:, :, :first])
        return turned_q, torch.cat([held[0], turned_k], dim=2), torch.cat([held[1], v.transpose(1, 2)], dim=2)

    if tuning and not found:
        grid = [
            {"rows": r, "heads": h, "num_warps": w}
            for r, h, w in ((16, 8, 4), (16, 12, 4), (32, 8, 4), (8, 8, 2), (8, 48, 2), (16, 24, 4), (32, 4, 8))
        ]
        found[""] = dict(bench.tune("rope", "", grid, ours, now))
    cost = rope_and_store_cost(tokens=tokens, heads=32, kv_heads=8, size=128)
    shape = f"L{tokens // K}K" if tokens > 1 else f"1 token after {first // K}K"
    with tuned.forced("rope", found.get("", now)):
        bench.time(shape, "ours", ours, cost)
    bench.time(shape, "transformers", stock, cost)


def time_rope(bench: Bench, tuning: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tokens, first in ((64 * K, 0), (128 * K, 0), (1, 4 * K), (1, 64 * K), (1, 256 * K)):
        time_one_rope(bench, tokens, first, tuning, found)
        torch.cuda.empty_cache()
    return {"rope": found}
