"""The trap of long sums: tensor cores round the partial sums of a product towards zero, and it shows only at great length.

Round-to-nearest arithmetic, the interpreter's included, hides it. So the sum over a long row of near-equal weights is done
here as the hardware does it, on the numbers that a 4-bit cache really multiplies. The device suite repeats it to 1M tokens.
"""

from __future__ import annotations

import numpy as np
import torch

from longboard_kernels.quantised import dequantise, quantise

TOKENS, RUN = 262_144, 16  # the hardware adds 16 products at a time


def truncate(x: np.ndarray) -> np.ndarray:
    """fp64 -> fp32, towards zero."""
    near = x.astype(np.float32)
    over = np.abs(near.astype(np.float64)) > np.abs(x)
    return np.where(over, np.nextafter(near, np.float32(0)), near).astype(np.float32)


def add_as_hardware(weights: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """sum over t of weights[t] * numbers[t], [C]: exact products, runs of 16 into an fp32 sum that is truncated."""
    total = np.zeros(numbers.shape[1], np.float32)
    products = (weights[:, None] * numbers).reshape(-1, RUN, numbers.shape[1]).sum(1)
    for run in products:
        total = truncate(total.astype(np.float64) + run)
    return total


def test_codes_around_zero_keep_a_long_sum_right_and_positive_codes_would_not() -> None:
    torch.manual_seed(0)
    values = torch.randn(1, 1, TOKENS, 8)
    cache = quantise(torch.zeros_like(values), values, 4)
    assert cache.v_zero is not None
    packed = cache.v_codes[0, 0]  # [n, D, 64]
    codes = torch.cat([packed & 15, packed >> 4], dim=2).transpose(1, 2).reshape(TOKENS, 8).double().numpy()
    scale, zero = cache.v_scale.flatten().double().numpy(), cache.v_zero.flatten().double().numpy()
    weights = np.random.default_rng(0).uniform(0.7, 1.0, TOKENS)  # near-uniform attention, as over noise
    exact = weights @ dequantise(cache)[1][0, 0].double().numpy()

    def error(numbers: np.ndarray, offset: np.ndarray) -> float:
        got = add_as_hardware(weights * scale, numbers) + weights @ offset
        return float(np.linalg.norm(got - exact) / np.linalg.norm(exact))

    assert error(2 * codes - 15, zero) < 6e-3
    assert error(codes * 2, zero - 15 * scale) > 6e-3
