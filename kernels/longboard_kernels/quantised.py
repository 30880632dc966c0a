"""The 8-bit and 4-bit KV caches that K1 reads: their layout, how they are filled, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
    require(bits in (4, 8), f"A cache of {bits} bits is not made here: 4 or 8.")
    require(keys.shape[2] % GROUP == 0, f"{keys.shape[2]} tokens are not whole groups of {GROUP}.")
    k, v = (x.float().unflatten(2, (-1, GROUP)) for x in (keys, values))  # [B, HKV, n, 128, D]
    k_codes, k_scale, k_zero = _encode(k, 3, bits)
    v_codes, v_scale, v_zero = _encode(v, 4, bits)
    v_codes = v_codes.transpose(3, 4)
    if bits == 4:
        k_codes = k_codes[..., : GROUP // 2, :] | (k_codes[..., GROUP // 2 :, :] << 4)
        v_codes = v_codes[..., : GROUP // 2] | (v_codes[..., GROUP // 2 :] << 4)
    return QuantisedKV(bits, k_codes.contiguous(), k_scale, k_zero, v_codes.contiguous(), v_scale, v_zero)


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
    """Codes, scale and zero with one scale for all numbers along an axis."""
    if bits == 8:
        scale = x.abs().amax(along, keepdim=True).clamp_min(1e-8) / 127
        return (x / scale).round().clamp(-127, 127).to(torch.int8), scale.squeeze(along), None
    low, high = x.amin(along, keepdim=True), x.amax(along, keepdim=True)
    step = ((high - low) / 15).clamp_min(1e-8)
    codes = ((x - low) / step).round().clamp(0, 15).to(torch.uint8)
    return codes, (step / 2).squeeze(along), (low + 7.5 * step).squeeze(along)
