"""K3 against the recurrence in fp64: lengths off the chunk, groups, a carried state, clamped steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels.errors import KernelInputError
from longboard_kernels.ssd import ssd_scan, ssd_scan_ref
from longboard_kernels.ssd_step import ssd_step
from longboard_kernels.tuned import forced

SMALL = {
    "chunk": 64, "rows": 32, "keys": 16, "heads": 2, "num_warps": 4, "num_stages": 2,
    "state_keys": 32, "state_warps": 4, "state_stages": 2, "registers": 0, "ahead": 2, "persistent": 0,
}  # fmt: skip


def make(batch: int, tokens: int, heads: int, groups: int, size: int, states: int, device: str) -> dict[str, Any]:
    line = torch.randn(batch, tokens, heads * size + 2 * groups * states, device=device)
    x, b, c = line.split(
        [heads * size, groups * states, groups * states], dim=-1
    )  # slices, as the convolution leaves them
    return {
        "x": x.unflatten(-1, (heads, size)),
        "dt": torch.randn(batch, tokens, heads, device=device),
        "a": -torch.rand(heads, device=device) * 8,
        "b": b.unflatten(-1, (groups, states)),
        "c": c.unflatten(-1, (groups, states)),
        "skip": torch.randn(heads, device=device),
        "dt_bias": torch.rand(heads, device=device) - 3,
    }


def scan_by_hand(made: dict[str, Any], state: Tensor, limit: tuple[float, float]) -> tuple[Tensor, Tensor]:
    x, dt, a, b, c, skip, bias = (made[n].double() for n in ("x", "dt", "a", "b", "c", "skip", "dt_bias"))
    share, h = x.shape[2] // b.shape[2], state.double()
    b, c = b.repeat_interleave(share, 2), c.repeat_interleave(share, 2)
    step = torch.log1p(torch.exp(dt + bias)).clamp(*limit)
    y = torch.empty_like(x)
    for t in range(x.shape[1]):
        decay = torch.exp(step[:, t] * a)[..., None, None]
        h = decay * h + step[:, t, :, None, None] * x[:, t, :, :, None] * b[:, t, :, None, :]
        y[:, t] = (h * c[:, t, :, None, :]).sum(-1) + skip[:, None] * x[:, t]
    return y, h


@pytest.mark.parametrize("run", [ssd_scan, ssd_scan_ref])
@pytest.mark.parametrize(
    ("tokens", "heads", "groups", "limit"),
    [(1, 2, 1, (0.0, 9.0)), (150, 4, 2, (0.02, 0.1)), (128, 3, 1, (0, 9)), (323, 2, 1, (0, 9))],
)
def test_the_chunks_give_the_recurrence_and_its_state(run, tokens, heads, groups, limit, device) -> None:
    made = make(2, tokens, heads, groups, 16, 32, device)
    state = torch.randn(2, heads, 16, 32, device=device)
    wanted, end = scan_by_hand(made, state, limit)
    with forced("ssd_scan", SMALL):
        got = run(**made, state=state, dt_limit=limit)
    assert relative_error(got, wanted) < 1e-5
    assert relative_error(state, end) < 1e-5


def test_a_state_of_any_size_is_padded_inside(device: str) -> None:
    made, state = make(1, 70, 2, 1, 16, 20, device), torch.randn(1, 2, 16, 20, device=device)
    wanted, end = scan_by_hand(made, state, (0.0, 9.0))
    with forced("ssd_scan", SMALL):
        got = ssd_scan(**made, state=state)
    assert relative_error(got, wanted) < 1e-5
    assert relative_error(state, end) < 1e-5
    at = {k: v[:, 0] if v.dim() >= 3 else v for k, v in made.items()}
    y, stepped = scan_by_hand({k: v[:, :1] if v.dim() >= 3 else v for k, v in made.items()}, end, (0.0, 9.0))
    assert relative_error(ssd_step(**at, state=state), y[:, 0]) < 1e-5
    assert relative_error(state, stepped) < 1e-5


def test_a_cut_sequence_gives_the_same_as_a_whole_one(device: str) -> None:
    made = make(1, 150, 2, 1, 16, 16, device)
    state, parts = torch.zeros(1, 2, 16, 16, device=device), []
    with forced("ssd_scan", SMALL):
        whole = ssd_scan(**made)
        for first, stop in ((0, 70), (70, 71), (71, 150)):
            part = {k: v[:, first:stop] if v.dim() >= 3 else v for k, v in made.items()}
            parts.append(ssd_scan(**part, state=state))
    assert relative_error(torch.cat(parts, dim=1), whole) < 1e-5


def test_a_head_size_that_the_tiles_cannot_hold_is_refused(device: str) -> None:
    with pytest.raises(KernelInputError, match="P=24"):
        ssd_scan(**make(1, 8, 2, 1, 24, 16, device))


def test_single_steps_walk_the_same_path_as_the_chunks(device: str) -> None:
    made = make(2, 9, 4, 2, 16, 32, device)
    state = torch.randn(2, 4, 16, 32, device=device)
    wanted, end = scan_by_hand(made, state, (0.02, 0.5))
    for t in range(9):
        at = {k: v[:, t] if v.dim() >= 3 else v for k, v in made.items()}
        y = ssd_step(**at, state=state, dt_limit=(0.02, 0.5))
        assert relative_error(y, wanted[:, t]) < 1e-5
    assert relative_error(state, end) < 1e-5
