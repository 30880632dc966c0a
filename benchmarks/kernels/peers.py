"""What others' packages need for the same work as our kernels: a row for each that can be imported, none for the rest.

Every peer gets its input in the layout that it wants, made before it is timed. Each row says how far its last tokens are from
ours (`from_ours`, relative), so a call that does other work than ours is seen. Peers are timed once, not again with our tiles
tuned. Packages that choose their tiles at the first call compile minutes of them: `warm` fills Triton's cache from several
processes.

    python benchmarks/kernels/peers.py NAME PART PARTS     one such process
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "kernels"))

import torch
from bench import LEAST_S, Bench, relative_error
from inputs import make_delta, make_ssd
from torch import Tensor

from longboard_kernels.cost import Cost

# module: the distribution that it comes with
PACKAGES = {
    "mamba_ssm": "mamba-ssm",
    "selective_scan_cuda": "mamba-ssm",
    "causal_conv1d": "causal-conv1d",
    "fla": "fla-core",
    "flashinfer": "flashinfer-python",
    "transformers": "transformers",
}
TUNING = {"K3": "mamba_ssm", "K8": "fla"}  # kernel: the package whose candidates `warm` compiles
LAST = 1_024  # tokens that are compared with ours
PAGE = 16  # tokens, of flashinfer's cache
WORKSPACE_BYTES = 128 * 2**20  # as flashinfer's documentation asks


def list_present() -> dict[str, str]:
    """Versions of the peers that are installed; "" for one that was built by hand. Imports none of them."""
    found = {}
    for module, distribution in PACKAGES.items():
        if find_spec(module) is not None:
            try:
                found[module] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                found[module] = ""
    return found


def find(module: str, name: str) -> Any:
    """A peer's function, or None where its package is not installed or does not import."""
    try:
        return getattr(import_module(module), name, None)
    except Exception:  # a package built for another torch fails in its own ways
        return None


def time_peer(
    bench: Bench,
    shape: str,
    side: str,
    prepare: Callable[[], Callable[[], Tensor]],
    cost: Cost,
    ours: Callable[[], Tensor],
    **more: Any,
) -> None:
    """`prepare` gives the call to time; both calls give the output with tokens, or rows, in dimension 1."""
    if bench.round != "peers":
        return
    work = ours  # never called: where no time is left, `bench.time` leaves a row that says so
    if bench.left_s >= LEAST_S:
        try:
            work = prepare()
            more["from_ours"] = relative_error(work()[:, -LAST:], ours()[:, -LAST:])
        except Exception as error:
            failure = error

            def work() -> Tensor:
                raise failure

    bench.time(shape, side, work, cost, **more)
    torch.cuda.empty_cache()


def time_selective_scan(
    bench: Bench, shape: str, made: dict[str, Tensor], cost: Cost, ours: Callable[[], Tensor]
) -> None:
    """K2. The CUDA extension of mamba_ssm, as its `selective_scan_fn` calls it: channels before tokens, B and C in one group."""
    scan = find("selective_scan_cuda", "fwd")
    if scan is None:
        return

    def prepare() -> Callable[[], Tensor]:
        u, dt, z, b, c = (made[name].mT.contiguous() for name in ("u", "dt", "z", "b", "c"))
        # What comes first is y before the gate, what comes last is gated.
        return lambda: scan(u, dt, made["a"], b[:, None], c[:, None], made["skip"], z, made["dt_bias"], True)[-1].mT

    time_peer(bench, shape, "mamba_ssm", prepare, cost, ours)


