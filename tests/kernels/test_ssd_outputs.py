"""K3's outputs in CUDA C++ against the recurrence: its source on a CPU, thread for thread, and on a GPU the kernel itself."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels import ssd_outputs, tuned
from longboard_kernels.ssd import ssd_scan, ssd_scan_ref

HERE = Path(__file__).parent
HALF = 4e-3  # bf16: weights, states and y are rounded
LOG2_E = 1.4426950408889634
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make(batch: int, tokens: int, heads: int, groups: int, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
    """Slices of one line, as a convolution leaves them."""
    torch.manual_seed(seed)
    line = torch.randn(batch, tokens, heads * 64 + 2 * groups * 128, device=device).bfloat16()
    x, b, c = line.split([heads * 64, groups * 128, groups * 128], dim=-1)
    return {
        "x": x.unflatten(-1, (heads, 64)),
        "dt": torch.randn(batch, tokens, heads, device=device).bfloat16(),
        "a": -torch.rand(heads, device=device) * 8,
        "b": b.unflatten(-1, (groups, 128)),
        "c": c.unflatten(-1, (groups, 128)),
        "skip": torch.randn(heads, device=device),
        "dt_bias": torch.rand(heads, device=device) - 3,
    }


def cut(made: dict[str, Any], state: Tensor) -> dict[str, Tensor]:
    """What the launches before leave: products, states before each chunk, steps and their sums, by the definition in fp64."""
    batch, tokens, heads, _ = made["x"].shape
    chunks, groups = -(-tokens // 256), made["b"].shape[2]
    padded = {n: torch.zeros(batch, chunks * 256, *made[n].shape[2:], dtype=torch.float64) for n in ("x", "b", "c")}
    for name, whole in padded.items():
        whole[:, :tokens] = made[name]
    steps = torch.zeros(batch, chunks * 256, heads, dtype=torch.float64)
    steps[:, :tokens] = torch.nn.functional.softplus(made["dt"].double() + made["dt_bias"].double())
    rows = {n: v.unflatten(1, (chunks, 256)) for n, v in padded.items()} | {"steps": steps.unflatten(1, (chunks, 256))}
    sums = (rows["steps"] * made["a"].double() * LOG2_E).cumsum(2)
    products = torch.einsum("bqmgn,bqkgn->bqgmk", rows["c"], rows["b"]).bfloat16()
    products[..., torch.ones(256, 256, dtype=torch.bool).triu(16)] = float("nan")  # above the diagonal nobody may look
    h, before = state.double(), []
    for q in range(chunks):
        before.append(h)
        left = torch.exp2(sums[:, q, -1:] - sums[:, q]) * rows["steps"][:, q]
        keys = rows["b"][:, q].repeat_interleave(heads // groups, 2)
        h = h * torch.exp2(sums[:, q, -1])[..., None, None]
        h = h + torch.einsum("bkhp,bkhn,bkh->bhpn", rows["x"][:, q], keys, left)
    flat = {"steps": rows["steps"], "sums": sums}
    return {
        "products": products,
        "between": torch.stack(before, 1).bfloat16(),
        **{n: v.permute(0, 3, 1, 2).reshape(batch, heads, -1).float().contiguous() for n, v in flat.items()},
    }


@pytest.fixture(scope="session")
def run_on_host(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tensor]:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to run the CUDA source on a CPU")
    library = tmp_path_factory.mktemp("ssd") / "ssd.so"
    options = ["-std=c++17", "-O2", "-Wall", "-Wno-unknown-pragmas", "-Werror", "-shared", "-fPIC"]
    source = ["-I", ssd_outputs.SOURCE.parent, HERE / "ssd_on_host.cpp"]
    built = subprocess.run([compiler, *options, *source, "-o", library], text=True, capture_output=True)
    assert built.returncode == 0, built.stderr
    outputs = ctypes.CDLL(str(library)).ssd_on_host

    def run(made: dict[str, Any], state: Tensor, blocks: int, seed: int = 0) -> Tensor:
        y = torch.full(made["x"].shape, float("nan"), dtype=torch.bfloat16)
        parts = cut(made, state)
        arguments = ssd_outputs.list_arguments(made["x"], made["c"], *parts.values(), made["skip"], y)
        pointers = [t.data_ptr() for t in arguments if isinstance(t, Tensor)]
        numbers = [n for n in arguments if isinstance(n, int)]
        packed = (ctypes.c_char * 116)()
        ctypes.memmove(packed, (ctypes.c_void_p * 8)(*pointers), 64)
        ctypes.memmove(ctypes.addressof(packed) + 64, (ctypes.c_int * 13)(*numbers), 52)
        stuck = outputs(packed, blocks, seed)
        assert stuck == -1, f"the threads of block {stuck} wait for each other without end"
        return y

    return run


@pytest.mark.parametrize(
    ("tokens", "heads", "groups", "blocks"),
    [(1, 2, 1, 1), (15, 1, 1, 1), (17, 2, 2, 2), (256, 3, 1, 1), (257, 2, 1, 3), (530, 4, 2, 2)],
)
def test_any_length_gives_the_recurrence(tokens: int, heads: int, groups: int, blocks: int, run_on_host) -> None:
    """More pairs than stages, chunks and groups that change within a block, blocks that begin in the middle of a chunk."""
    made, state = make(1, tokens, heads, groups), torch.randn(1, heads, 64, 128)
    wanted = ssd_scan_ref(**{k: v.float() for k, v in made.items()}, state=state.clone())
    got = run_on_host(made, state, blocks, seed=tokens)
    assert relative_error(got, wanted) < HALF


def test_rows_of_a_batch_and_a_skip_that_is_left_out(run_on_host) -> None:
    made, state = make(2, 40, 2, 1) | {"skip": None}, torch.randn(2, 2, 64, 128)
    whole = {k: v.float() if v is not None else None for k, v in made.items()}
    wanted = ssd_scan_ref(**whole, state=state.clone())
    assert relative_error(run_on_host(made, state, 2), wanted) < HALF


@pytest.mark.parametrize("seed", range(3))
def test_no_order_of_the_threads_changes_a_bit(seed: int, run_on_host) -> None:
    made, state = make(1, 300, 3, 1), torch.randn(1, 3, 64, 128)
    assert torch.equal(run_on_host(made, state, 1, seed=100), run_on_host(made, state, 2, seed=seed))


def test_steep_decays_stay_finite(run_on_host) -> None:
    made, state = make(1, 256, 1, 1), torch.randn(1, 1, 64, 128)
    made["a"] = torch.tensor([-200.0])
    made["dt"] = torch.linspace(-40, 40, 256)[None, :, None].bfloat16()
    wanted = ssd_scan_ref(**{k: v.float() for k, v in made.items()}, state=state.clone())
    assert relative_error(run_on_host(made, state, 1), wanted) < HALF


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize(
    ("batch", "tokens", "heads", "groups"),
    [(1, 1, 64, 1), (1, 255, 8, 8), (2, 513, 24, 2), (1, 4096, 64, 1), (3, 1000, 5, 1)],
)
def test_on_a_gpu_both_kernels_give_the_recurrence(batch: int, tokens: int, heads: int, groups: int) -> None:
    made, state = make(batch, tokens, heads, groups, "cuda"), torch.randn(batch, heads, 64, 128, device="cuda")
    assert ssd_outputs.fits(made["x"], made["b"], made["c"], 256)
    now = dict(tuned.choose("ssd_scan", "p64-n128"))
    wanted = ssd_scan_ref(**{k: v.float() for k, v in made.items()}, state=state.clone())
    for persistent in (0, 1):
        with tuned.forced("ssd_scan", now | {"persistent": persistent}):
            assert relative_error(ssd_scan(**made, state=state.clone()), wanted) < HALF
