"""The 8-bit and 4-bit KV caches that K1 reads: their layout, how they are filled, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from longboard_kernels.device import runs_triton
from longboard_kernels.errors import require

GROUP = 128  # tokens that share a key scale; a page, where pages are used


@dataclass(frozen=True, slots=True)
class QuantisedKV:
    """Keys and values of one layer in groups of 128 tokens. A number is code * scale, or at 4 bits (2 code - 15) * scale + zero.

    The odd numbers around zero are for the tensor cores: they truncate their sums, so codes that are all positive leave a bias
    that grows with the length (0.2 of the output at a million tokens on an H200) and that no zero takes off again.

    k_codes  [B, HKV, n, 128, D] int8;  4 bits: [B, HKV, n, 64, D] uint8, byte j holds token j (low) and token j + 64 (high)
    k_scale  [B, HKV, n, D] fp32, one for each channel of a group; k_zero the same, or None
    v_codes  [B, HKV, n, D, 128] int8, transposed so that a product over tokens reads runs of them; 4 bits: [B, HKV, n, D, 64]
    v_scale  [B, HKV, n, 128] fp32, one for each token; v_zero the same, or None

    With pages the first axis counts pages and the third is 1.
    Source: Liu et al. 2024 (KIVI, arXiv:2402.02750): keys per channel, values per token. We differ: key groups of 128 tokens.
    """

    bits: int
    k_codes: Tensor
    k_scale: Tensor
    k_zero: Tensor | None
    v_codes: Tensor
    v_scale: Tensor
    v_zero: Tensor | None

    @property
    def nbytes(self) -> int:
        tensors = (self.k_codes, self.k_scale, self.k_zero, self.v_codes, self.v_scale, self.v_zero)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def quantise(keys: Tensor, values: Tensor, bits: int) -> QuantisedKV:
    """Quantise whole groups: keys, values [B, HKV, T, D], T a multiple of 128; bits 8 (symmetric) or 4 (with a zero).

    Raises KernelInputError for other bits or an open group: the newest tokens stay in half precision until their group is full.
    """
    cache = empty_cache(keys.shape[0], keys.shape[1], keys.shape[2], keys.shape[3], bits, keys.device)
    quantise_into(cache, keys, values, 0)
    return cache


def empty_cache(rows: int, kv_heads: int, tokens: int, size: int, bits: int, device: torch.device | str) -> QuantisedKV:
    """Room for `tokens`, rounded up to whole groups; nothing in it is set."""
    require(bits in (4, 8), f"A cache of {bits} bits is not made here: 4 or 8.")
    shape, kind = (rows, kv_heads, -(-tokens // GROUP)), torch.int8 if bits == 8 else torch.uint8
    run = GROUP * bits // 8

    def room(*more: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(*shape, *more, dtype=dtype, device=device)

    zeros = (room(size), room(GROUP)) if bits == 4 else (None, None)
    return QuantisedKV(
        bits, room(run, size, dtype=kind), room(size), zeros[0], room(size, run, dtype=kind), room(GROUP), zeros[1]
    )


def quantise_into(cache: QuantisedKV, keys: Tensor, values: Tensor, first_group: int) -> None:
    """Write whole groups into `cache`, in place, from group `first_group` on.

    keys, values  [B, HKV, T, D]  fp32, fp16 or bf16, any strides; T a multiple of 128; D a power of two

    One program a group and head: keys get a scale for each channel, values one for each token, and values leave transposed.
    Held to `quantise_into_ref`: the same codes. Cost: every number read once.
    Raises KernelInputError for an open group, for groups beyond the room, or for a cache of other rows and heads (a paged one).
    """
    batch, kv_heads, tokens, size = keys.shape
    groups, room = tokens // GROUP, cache.k_codes.shape[2]
    require(tokens % GROUP == 0, f"{tokens} tokens are not whole groups of {GROUP}.")
    require(
        first_group + groups <= room,
        f"Group {first_group + groups - 1} is beyond the room for {room}.",
    )
    require(
        cache.k_codes.shape[:2] == keys.shape[:2], f"The cache holds {tuple(cache.k_codes.shape[:2])} rows and heads."
    )
    if not runs_triton(keys) or not groups:
        quantise_into_ref(cache, keys, values, first_group)
        return
    zeros = (
        cache.k_zero if cache.k_zero is not None else cache.k_scale,
        cache.v_zero if cache.v_zero is not None else cache.v_scale,
    )
    _quantise[(groups, kv_heads, batch)](
        keys, values, cache.k_codes, cache.k_scale, zeros[0], cache.v_codes, cache.v_scale, zeros[1], first_group, room,
        *keys.stride(), *values.stride(), BITS=cache.bits, D=size, num_warps=8,
    )  # fmt: skip


def quantise_into_ref(cache: QuantisedKV, keys: Tensor, values: Tensor, first_group: int) -> None:
    """The definition: same contract, plain PyTorch, any device."""
    here = slice(first_group, first_group + keys.shape[2] // GROUP)
    k, v = (x.float().unflatten(2, (-1, GROUP)) for x in (keys, values))  # [B, HKV, n, 128, D]
    for x, along, codes_out, scale_out, zero_out in (
        (k, 3, cache.k_codes, cache.k_scale, cache.k_zero),
        (v, 4, cache.v_codes.transpose(3, 4), cache.v_scale, cache.v_zero),
    ):
        codes, scale, zero = _encode(x, along, cache.bits)
        if zero is not None and zero_out is not None:
            codes = codes[..., : GROUP // 2, :] | (codes[..., GROUP // 2 :, :] << 4)
            zero_out[:, :, here] = zero
        codes_out[:, :, here] = codes
        scale_out[:, :, here] = scale


def dequantise(cache: QuantisedKV) -> tuple[Tensor, Tensor]:
    """The keys and values that the cache stands for, [B, HKV, T, D] fp32."""
    k, v = cache.k_codes, cache.v_codes
    if cache.bits == 4:
        k, v = (torch.cat([x & 15, x >> 4], dim=along).short() * 2 - 15 for x, along in ((k, 3), (v, 4)))
    keys = k.float() * cache.k_scale[:, :, :, None]
    values = v.float().transpose(3, 4) * cache.v_scale[..., None]
    if cache.k_zero is not None and cache.v_zero is not None:
        keys, values = keys + cache.k_zero[:, :, :, None], values + cache.v_zero[..., None]
    return keys.flatten(2, 3), values.flatten(2, 3)


def _encode(x: Tensor, along: int, bits: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Codes, scale and zero with one scale for all numbers along an axis.

    Times a reciprocal, as in the kernel: PyTorch divides by a number in one way on the CPU and in another on a GPU."""
    if bits == 8:
        scale = x.abs().amax(along, keepdim=True).clamp_min(1e-8) * (1 / 127)
        return (x / scale + 0.5).floor().clamp(-127, 127).to(torch.int8), scale.squeeze(along), None
    low, high = x.amin(along, keepdim=True), x.amax(along, keepdim=True)
    step = ((high - low) * (1 / 15)).clamp_min(1e-8)
    codes = ((x - low) / step + 0.5).floor().clamp(0, 15).to(torch.uint8)
    return codes, (step / 2).squeeze(along), (low + 7.5 * step).squeeze(along)


