"""Whether a mixer computes on a device what it computes on the CPU: before any of its speeds counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longboard_tasks.suites.lra.mixers.base import CAUSAL, MixerConfig
from longboard_tasks.suites.lra.mixers.registry import build_mixer, directions, fit

LENGTH = 200
SINGLE, HALF = 1e-3, 6e-2  # largest error allowed, as a share of the largest value: fp32 without TF32, and bf16


@dataclass(frozen=True, slots=True)
class Verdict:
    mixer: str
    direction: str
    output_error: float  # fp32, share of the largest value
    gradient_error: float  # of the worst parameter or of the input
    half_error: float  # of the output, products in bf16

    @property
    def is_right(self) -> bool:
        return max(self.output_error, self.gradient_error) <= SINGLE and self.half_error <= HALF


def check_mixer(name: str, device: torch.device) -> list[Verdict]:
    """One verdict a direction: same weights and rows, some of them ended early, against the CPU in fp32."""
    verdicts = []
    for direction in directions(name):
        torch.manual_seed(0)
        config = fit(name, MixerConfig(64, 4, 64, direction == CAUSAL, LENGTH))
        mixer = build_mixer(name, config)
        x, weight = torch.randn(2, LENGTH, 64), torch.randn(2, LENGTH, 64)
        mask = torch.ones(2, LENGTH, dtype=torch.bool)
        mask[1, 137:] = False
        weight *= mask[..., None]
        expected = _run(mixer, x, mask, weight)
        on_device = build_mixer(name, config).to(device)
        on_device.load_state_dict(mixer.state_dict())
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            found = _run(on_device, x.to(device), mask.to(device), weight.to(device))
        finally:
            torch.set_float32_matmul_precision(precision)
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
            half = on_device(x.to(device), mask.to(device)).float().cpu() * mask[..., None]
        errors = [_error(one, two) for one, two in zip(found, expected, strict=True)]
        verdicts.append(Verdict(name, direction, errors[0], max(errors[1:]), _error(half, expected[0])))
    return verdicts


def _run(mixer: torch.nn.Module, x: Tensor, mask: Tensor, weight: Tensor) -> list[Tensor]:
    """The output at places that count, the gradient of the input, and those of all parameters; on the CPU."""
    x = x.detach().requires_grad_()
    y = mixer(x, mask) * mask[..., None]
    gradients = torch.autograd.grad((y * weight).sum(), [x, *mixer.parameters()], materialize_grads=True)
    return [part.detach().float().cpu() for part in (y, *gradients)]


def _error(found: Tensor, expected: Tensor) -> float:
    if not torch.isfinite(found).all():
        return float("inf")
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6)).item()