def time_ssd(bench: Bench, shape: str, made: dict[str, Tensor], cost: Cost, ours: Callable[[], Tensor]) -> None:
    """K3. mamba_ssm's chunk scan with chunks of 256; fla's simple GLA, whose products with dt are made before."""
    combined = find("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined")
    if combined is not None:
        time_peer(bench, shape, "mamba_ssm", lambda: lambda: call_ssd(combined, made), cost, ours)
    simple = find("fla.ops.simple_gla", "chunk_simple_gla")
    if simple is None:
        return

    def prepare() -> Callable[[], Tensor]:
        x = made["x"]
        step = torch.nn.functional.softplus(made["dt"].float() + made["dt_bias"])
        keys, queries = (made[n].repeat_interleave(x.shape[2] // made[n].shape[2], 2) for n in ("b", "c"))
        values, decay = (x * step[..., None]).to(x.dtype), step * made["a"]
        skip = made["skip"].to(x.dtype)[:, None]
        return lambda: torch.addcmul(simple(queries, keys, values, decay, scale=1.0)[0], x, skip)

    time_peer(bench, shape, "fla simple_gla", prepare, cost, ours)


def call_ssd(combined: Any, made: dict[str, Tensor]) -> Tensor:
    return combined(
        made["x"], made["dt"], made["a"], made["b"], made["c"], 256,
        D=made["skip"], dt_bias=made["dt_bias"], dt_softplus=True,
    )  # fmt: skip


def time_conv(
    bench: Bench, shape: str, x: Tensor, weight: Tensor, bias: Tensor, cost: Cost, ours: Callable[[], Tensor]
) -> None:
    """K4, x [B, T, C]. causal_conv1d reads tokens x channels through a transposed view; fla's Triton kernel as it is."""
    cuda = find("causal_conv1d", "causal_conv1d_fn")
    if cuda is not None:

        def prepare() -> Callable[[], Tensor]:
            return lambda: cuda(x.mT, weight, bias, activation="silu").mT

        time_peer(bench, shape, "causal_conv1d", prepare, cost, ours)
    triton = find("fla.modules.causal_conv1d", "causal_conv1d")
    if triton is not None:
        time_peer(
            bench, shape, "fla", lambda: lambda: triton(x, weight, bias, activation="silu")[0], cost, ours
        )  # fmt: skip


def time_norms(
    bench: Bench, shape: str, x: Tensor, residual: Tensor, weight: Tensor, cost: Cost, ours: Callable[[], Tensor]
) -> None:
    """K4. mamba_ssm's residual add + RMSNorm with an fp32 residual; x, residual [rows, E], eps 1e-5."""
    norm = find("mamba_ssm.ops.triton.layer_norm", "rms_norm_fn")
    if norm is None:
        return

    def prepare() -> Callable[[], Tensor]:
        return lambda: norm(x, weight, None, residual=residual, eps=1e-5, prenorm=True, residual_in_fp32=True)[0][None]

    time_peer(bench, shape, "mamba_ssm", prepare, cost, ours)


def time_gated_norm(
    bench: Bench,
    shape: str,
    x: Tensor,
    gate: Tensor,
    weight: Tensor,
    group: int,
    cost: Cost,
    ours: Callable[[], Tensor],
) -> None:
    """K4. mamba_ssm's gated RMSNorm, gate first; x, gate [rows, E], eps 1e-5."""
    norm = find("mamba_ssm.ops.triton.layernorm_gated", "rmsnorm_fn")
    if norm is None:
        return

    def prepare() -> Callable[[], Tensor]:
        return lambda: norm(x, weight, None, z=gate, eps=1e-5, group_size=group, norm_before_gate=False)[None]

    time_peer(bench, shape, "mamba_ssm", prepare, cost, ours)


def time_ragged_decode(
    bench: Bench,
    shape: str,
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: list[int],
    cost: Cost,
    ours: Callable[[], Tensor],
) -> None:
    """K1. flashinfer's batch decode over pages, planned before it is timed, without and with tensor cores.

    q [B, H, D]; keys, values [B, HKV, room, D]. Compiles at its first call, which needs nvcc.
    """
    wrapper = find("flashinfer", "BatchDecodeWithPagedKVCacheWrapper")
    if wrapper is None or bench.round != "peers":
        return
    counts = torch.tensor([-(-length // PAGE) for length in lengths])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).int()
    numbers = torch.arange(int(starts[-1]), dtype=torch.int32, device=q.device)
    ends = torch.tensor([(length - 1) % PAGE + 1 for length in lengths], dtype=torch.int32)

    def to_pages(cache: Tensor) -> Tensor:
        rows = [row[:, : int(count) * PAGE].unflatten(1, (-1, PAGE)) for row, count in zip(cache, counts, strict=True)]
        return torch.cat([row.transpose(0, 1) for row in rows])  # [pages, HKV, PAGE, D]

    pages: tuple[Tensor, Tensor] | None = None
    for side, cores in (("flashinfer", False), ("flashinfer, tensor cores", True)):

        def prepare(cores: bool = cores) -> Callable[[], Tensor]:
            nonlocal pages
            pages = pages or (to_pages(keys), to_pages(values))
            planned = wrapper(
                torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=q.device), "HND", use_tensor_cores=cores
            )
            planned.plan(
                starts.to(q.device), numbers, ends.to(q.device), q.shape[1], keys.shape[1], q.shape[2], PAGE,
                q_data_type=q.dtype, kv_data_type=keys.dtype,
            )  # fmt: skip
            held = pages
            return lambda: planned.run(q, held)

        time_peer(bench, shape, side, prepare, cost, ours, bits=16)


def time_gated_delta(bench: Bench, shape: str, made: dict[str, Tensor], cost: Cost, ours: Callable[[], Tensor]) -> None:
    """K8. fla's chunked rule, which keeps what a backward pass would need; lengths of q and k inside, as ours."""
    chunked = find("fla.ops.gated_delta_rule", "chunk_gated_delta_rule")
    if chunked is not None:
        time_peer(bench, shape, "fla", lambda: lambda: call_delta(chunked, made), cost, ours)


def time_stock_gated_delta(
    bench: Bench, shape: str, made: dict[str, Tensor], cost: Cost, ours: Callable[[], Tensor]
) -> None:
    """K8. The torch path of transformers' Qwen3-Next, even where it would take fla's."""
    stock = find("transformers.models.qwen3_next.modeling_qwen3_next", "torch_chunk_gated_delta_rule")
    if stock is not None:
        plain = inspect.unwrap(stock)
        time_peer(bench, shape, "transformers", lambda: lambda: call_delta(plain, made), cost, ours)


def call_delta(rule: Any, made: dict[str, Tensor]) -> Tensor:
    return rule(
        made["q"], made["k"], made["v"], g=made["decay"], beta=made["beta"],
        output_final_state=True, use_qk_l2norm_in_kernel=True,
    )[0]  # fmt: skip


def warm(kernel: str, limit_s: float = 90.0) -> None:
    """Compile the candidates of a kernel's peers in parallel, in a quarter of the cores."""
    package = TUNING.get(kernel)
    if package is None or find_spec(package) is None:
        return
    parts, started = max(1, (os.cpu_count() or 4) // 4), time.perf_counter()
    command = [sys.executable, __file__, kernel]
    children = [subprocess.Popen([*command, str(part), str(parts)]) for part in range(parts)]
    for child in children:
        try:
            child.wait(timeout=max(1.0, limit_s - (time.perf_counter() - started)))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def compile_part(kernel: str, part: int, parts: int) -> None:
    """Call the kernel's peer once with every `parts`-th of their candidates."""
    from triton.runtime.autotuner import Autotuner

    whole = Autotuner.__init__

    def take_part(self: Any, fn: Any, arg_names: Any, configs: Any, *rest: Any, **more: Any) -> None:
        whole(self, fn, arg_names, configs[part::parts] or configs[:1], *rest, **more)

    Autotuner.__init__ = take_part  # type: ignore[method-assign]  # on purpose: every tuner made from here on
    if kernel == "K3":
        call_ssd(
            find("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined"), make_ssd(4_096, 64, 1, 64, 128)
        )
    else:
        call_delta(find("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"), make_delta(4_096, 16, 32, 128))
    torch.cuda.synchronize()


if __name__ == "__main__":
    compile_part(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