@triton.jit
def _to_codes(x, low, step, BITS: tl.constexpr):
    """Numbers -> codes as int32, rounded to the nearest; half-way goes up. Divisions round as PyTorch's do: numbers of few bits
    lie half-way often, and an approximate quotient would put them on either side."""
    if BITS == 8:
        codes = tl.minimum(tl.maximum(tl.floor(tl.div_rn(x, step) + 0.5), -127.0), 127.0)
    else:
        codes = tl.minimum(tl.maximum(tl.floor(tl.div_rn(x - low, step) + 0.5), 0.0), 15.0)
    return codes.to(tl.int32)


@triton.jit
def _quantise(
    K, V, KC, KS, KZ, VC, VS, VZ, FIRST, ROOM, kb, kh, kt, kd, vb, vh, vt, vd, BITS: tl.constexpr, D: tl.constexpr
):  # fmt: skip
    """One group of one head, in two halves of 64 tokens: at 4 bits a byte holds a token of each."""
    HALF: tl.constexpr = 64
    group = tl.program_id(0)
    h = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    n = tl.arange(0, HALF)
    d = tl.arange(0, D)
    slot = (b * tl.num_programs(1) + h) * ROOM + FIRST + group
    t = group.to(tl.int64) * (2 * HALF) + n
    source = K + b * kb + h.to(tl.int64) * kh + t[:, None] * kt + d[None, :] * kd
    x0 = tl.load(source).to(tl.float32)
    x1 = tl.load(source + HALF * kt).to(tl.float32)
    low = tl.minimum(tl.min(x0, 0), tl.min(x1, 0))
    high = tl.maximum(tl.max(x0, 0), tl.max(x1, 0))
    if BITS == 8:
        step = tl.maximum(tl.maximum(high, -low), 1e-8) * (1 / 127)
    else:
        step = tl.maximum((high - low) * (1 / 15), 1e-8)
    c0 = _to_codes(x0, low[None, :], step[None, :], BITS)
    c1 = _to_codes(x1, low[None, :], step[None, :], BITS)
    out = n[:, None] * D + d[None, :]
    if BITS == 8:
        tl.store(KC + slot * (2 * HALF * D) + out, c0.to(tl.int8))
        tl.store(KC + slot * (2 * HALF * D) + HALF * D + out, c1.to(tl.int8))
        tl.store(KS + slot * D + d, step)
    else:
        tl.store(KC + slot * (HALF * D) + out, (c0 | (c1 << 4)).to(tl.uint8))
        tl.store(KS + slot * D + d, step / 2)
        tl.store(KZ + slot * D + d, low + 7.5 * step)
    source = V + b * vb + h.to(tl.int64) * vh + t[:, None] * vt + d[None, :] * vd
    x0 = tl.load(source).to(tl.float32)
    x1 = tl.load(source + HALF * vt).to(tl.float32)
    low0 = tl.min(x0, 1)
    low1 = tl.min(x1, 1)
    if BITS == 8:
        step0 = tl.maximum(tl.max(tl.abs(x0), 1), 1e-8) * (1 / 127)
        step1 = tl.maximum(tl.max(tl.abs(x1), 1), 1e-8) * (1 / 127)
    else:
        step0 = tl.maximum((tl.max(x0, 1) - low0) * (1 / 15), 1e-8)
        step1 = tl.maximum((tl.max(x1, 1) - low1) * (1 / 15), 1e-8)
    c0 = _to_codes(x0, low0[:, None], step0[:, None], BITS)
    c1 = _to_codes(x1, low1[:, None], step1[:, None], BITS)
    scales = VS + slot * (2 * HALF) + n
    if BITS == 8:
        out = VC + slot * (2 * HALF * D) + d[None, :] * (2 * HALF) + n[:, None]
        tl.store(out, c0.to(tl.int8))
        tl.store(out + HALF, c1.to(tl.int8))
        tl.store(scales, step0)
        tl.store(scales + HALF, step1)
    else:
        tl.store(VC + slot * (HALF * D) + d[None, :] * HALF + n[:, None], (c0 | (c1 << 4)).to(tl.uint8))
        tl.store(scales, step0 / 2)
        tl.store(scales + HALF, step1 / 2)
        zeros = VZ + slot * (2 * HALF) + n
        tl.store(zeros, low0 + 7.5 * step0)
        tl.store(zeros + HALF, low1 + 7.5 * step1)
