"""K2 against the recurrence in fp64, in one segment and in many, with and without a carried state."""

from __future__ import annotations

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels.errors import KernelInputError
from longboard_kernels.selective_scan import selective_scan, selective_scan_ref
from longboard_kernels.tuned import forced


def scan_by_hand(u, dt, a, b, c, skip, z, bias, state) -> tuple[Tensor, Tensor]:
    """The recurrence as written, fp64, every number for itself."""
    u, dt, a, b, c, h = (x.double() for x in (u, dt, a, b, c, state))
    step = torch.log1p(torch.exp(dt + (bias.double() if bias is not None else 0)))
    out = torch.empty_like(u)
    for t in range(u.shape[1]):
        h = torch.exp(step[:, t, :, None] * a) * h + step[:, t, :, None] * u[:, t, :, None] * b[:, t, None, :]
        out[:, t] = (h * c[:, t, None, :]).sum(-1)
    out = out + (u * skip.double() if skip is not None else 0)
    return (out * z.double() * torch.sigmoid(z.double()) if z is not None else out), h


def make(batch: int, tokens: int, channels: int, size: int, device: str) -> dict[str, Tensor]:
    wide = torch.randn(batch, tokens, 3 * channels + 2 * size, device=device)
    u, dt, z, b, c = wide.split([channels] * 3 + [size] * 2, dim=-1)  # slices, as a projection leaves them
    a = -torch.rand(channels, size, device=device) * 4
    skip, bias = torch.randn(channels, device=device), torch.rand(channels, device=device) - 3
    return {"u": u, "dt": dt, "a": a, "b": b, "c": c, "skip": skip, "z": z, "dt_bias": bias}


@pytest.mark.parametrize(
    ("tokens", "shortest", "channels", "size", "speed"),
    [
        (1, 128, 40, 16, 1),
        (2, 128, 32, 8, 1),
        (30, 128, 40, 8, 1),
        (34, 16, 32, 16, 1),
        (25, 8, 40, 4, 1),
        (19, 8, 24, 12, 1),
        (48, 16, 32, 4, 60),
    ],
)
@pytest.mark.parametrize("lanes", [32, 64])
def test_any_number_of_segments_gives_the_recurrence_and_its_state(
    tokens, shortest, channels, size, speed, lanes, device
) -> None:
    """speed 60: what came before a segment is forgotten within it, and the launch that adds it stops early."""
    made = make(2, tokens, channels, size, device)
    made["a"] = made["a"] * speed - (speed > 1) * 20
    state = torch.randn(2, channels, size, device=device)
    wanted, end = scan_by_hand(*[made[n] for n in ("u", "dt", "a", "b", "c", "skip", "z", "dt_bias")], state)
    with forced("selective_scan", {"lanes": lanes, "warps": 64, "unroll": 4, "shortest": shortest}):
        got = selective_scan(**made, state=state)
    assert relative_error(got, wanted) < 1e-5
    assert relative_error(state, end) < 1e-5


def test_a_cut_sequence_gives_the_same_as_a_whole_one(device: str) -> None:
    made = make(1, 36, 32, 8, device)
    whole = selective_scan(**made)
    state, parts = torch.zeros(1, 32, 8, device=device), []
    for first, stop in ((0, 21), (21, 22), (22, 36)):
        part = {k: v[:, first:stop] if v.dim() == 3 else v for k, v in made.items()}
        parts.append(selective_scan(**part, state=state))
    assert relative_error(torch.cat(parts, dim=1), whole) < 1e-5


def test_without_gate_skip_and_bias_only_the_recurrence_is_left(device: str) -> None:
    made = make(1, 20, 32, 16, device) | {"z": None, "skip": None, "dt_bias": None}
    state = torch.zeros(1, 32, 16, device=device)
    wanted, _ = scan_by_hand(*[made[n] for n in ("u", "dt", "a", "b", "c", "skip", "z", "dt_bias")], state)
    assert relative_error(selective_scan(**made), wanted) < 1e-5


def test_the_definition_is_the_recurrence() -> None:
    made, state = make(2, 9, 6, 4, "cpu"), torch.randn(2, 6, 4)
    wanted, end = scan_by_hand(*[made[n] for n in ("u", "dt", "a", "b", "c", "skip", "z", "dt_bias")], state)
    assert relative_error(selective_scan_ref(**made, state=state), wanted) < 1e-5
    assert relative_error(state, end) < 1e-5


def test_a_transposed_input_is_refused(device: str) -> None:
    made = make(1, 8, 8, 4, device)
    with pytest.raises(KernelInputError, match="channel stride"):
        selective_scan(**(made | {"u": torch.randn(1, 8, 8, device=device).mT}))
