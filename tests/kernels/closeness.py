"""How far a result is from what it should be."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Root of the summed squared differences over that of the wanted values, in fp64; infinite if anything is not finite."""
    got, wanted = got.double().cpu(), wanted.double().cpu()
    if not torch.isfinite(got).all():
        return float("inf")
    return float((got - wanted).norm() / wanted.norm().clamp_min(1e-300))
