"""K1: decode attention at 32 query and 8 key heads of 128, uniform, ragged, quantised; other shapes for correctness."""

from __future__ import annotations

import peers
import torch
from bench import Bench
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from longboard_kernels import tuned
from longboard_kernels.decode import decode_attention, decode_attention_cost
from longboard_kernels.quantised import QuantisedKV, dequantise, empty_cache, quantise, quantise_into_ref

K = 1024
RAGGED = [256 * K, 128 * K, 64 * K, 32 * K, 16 * K, 8 * K, 4 * K, 4 * K]


def attend_exactly(
    q: Tensor, keys: Tensor, values: Tensor, lengths: list[int], sinks: int = 0, window: int = 0
) -> Tensor:
    """fp64, one key head at a time."""
    out = torch.empty(q.shape, dtype=torch.float64, device=q.device)
    share = q.shape[1] // keys.shape[1]
    for b, length in enumerate(lengths):
        at = torch.arange(length, device=q.device)
        hidden = ~((at < sinks) | (at >= length - window)) if window else None
        for g in range(keys.shape[1]):
            mine = slice(g * share, (g + 1) * share)
            scores = q[b, mine].double() @ keys[b, g, :length].double().T * q.shape[2] ** -0.5
            if hidden is not None:
                scores.masked_fill_(hidden, -torch.inf)
            out[b, mine] = scores.softmax(-1) @ values[b, g, :length].double()
    return out


