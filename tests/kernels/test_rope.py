"""K5 against rotation by complex numbers, in contiguous and paged caches."""

from __future__ import annotations

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels.rope import rope_and_store, rope_and_store_ref


def make_angles(
    tokens: int, rotary: int, first: int, device: str, factor: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """cos and sin [1, T, R] with each half twice, and the angles [T, R / 2]."""
    frequency = 10_000.0 ** -(torch.arange(rotary // 2, dtype=torch.float64) / (rotary // 2))
    angles = torch.arange(first, first + tokens, dtype=torch.float64)[:, None] * frequency
    both = torch.cat([angles, angles], dim=-1)[None].to(device)
    return (both.cos() * factor).float(), (both.sin() * factor).float(), angles.to(device)


def turn(x: Tensor, angles: Tensor, factor: float) -> Tensor:
    """x [B, T, H, D] as complex numbers, times factor * exp(i angle) on the first channels."""
    half = angles.shape[-1]
    number = torch.complex(x[..., :half].double(), x[..., half : 2 * half].double())
    number = number * torch.polar(torch.full_like(angles, factor), angles)[None, :, None]
    return torch.cat([number.real, number.imag, x[..., 2 * half :].double()], dim=-1)


@pytest.mark.parametrize("run", [rope_and_store, rope_and_store_ref])
@pytest.mark.parametrize(("rotary", "factor"), [(32, 1.0), (8, 1.0), (32, 1.2079)])
@pytest.mark.parametrize("tokens", [1, 40])
def test_heads_turn_as_complex_numbers_and_land_after_what_is_held(run, rotary, factor, tokens, device) -> None:
    first, held = 7, 64
    projected = torch.randn(2, tokens, (6 + 4) * 32, device=device)
    q, k, v = (part.unflatten(-1, (-1, 32)) for part in projected.split([6 * 32, 2 * 32, 2 * 32], dim=-1))
    cos, sin, angles = make_angles(tokens, rotary, first, device, factor)
    wanted_q, wanted_k, wanted_v = turn(q, angles, factor), turn(k, angles, factor), v.clone()
    keys, values = (torch.full((2, 2, held, 32), torch.nan, device=device) for _ in range(2))
    run(q, k, v, cos, sin, keys, values, torch.tensor([first], device=device))
    assert relative_error(q, wanted_q) < 1e-6
    assert relative_error(keys[:, :, first : first + tokens], wanted_k.transpose(1, 2)) < 1e-6
    assert torch.equal(values[:, :, first : first + tokens], wanted_v.transpose(1, 2))
    rest = torch.cat([keys[:, :, :first], keys[:, :, first + tokens :]], dim=2)
    assert rest.isnan().all()  # nothing is written beside the new tokens


def test_pages_get_the_same_keys_as_a_contiguous_cache(device: str) -> None:
    tokens, first, size = 21, 5, 8
    q, k, v = torch.randn(2, tokens, 4, 16, device=device), *torch.randn(2, 2, tokens, 2, 16, device=device)
    cos, sin, _ = make_angles(tokens, 16, first, device)
    keys, values = (torch.zeros(2, 2, 32, 16, device=device) for _ in range(2))
    rope_and_store(q.clone(), k, v, cos, sin, keys, values, first)
    pages = torch.randperm(8, device=device).reshape(2, 4).int()
    pool_k, pool_v = (torch.zeros(8, 2, size, 16, device=device) for _ in range(2))
    rope_and_store(q.clone(), k, v, cos, sin, pool_k, pool_v, first, pages=pages)
    for row in range(2):
        assert torch.equal(torch.cat(list(pool_k[pages[row].long()]), dim=1), keys[row])
        assert torch.equal(torch.cat(list(pool_v[pages[row].long()]), dim=1), values[row])
