"""K8 against the recurrence in fp64: lengths off the chunk, key heads that serve several, repeated keys, a carried state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels.errors import KernelInputError
from longboard_kernels.gated_delta import gated_delta, gated_delta_ref
from longboard_kernels.gated_delta_step import gated_delta_step, gated_delta_step_ref
from longboard_kernels.tuned import forced

SMALL = {
    "chunk": 64, "segment": 128, "values": 16, "num_warps": 4, "num_stages": 2, "prepare_warps": 4, "prepare_registers": 255,
}  # fmt: skip


def make(
    batch: int, tokens: int, groups: int, heads: int, size: int, values: int, device: str, dtype: torch.dtype
) -> dict[str, Any]:
    line = torch.randn(batch, tokens, 2 * groups * size + heads * values, device=device, dtype=dtype)
    q, k, v = line.split(
        [groups * size, groups * size, heads * values], dim=-1
    )  # slices, as the convolution leaves them
    return {
        "q": q.unflatten(-1, (groups, size)),
        "k": k.unflatten(-1, (groups, size)),
        "v": v.unflatten(-1, (heads, values)),
        "decay": -torch.rand(batch, tokens, heads, device=device).pow(4) * 2,
        "beta": torch.rand(batch, tokens, heads, device=device),
    }


def recur_by_hand(made: dict[str, Any], state: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v, decay, beta = (made[n].double() for n in ("q", "k", "v", "decay", "beta"))
    share, h = v.shape[2] // q.shape[2], state.double()
    q, k = ((x / (x.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt()).repeat_interleave(share, 2) for x in (q, k))
    out = torch.empty_like(v)
    for t in range(v.shape[1]):
        h = h * decay[:, t].exp()[..., None, None]
        missing = v[:, t] - (h * k[:, t, :, :, None]).sum(2)
        h = h + k[:, t, :, :, None] * (missing * beta[:, t, :, None])[:, :, None]
        out[:, t] = (h * q[:, t, :, :, None]).sum(2) / q.shape[-1] ** 0.5
    return out, h


@pytest.mark.parametrize("run", [gated_delta, gated_delta_ref])
@pytest.mark.parametrize(
    ("tokens", "groups", "heads", "size", "values"),
    [(1, 1, 2, 16, 32), (63, 2, 2, 32, 16), (65, 1, 1, 64, 64), (128, 2, 4, 16, 16), (333, 1, 3, 16, 32)],
)
def test_the_chunks_give_the_recurrence_and_its_state(run, tokens, groups, heads, size, values, device) -> None:
    made = make(2, tokens, groups, heads, size, values, device, torch.float32)
    state = torch.randn(2, heads, size, values, device=device)
    wanted, end = recur_by_hand(made, state)
    with forced("gated_delta", SMALL):
        got = run(**made, state=state)
    assert relative_error(got, wanted) < 1e-5
    assert relative_error(state, end) < 1e-5


@pytest.mark.parametrize("beta", [1.0, 0.999])
def test_a_key_that_repeats_is_solved_for_and_nothing_grows(beta: float, device: str) -> None:
    made = make(1, 130, 1, 2, 32, 16, device, torch.float32)
    made["k"] = made["k"][:, :1].expand(-1, 130, -1, -1)
    made["beta"], made["decay"] = torch.full_like(made["beta"], beta), torch.zeros_like(made["decay"])
    state = torch.randn(1, 2, 32, 16, device=device)
    wanted, end = recur_by_hand(made, state)
    with forced("gated_delta", SMALL):
        got = gated_delta(**made, state=state)
    assert relative_error(got, wanted) < 1e-5
    assert relative_error(state, end) < 1e-5


def test_a_state_that_is_forgotten_at_once_overflows_nowhere(device: str) -> None:
    made = make(1, 100, 1, 2, 16, 16, device, torch.float32)
    made["decay"] = torch.full_like(made["decay"], -80.0)
    state = torch.randn(1, 2, 16, 16, device=device)
    wanted, end = recur_by_hand(made, state)
    with forced("gated_delta", SMALL):
        got = gated_delta(**made, state=state)
    assert relative_error(got, wanted) < 1e-5
    assert relative_error(state, end) < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3)])
def test_half_precision_keeps_the_state_and_its_own_dtype(dtype: torch.dtype, tolerance: float, device: str) -> None:
    made = make(1, 150, 1, 2, 32, 32, device, dtype)
    state = torch.randn(1, 2, 32, 32, device=device)
    wanted, end = recur_by_hand(made, state)
    with forced("gated_delta", SMALL):
        got = gated_delta(**made, state=state)
    assert got.dtype == dtype
    assert relative_error(got, wanted) < tolerance
    assert relative_error(state, end) < tolerance


@pytest.mark.parametrize("chunk", [16, 32, 64])
def test_a_cut_sequence_gives_the_same_as_a_whole_one_whatever_the_segments(chunk: int, device: str) -> None:
    made = make(1, 300, 1, 2, 16, 16, device, torch.float32)
    state, parts = torch.zeros(1, 2, 16, 16, device=device), []
    with forced("gated_delta", SMALL | {"segment": 4096}):
        whole = gated_delta(**made)
    with forced("gated_delta", SMALL | {"chunk": chunk}):
        for first, stop in ((0, 70), (70, 71), (71, 300)):
            parts.append(gated_delta(**{k: v[:, first:stop] for k, v in made.items()}, state=state))
    assert relative_error(torch.cat(parts, dim=1), whole) < 1e-5


def test_nothing_of_what_memory_held_before_is_read(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, state = make(1, 200, 1, 2, 16, 16, device, torch.float32), torch.randn(1, 2, 16, 16, device=device)
    wanted, end = recur_by_hand(made, state)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **more: empty(*size, **more).fill_(float("nan")))
    with forced("gated_delta", SMALL):
        got = gated_delta(**made, state=state)
    assert relative_error(got, wanted) < 1e-5
    assert relative_error(state, end) < 1e-5


def test_a_state_kept_in_another_order_is_written_back(device: str) -> None:
    made, state = make(1, 70, 1, 2, 16, 32, device, torch.float32), torch.randn(1, 2, 32, 16, device=device).mT
    _, end = recur_by_hand(made, state)
    with forced("gated_delta", SMALL):
        gated_delta(**made, state=state)
    assert relative_error(state, end) < 1e-5


@pytest.mark.parametrize("run", [gated_delta_step, gated_delta_step_ref])
def test_single_steps_walk_the_same_path_as_the_chunks(run, device: str) -> None:
    made = make(2, 9, 2, 4, 16, 32, device, torch.float32)
    state = torch.randn(2, 4, 16, 32, device=device)
    wanted, end = recur_by_hand(made, state)
    for t in range(9):
        got = run(**{k: v[:, t] for k, v in made.items()}, state=state)
        assert relative_error(got, wanted[:, t]) < 1e-5
    assert relative_error(state, end) < 1e-5


def test_what_the_tiles_cannot_hold_is_refused(device: str) -> None:
    made = make(1, 8, 1, 2, 24, 16, device, torch.float32)
    with pytest.raises(KernelInputError, match="K=24"):
        gated_delta(**made)
    with pytest.raises(KernelInputError, match="K=24"):
        gated_delta_step(**{k: v[:, 0] for k, v in made.items()}, state=torch.zeros(1, 2, 24, 16, device=device))
    made = make(1, 8, 1, 2, 16, 16, device, torch.float32)
    with pytest.raises(KernelInputError, match="fp32"):
        gated_delta(**made, state=torch.zeros(1, 2, 16, 16, device=device, dtype=torch.float16))