def make(lengths: list[int], heads: int, kv_heads: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    room = max(lengths)
    q = torch.randn(len(lengths), heads, size, device="cuda", dtype=torch.bfloat16)
    keys, values = torch.randn(2, len(lengths), kv_heads, room, size, device="cuda", dtype=torch.bfloat16)
    for row, length in enumerate(lengths):
        keys[row, :, length:] = torch.nan
        values[row, :, length:] = torch.nan
    return q, keys, values, torch.tensor(lengths, dtype=torch.int32, device="cuda")


def quantise_long(keys: Tensor, values: Tensor, bits: int) -> QuantisedKV:
    """Head by head: the fp32 copies of a million tokens are 4 GiB each."""
    parts = [quantise(keys[:, h : h + 1], values[:, h : h + 1], bits) for h in range(keys.shape[1])]

    def join(name: str) -> Tensor:
        return torch.cat([getattr(p, name) for p in parts], dim=1).contiguous()

    zeros = (join("k_zero"), join("v_zero")) if bits == 4 else (None, None)
    return QuantisedKV(bits, join("k_codes"), join("k_scale"), zeros[0], join("v_codes"), join("v_scale"), zeros[1])


def check_half(bench: Bench) -> None:
    for heads, kv_heads, size in ((32, 8, 128), (32, 8, 64), (8, 8, 128), (7, 1, 128), (8, 1, 256), (28, 4, 128)):
        lengths = [1, 17, 4 * K, 64 * K]

        def mixed(heads: int = heads, kv_heads: int = kv_heads, size: int = size, lengths: list[int] = lengths):
            q, k, v, held = make(lengths, heads, kv_heads, size)
            return decode_attention(q, k, v, held), attend_exactly(q, k, v, lengths)

        bench.check(f"bf16 H{heads} HKV{kv_heads} D{size} ragged 1..64K", mixed, 4e-3)

    def window():
        q, k, v, held = make([64 * K, 5000, 100], 32, 8, 128)
        return decode_attention(q, k, v, held, sinks=4, window=4096), attend_exactly(
            q, k, v, [64 * K, 5000, 100], 4, 4096
        )

    bench.check("bf16 sinks 4 window 4096", window, 4e-3)
    for size in (16, 64):

        def paged(size: int = size):
            lengths = [64 * K, 4 * K + 5]
            q, k, v, held = make(lengths, 32, 8, 128)
            count = 64 * K // size
            order = torch.randperm(2 * count, device="cuda")
            pools = []
            for cache in (k, v):
                pool = torch.empty(2 * count, 8, size, 128, device="cuda", dtype=cache.dtype)
                pool[order] = cache.unflatten(2, (count, size)).transpose(1, 2).flatten(0, 1)
                pools.append(pool)
            got = decode_attention(q, *pools, held, pages=order.reshape(2, count).int())
            return got, attend_exactly(q, k, v, lengths)

        bench.check(f"bf16 pages of {size}", paged, 4e-3)
    for length in (4 * K, 64 * K, 256 * K, 1024 * K):

        def plain(length: int = length):
            q, k, v, held = make([length], 32, 8, 128)
            return decode_attention(q, k, v, held), attend_exactly(q, k, v, [length])

        bench.check(f"bf16 L{length // K}K", plain, 4e-3)

    def repeated():
        """The counters must be back at zero: the third of three calls on other lengths."""
        q, k, v, _ = make([64 * K], 32, 8, 128)
        for length in (64 * K, 1000, 30_000):
            got = decode_attention(q, k, v, torch.tensor([length], dtype=torch.int32, device="cuda"))
        return got, attend_exactly(q, k, v, [30_000])

    bench.check("bf16 three lengths in turn", repeated, 4e-3)


def check_quantised(bench: Bench) -> None:
    for bits in (8, 4):

        def filled(bits: int = bits):
            """What the kernel's codes stand for, against the definition's."""
            _, k, v, _ = make([4 * K], 32, 8, 128)
            wanted = empty_cache(1, 8, 4 * K, 128, bits, "cuda")
            quantise_into_ref(wanted, k, v, 0)
            return torch.cat(dequantise(quantise(k, v, bits))), torch.cat(dequantise(wanted))

        bench.check(f"{bits} bits filled", filled, 1e-6)
    for length in (4 * K, 64 * K, 256 * K, 1024 * K):
        for bits, tolerance in ((8, 4e-3), (4, 6e-3)):

            def coded(length: int = length, bits: int = bits):
                # The trap: near-uniform attention over Gaussian values, where a truncated sum of a large constant shows.
                q, k, v, held = make([length], 32, 8, 128)
                cache = quantise_long(k, v, bits)
                del k, v
                got = decode_attention(q, cache, None, held)
                exact = torch.empty(q.shape, dtype=torch.float64, device="cuda")
                for h in range(8):
                    one = QuantisedKV(
                        bits,
                        *(
                            t[:, h : h + 1] if t is not None else None
                            for t in (
                                cache.k_codes,
                                cache.k_scale,
                                cache.k_zero,
                                cache.v_codes,
                                cache.v_scale,
                                cache.v_zero,
                            )
                        ),
                    )
                    exact[:, 4 * h : 4 * h + 4] = attend_exactly(q[:, 4 * h : 4 * h + 4], *dequantise(one), [length])
                return got, exact

            bench.check(f"{bits} bits L{length // K}K", coded, tolerance)


def time_plan(bench: Bench, shape: str, lengths: list[int], tuning: bool, found: dict[str, dict[str, int]]) -> None:
    q, k, v, held = make(lengths, 32, 8, 128)
    cost = decode_attention_cost(tokens=sum(lengths), kv_heads=8, size=128)
    key = f"16-d128-{tuned.bucket(max(lengths))}"
    now = tuned.choose("decode", key)
    if tuning and key not in found:
        grid = [
            {"block": n, "per_sm": p, "join": j, "num_warps": w, "num_stages": s}
            for n, p, j, w, s in (
                (64, 2, 16, 4, 3),
                (64, 1, 16, 4, 4),
                (128, 1, 16, 8, 3),
                (128, 1, 16, 4, 3),
                (64, 3, 16, 4, 3),
                (64, 2, 32, 4, 3),
                (32, 4, 16, 4, 4),
            )
        ]
        found[key] = dict(bench.tune("decode", key, grid, lambda: decode_attention(q, k, v, held), now))
    with tuned.forced("decode", found.get(key, now)):
        bench.time(shape, "ours", lambda: decode_attention(q, k, v, held), cost, bits=16)
        bench.split(shape, lambda: decode_attention(q, k, v, held))
    if len(set(lengths)) == 1:
        wide = q[:, :, None]
        bench.time(shape, "SDPA", lambda: scaled_dot_product_attention(wide, k, v, enable_gqa=True), cost, bits=16)
    elif bench.round == "peers":
        mask = (torch.arange(max(lengths), device="cuda")[None] < held[:, None])[:, None, None]
        k.nan_to_num_(), v.nan_to_num_()
        bench.time(
            shape,
            "repeated KV, SDPA with a mask",
            lambda: scaled_dot_product_attention(
                q[:, :, None], k.repeat_interleave(4, 1), v.repeat_interleave(4, 1), attn_mask=mask
            ),
            cost,
            bits=16,
        )
        peers.time_ragged_decode(bench, shape, q, k, v, lengths, cost, lambda: decode_attention(q, k, v, held))


def time_coded(bench: Bench, length: int, tuning: bool, found: dict[str, dict[str, int]]) -> None:
    q, k, v, held = make([length], 32, 8, 128)
    shape = f"B1 L{length // K}K"
    cost = decode_attention_cost(tokens=length, kv_heads=8, size=128)
    wide = q[:, :, None]
    bench.time(shape, "SDPA", lambda: scaled_dot_product_attention(wide, k, v, enable_gqa=True), cost, bits=16)
    for bits in (8, 4):
        cache = quantise_long(k, v, bits)
        key = f"{bits}-d128-{tuned.bucket(length)}"
        now = tuned.choose("decode", key)

        def ours(cache: QuantisedKV = cache) -> Tensor:
            return decode_attention(q, cache, None, held)

        if tuning:
            tiles = (
                (2, 16, 4, 3),
                (3, 16, 4, 3),
                (3, 16, 4, 2),
                (2, 16, 4, 4),
                (1, 16, 8, 3),
                (4, 16, 2, 3),
                (2, 16, 8, 3),
            )
            names = ("per_sm", "join", "num_warps", "num_stages")
            grid = [{"block": 128} | dict(zip(names, tile, strict=True)) for tile in tiles]
            found[key] = dict(bench.tune("decode", key, grid, ours, now))
        cost = decode_attention_cost(tokens=length, kv_heads=8, size=128, bits=bits)
        with tuned.forced("decode", found.get(key, now)):
            bench.time(shape, "ours", ours, cost, bits=bits)


def time_half(bench: Bench, tuning: bool) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, int]] = {}
    plans: list[tuple[str, list[int]]] = [(f"B1 L{n}K", [n * K]) for n in (64, 1024, 256, 16, 4)]
    plans += [("B8 L16K", [16 * K] * 8), ("B8 L64K", [64 * K] * 8), ("B8 ragged 4K..256K", RAGGED)]
    for shape, lengths in plans:
        time_plan(bench, shape, lengths, tuning, found)
        torch.cuda.empty_cache()
    return {"decode": found}


def time_quantised(bench: Bench, tuning: bool) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, int]] = {}
    for length in (1024 * K, 64 * K, 256 * K, 16 * K, 4 * K):
        time_coded(bench, length, tuning, found)
        torch.cuda.empty_cache()
    return {"decode": found}
