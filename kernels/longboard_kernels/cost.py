"""What an operation must move and compute at least, and how long a device needs for that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Necessary work of one call: each tensor once, each product once.

    nbytes        bytes read and written
    flops         floating-point operations of matrix products (a multiply-add is two)
    exponentials  evaluated on the special-function units, 16 a clock and multiprocessor on an H100
    """

    nbytes: float
    flops: float = 0.0
    exponentials: float = 0.0


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a device was measured to reach: bytes/s, FLOP/s of a large bf16 product, exponentials/s."""

    bytes_per_s: float
    flops_per_s: float
    exponentials_per_s: float


def floor_ms(cost: Cost, ceilings: Ceilings) -> float:
    """The least time, in ms: the largest of the three, as if they overlapped without loss."""
    seconds = (
        cost.nbytes / ceilings.bytes_per_s,
        cost.flops / ceilings.flops_per_s,
        cost.exponentials / ceilings.exponentials_per_s,
    )
    return 1e3 * max(seconds)
