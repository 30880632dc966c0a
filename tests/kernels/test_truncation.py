"""The trap of long sums: tensor cores round the partial sums of a product towards zero, and it shows only at great length.

Round-to-nearest arithmetic, the interpreter's included, hides it. So the sum over a long row of near-equal weights is done
here as the hardware does it, on the numbers that a 4-bit cache really multiplies. The device suite repeats it to 1M tokens.
"""

from __future__ import annotations

import re

import numpy as np
import torch

from longboard_kernels.decode import BYTES_ASM, NIBBLES_ASM
from longboard_kernels.quantised import dequantise, empty_cache, quantise_into_ref

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
    cache = empty_cache(1, 1, TOKENS, 8, 4, "cpu")
    quantise_into_ref(cache, torch.zeros_like(values), values, 0)
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


def run_ptx(text: str, outputs: int, word: int) -> list[int]:
    """The few instructions that turn codes into numbers, on 32-bit words; operand `outputs` is the input."""
    registers = {f"${outputs}": word}

    def read(name: str) -> int:
        return registers[name] if name in registers else int(name, 0)

    def halves(value: int) -> np.ndarray:
        return np.array([value], np.uint32).view(np.float16).astype(np.float64)

    def pack(pair: np.ndarray) -> int:
        return int(pair.astype(np.float16).view(np.uint32)[0])

    for line in re.findall(
        r"[a-z0-9.]+ [^;{}]+(?=;)", text.replace("{", "").split("; ", 1)[1] if ".reg" in text else text
    ):
        operation, rest = line.split(" ", 1)
        target, *operands = [part.strip() for part in rest.split(",")]
        values = [read(name) for name in operands]
        if operation == "mov.b32":
            result = values[0]
        elif operation == "xor.b32":
            result = values[0] ^ values[1]
        elif operation == "shl.b32":
            result = (values[0] << values[1]) & 0xFFFFFFFF
        elif operation == "lop3.b32":
            assert values[3] == 0xEA  # (a and b) or c
            result = values[0] & values[1] | values[2]
        elif operation == "prmt.b32":
            pool = values[0].to_bytes(4, "little") + values[1].to_bytes(4, "little")
            result = int.from_bytes(bytes(pool[values[2] >> 4 * i & 7] for i in range(4)), "little")
        elif operation == "sub.f16x2":
            result = pack(halves(values[0]) - halves(values[1]))
        else:
            assert operation == "fma.rn.f16x2"
            result = pack(halves(values[0]) * halves(values[1]) + halves(values[2]))
        registers[target] = result
    return [registers[f"${i}"] for i in range(outputs)]


def test_the_bit_patterns_are_the_codes_numbers_for_every_byte() -> None:
    """This much of the kernel runs on no CPU, the interpreter's neither."""
    for byte in range(256):
        four = bytes([byte, 255 - byte, byte ^ 0x5A, byte ^ 0xA5])
        word = int.from_bytes(four, "little")
        whole = np.array(run_ptx(BYTES_ASM.value, 2, word), np.uint32).view(np.float16)
        assert whole.tolist() == np.frombuffer(four, np.int8).tolist()
        nibbles = np.array(run_ptx(NIBBLES_ASM.value, 4, word), np.uint32).view(np.float16)
        assert nibbles.tolist() == [2 * (b & 15) - 15 for b in four] + [2 * (b >> 4) - 15 for b in four]
