"""K2's one pass in CUDA C++ against the recurrence: its source on a CPU, thread for thread, and on a GPU the kernel itself."""

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

from longboard_kernels import selective_scan_lanes as lanes
from longboard_kernels.selective_scan import selective_scan, selective_scan_ref
from longboard_kernels.tuned import forced

HERE = Path(__file__).parent
HALF = 3e-3  # bf16: one rounding of y
ONE_LANE = {"lanes": 32, "warps": 16, "unroll": 4, "shortest": 128, "lanes_a_channel": 1}
FOUR_LANES = ONE_LANE | {"lanes_a_channel": 4}
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make(batch: int, tokens: int, channels: int, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
    """Slices of one line, as projections leave them, each at an aligned address."""
    torch.manual_seed(seed)
    wide = torch.randn(batch, tokens, 3 * channels + 32, device=device).bfloat16()
    u, dt, z, b, c = wide.split([channels] * 3 + [16] * 2, dim=-1)
    a = -torch.arange(1, 17, device=device).float() * (0.2 + torch.rand(channels, 1, device=device))
    skip, bias = torch.randn(channels, device=device), torch.rand(channels, device=device) * 4 - 5
    return {"u": u, "dt": dt, "a": a, "b": b, "c": c, "skip": skip, "z": z, "dt_bias": bias}


def compile_for_host(folder: Path, schedule: tuple[int, int, int] | None) -> subprocess.CompletedProcess[str]:
    """`scan.so` in `folder`, with RUN, AHEAD and EARLY as given, else the source's own."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to run the CUDA source on a CPU")
    options = ["-std=c++17", "-O2", "-Wall", "-Wno-unknown-pragmas", "-Werror", "-shared", "-fPIC"]
    options += [
        f"-D{name}={n}" for name, n in zip(("RUN", "AHEAD", "EARLY"), schedule or (), strict=schedule is not None)
    ]
    source = ["-I", lanes.SOURCE.parent, HERE / "scan_on_host.cpp"]
    return subprocess.run([compiler, *options, *source, "-o", folder / "scan.so"], text=True, capture_output=True)


def load(library: Path) -> Callable[..., Tensor]:
    scan = ctypes.CDLL(str(library)).scan_on_host

    def run(made: dict[str, Any], state: Tensor | None, seed: int = 0, softplus: bool = True) -> Tensor:
        y = torch.full(made["u"].shape, float("nan"), dtype=torch.bfloat16)
        ordered = [made[n] for n in ("u", "dt", "a", "b", "c", "skip", "z", "dt_bias")]
        arguments = lanes.list_arguments(*ordered, state, y, softplus=softplus)
        numbers = [x for x in arguments if isinstance(x, int)]
        packed = (ctypes.c_char * 200)()
        pointers = [x.data_ptr() for x in arguments if isinstance(x, Tensor)]
        ctypes.memmove(packed, (ctypes.c_void_p * 10)(*pointers), 80)
        ctypes.memmove(ctypes.addressof(packed) + 80, (ctypes.c_int * 13)(*numbers), 52)
        batch, _, channels = y.shape
        stuck = scan(packed, -(-channels // lanes.CHANNELS), batch, seed)
        assert stuck == -1, f"the threads of block {stuck} wait for each other without end"
        return y

    return run


@pytest.fixture(scope="session", params=[None, (8, 4, 3)], ids=["as shipped", "in runs of 8"])
def run_on_host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tensor]:
    folder = tmp_path_factory.mktemp("scan")
    built = compile_for_host(folder, request.param)
    assert built.returncode == 0, built.stderr
    return load(folder / "scan.so")


@pytest.mark.parametrize("schedule", [(32, 8, 3), (32, 8, 7), (16, 8, 1)])
def test_every_schedule_enters_a_tile_at_the_right_token(schedule: tuple[int, int, int], tmp_path: Path) -> None:
    """Tiles are joined where a ring may lose its place."""
    built = compile_for_host(tmp_path, schedule)
    assert built.returncode == 0, built.stderr
    made, state = make(1, 129, 32), torch.randn(1, 32, 16)
    kept = state.clone()
    wanted = selective_scan_ref(**{k: v.float() for k, v in made.items()}, state=state)
    assert relative_error(load(tmp_path / "scan.so")(made, kept), wanted) < HALF
    assert relative_error(kept, state) < 1e-5


@pytest.mark.parametrize("schedule", [(32, 5, 4), (32, 8, 8), (12, 4, 1)])
def test_a_schedule_that_loses_its_place_is_not_compiled(schedule: tuple[int, int, int], tmp_path: Path) -> None:
    assert "a ring would start a tile at another slot" in compile_for_host(tmp_path, schedule).stderr


@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 63, 64, 65, 96, 97, 129, 513])
def test_any_length_gives_the_recurrence_and_its_state(tokens: int, run_on_host) -> None:
    made, state = make(2, tokens, 40), torch.randn(2, 40, 16)
    kept = state.clone()
    wanted = selective_scan_ref(**{k: v.float() for k, v in made.items()}, state=state)
    assert relative_error(run_on_host(made, kept, seed=tokens), wanted) < HALF
    assert relative_error(kept, state) < 1e-5


@pytest.mark.parametrize("left_out", [("z",), ("skip",), ("dt_bias",), ("z", "skip", "dt_bias")])
@pytest.mark.parametrize("softplus", [True, False])
def test_what_is_not_given_is_left_out(left_out: tuple[str, ...], softplus: bool, run_on_host) -> None:
    made = make(1, 70, 32)
    if not softplus:
        made |= {"dt": made["dt"].abs() / 4, "dt_bias": made["dt_bias"].abs() / 9}
    made |= dict.fromkeys(left_out)
    whole = {k: v.float() if v is not None else None for k, v in made.items()}
    wanted = selective_scan_ref(**whole, softplus=softplus)
    assert relative_error(run_on_host(made, None, softplus=softplus), wanted) < HALF


@pytest.mark.parametrize("seed", range(6))
def test_no_order_of_the_threads_changes_a_bit(seed: int, run_on_host) -> None:
    made, first, other = make(1, 200, 32), torch.zeros(1, 32, 16), torch.zeros(1, 32, 16)
    assert torch.equal(run_on_host(made, first, seed=100), run_on_host(made, other, seed=seed))
    assert torch.equal(first, other)


def test_b_and_c_of_any_strides_are_read(run_on_host) -> None:
    made = make(2, 40, 32)
    plain = run_on_host(made, None)
    odd = torch.randn(2, 40, 37).bfloat16()
    odd[:, :, 3:19] = made["b"]
    made |= {"b": odd[:, :, 3:19], "c": made["c"].mT.contiguous().mT}
    assert torch.equal(run_on_host(made, None), plain)


def test_large_and_small_steps_and_gates_stay_finite(run_on_host) -> None:
    made = make(1, 64, 32)
    made["dt"] = torch.linspace(-60, 60, 64)[None, :, None].expand(1, 64, 32).bfloat16()
    made["z"] = torch.linspace(-120, 120, 32).expand(1, 64, 32).bfloat16()
    wanted = selective_scan_ref(**{k: v.float() for k, v in made.items()})
    assert relative_error(run_on_host(made, None), wanted) < HALF


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("tokens", [128, 129, 513, 4097])
@pytest.mark.parametrize(("batch", "channels"), [(1, 4096), (2, 1536), (1, 40)])
def test_on_a_gpu_four_lanes_give_the_recurrence_and_its_state(tokens: int, batch: int, channels: int) -> None:
    made, state = make(batch, tokens, channels, "cuda"), torch.randn(batch, channels, 16, device="cuda")
    assert lanes.fits(made["u"], made["dt"], made["b"], made["c"], made["z"], 16)
    kept, other = state.clone(), state.clone()
    wanted = selective_scan_ref(**{k: v.double() for k, v in made.items()}, state=state)
    with forced("selective_scan", FOUR_LANES):
        got = selective_scan(**made, state=kept)
    assert relative_error(got, wanted) < HALF
    assert relative_error(kept, state) < 1e-4
    with forced("selective_scan", ONE_LANE):
        assert relative_error(got, selective_scan(**made, state=other)) < HALF
    assert relative_error(kept, other) < 1e-4


@pytest.mark.gpu
@on_gpu
def test_on_a_gpu_a_captured_scan_can_be_replayed() -> None:
    made, state = make(1, 256, 64, "cuda"), torch.zeros(1, 64, 16, device="cuda")
    with forced("selective_scan", FOUR_LANES):
        once = selective_scan(**made, state=state)
        end = state.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = selective_scan(**made, state=state)
    for _ in range(2):
        state.zero_()
        y.fill_(float("nan"))
        graph.replay()
        assert torch.equal(y, once)
        assert torch.equal(state, end)
