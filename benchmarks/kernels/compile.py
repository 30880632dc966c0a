"""Does every kernel compile for an H100, on a machine without one? `python benchmarks/kernels/compile.py`

Compiles each kernel with its shipped tiles for sm_90 and prints registers, spills and shared memory; the CUDA sources of
K2 and K3 with nvcc, or says that there is none. Ends with 1 if one does not compile, spills more than is known of it, or wants
more shared memory than a multiprocessor has. Half a minute on one core; says nothing of results.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "0"
sys.path.insert(0, str(Path(__file__).parents[2] / "kernels"))

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from longboard_kernels import (
    conv,
    decode,
    gated_delta,
    gated_delta_step,
    logprobs,
    norms,
    quantised,
    rope,
    scores,
    selective_scan,
    selective_scan_lanes,
    ssd,
    ssd_outputs,
    ssd_step,
    tuned,
)

MOST_SHARED = 227 * 1024
# Bytes a thread, by Triton 3.6 or 3.7, of launches for which no tiles tried on an H200 were faster. All others spill nothing.
SPILLED = {"K3 N256 outputs": 16, "K8 K128 prepare": 16, "K8 K128 pass": 88}
HALF, SINGLE, BYTES = "*bf16", "*fp32", {8: "*i8", 4: "*u8"}
TOOL = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
Spec = tuple[str, Any, dict[str, str], dict[str, Any], int, int]  # name, kernel, types, constants, warps, stages


def types(**groups: str) -> dict[str, str]:
    """{"bf16": "X Y"} -> {"X": "*bf16", "Y": "*bf16"}; i32 and fp32 scalars are named i and f."""
    kinds = {"bf16": HALF, "fp32": SINGLE, "i": "i32", "f": "fp32", "i64": "*i64", "i32": "*i32"}
    return {name: kinds.get(kind, kind) for kind, names in groups.items() for name in names.split()}


def list_specs() -> Iterator[Spec]:
    table = tuned.read_table()
    tile = table["causal_conv"][""]
    signature = types(bf16="X WEIGHT BIAS OLD NEW Y", i="T C xb xt wc ww ob oc os nb nc ns")
    constants: dict[str, Any] = {
        "W": 4,
        "S": 4,
        "SP": 4,
        "HAS_BIAS": True,
        "SILU": True,
        "ROWS": tile["rows"],
        "BC": tile["block"],
    }
    yield "K4 conv", conv._conv, signature, constants, tile["num_warps"], 3
    signature = types(bf16="X WEIGHT Y", fp32="BEFORE H", f="eps", i="xt E")
    yield "K4 add + norm", norms._add_rms_norm, signature, {"HAS_RESIDUAL": True, "BLOCK": 2048}, 4, 3
    signature = types(bf16="X GATE WEIGHT Y", f="eps", i="xt gt E GROUP")
    yield (
        "K4 gated norm",
        norms._gated_rms_norm,
        signature,
        {"HAS_GATE": True, "NORM_FIRST": False, "BLOCK": 4096},
        8,
        3,
    )
    signature = types(
        bf16="Q K V COS SIN KEYS VALUES", i64="START PAGES", i="T qb qt qh kb kt kh vb vt vh cb ct sb sh st pb"
    )
    constants = {
        "H": 32, "HKV": 8, "D": 128, "HALF": 64, "PAGE": 0, "ROWS": table["rope"][""]["rows"],
        "GROUP": table["rope"][""]["heads"], "BH": 64, "BR": 1, "BD": 128,
    }  # fmt: skip
    yield "K5", rope._rope, signature, constants, table["rope"][""]["num_warps"], 3
    yield from list_decode(table["decode"][""])
    signature = types(bf16="UU DT Z Y", fp32="A BC SKIP BIAS ENDS SUMS STATE", i="T D STEP ub ut db dt_ zb zt")
    tile = tuned.choose("selective_scan", "n16")
    constants = {
        "N": 16, "HAS_BIAS": True, "SOFTPLUS": True, "HAS_SKIP": True, "HAS_Z": True, "LANES": tile["lanes"],
        "U": tile["unroll"],
    }  # fmt: skip
    yield "K2 scan", selective_scan._scan, signature, constants | {"SEGMENTED": True}, 1, 3
    yield "K2 ends", selective_scan._ends, signature, constants, 1, 3
    signature = types(fp32="A ENDS SUMS", i="D SEGMENTS")
    yield "K2 chain", selective_scan._chain, signature, {"N": 16, "LANES": 32}, 1, 3
    for states in (128, 256):
        yield from list_ssd(states, tuned.choose("ssd_scan", f"p64-n{states}"))
        for name, kernel, signature, constants, warps, stages in list_ssd(states, tuned.choose("ssd_scan", "fp32")):
            wide = {key: SINGLE if kind == HALF else kind for key, kind in signature.items()}
            precise = {"PRECISION": "ieee"} if "PRECISION" in constants else {}
            yield f"{name} fp32", kernel, wide, constants | precise, warps, stages
    yield from list_scores()
    yield from list_delta()
    yield from list_logprobs()


def list_logprobs() -> Iterator[Spec]:
    for name, kind in (("K7", HALF), ("K7 fp32", SINGLE)):
        tile = tuned.choose("token_logprobs", "fp32" if kind == SINGLE else "")
        signature = types(
            i64="TARGETS", bf16="BIAS", fp32="TOPS SUMS FOUND", i32="BEST", i="T V E ht hv BLOCKS RUNS SPAN"
        )
        signature |= dict.fromkeys(("HIDDEN", "HEAD"), kind)
        constants = {
            "HAS_BIAS": False, "BM": tile["rows"], "BN": tile["columns"], "BK": tile["channels"], "EVEN": True, "WHOLE": True,
            "TOGETHER": logprobs.TOGETHER, "PRECISION": "ieee" if kind == SINGLE else "tf32",
        }  # fmt: skip
        yield name, logprobs._fold, signature, constants, tile["num_warps"], tile["num_stages"]


def list_delta() -> Iterator[Spec]:
    for size, key, half in ((128, "k128-v128", HALF), (64, "k64-v64", HALF), (128, "fp32", SINGLE)):
        tile, name = tuned.choose("gated_delta", key), f"K8 K{size}" + (" fp32" if half == SINGLE else "")
        sizes = {"K": size, "C": tile["chunk"], "PRECISION": "ieee" if half == SINGLE else "tf32"}
        signature = types(
            fp32="DECAY FACTORS FADES", i="FIRST T SEGMENT SHARE qb qt qh kb kt kh gb gt gh bb bt bh"
        ) | dict.fromkeys(("Q", "K_", "BETA", "SOLVED"), half)
        levels = {"BLOCK": gated_delta.SMALLEST, "LEVELS": (tile["chunk"] // gated_delta.SMALLEST).bit_length() - 1}
        constants = sizes | levels | {"maxnreg": tile["prepare_registers"]}
        yield f"{name} prepare", gated_delta._prepare, signature, constants, tile["prepare_warps"], 3
        signature = types(
            fp32="FACTORS FADES STATE", i="FIRST T SEGMENT COUNT SHARE qb qt qh kb kt kh vb vt vh"
        ) | dict.fromkeys(("Q", "K_", "V_", "SOLVED", "OUT"), half)
        constants = sizes | {"V": size, "BV": tile["values"], "STAGES": tile["num_stages"]}
        warps = tile["num_warps"] if half == SINGLE or tile["values"] >= 64 else 2
        yield f"{name} pass", gated_delta._pass, signature, constants, warps, tile["num_stages"]
    tile = tuned.choose("gated_delta_step")
    signature = types(bf16="Q K_ V_ BETA OUT", fp32="DECAY STATE", i="SHARE qb qh kb kh vb vh gb gh bb bh")
    yield "K8 step", gated_delta_step._step, signature, {"K": 128, "V": 128, "BV": tile["values"]}, tile["num_warps"], 3


def list_decode(tile: dict[str, int]) -> Iterator[Spec]:
    for bits, size in ((16, 128), (16, 64), (8, 128), (4, 128)):
        scales = HALF if bits == 16 else SINGLE
        signature = types(
            bf16="Q OUT", fp32="PARTS TOPS SUMS", i32="LENGTHS PAGES", f="SCALE", i="B skb skh skn pb NG SINKS WINDOW"
        )
        signature |= dict.fromkeys(("K", "V"), BYTES.get(bits, HALF)) | dict.fromkeys(("SK", "SV", "ZK", "ZV"), scales)
        block = tile["block"] if bits == 16 else 128
        constants = {
            "BITS": bits, "HKV": 8, "G": 4, "GP": 16, "D": size, "BN": block, "BB": 1, "PAGE": 0, "HAS_WINDOW": False,
            "ASM": True, "STAGES": tile["num_stages"], "PRECISION": "tf32",
        }  # fmt: skip
        yield f"K1 {bits} bits D{size}", decode._decode, signature, constants, tile["num_warps"], tile["num_stages"]
    signature = types(bf16="OUT", fp32="PARTS TOPS SUMS", i32="LENGTHS", i="W B SINKS WINDOW")
    for bits in (8, 4):
        filled = types(bf16="K V", fp32="KS KZ VS VZ", i="FIRST ROOM kb kh kt kd vb vh vt vd") | dict.fromkeys(
            ("KC", "VC"), BYTES[bits]
        )
        yield f"K5 {bits} bits", quantised._quantise, filled, {"BITS": bits, "D": 128}, 8, 3
    constants = {"HKV": 8, "G": 4, "D": 128, "BN": 64, "BB": 1, "HAS_WINDOW": False, "JOIN": tile["join"]}
    yield "K1 join", decode._join, signature, constants, 4, 3


def list_ssd(states: int, tile: Any) -> Iterator[Spec]:
    name, sizes = f"K3 N{states}", {"NS": states, "N": states, "Q": tile["chunk"]}
    precise, tiles = {"PRECISION": "tf32"}, {"BM": tile["rows"], "BK": tile["keys"]}
    signature = types(bf16="DT", fp32="A BIAS STEPS SUMS", f="LEAST MOST", i="T H db dt_ dh")
    yield (
        f"{name} steps",
        ssd._steps,
        signature,
        {"HAS_BIAS": True, "SOFTPLUS": True, "Q": tile["chunk"], "BH": 16},
        4,
        3,
    )
    signature = types(bf16="C B OUT", i="T G cb ct cg bb bt bg")
    yield f"{name} products", ssd._products, signature, sizes | tiles | precise, 4, 3
    signature = types(bf16="X B OUT", fp32="STEPS SUMS", i="T H SHARE xb xt xh bb bt bg")
    constants = sizes | precise | {"P": 64, "BK": tile["state_keys"]}
    yield f"{name} states", ssd._chunk_states, signature, constants, tile["state_warps"], tile["state_stages"]
    signature = types(bf16="BETWEEN", fp32="SUMS STATE", i="CHUNKS H")
    yield f"{name} chain", ssd._chain, signature, sizes | {"P": 64, "BLOCK": 1024, "AHEAD": tile["ahead"]}, 4, 3
    signature = types(bf16="X C PRODUCTS BETWEEN Y", fp32="STEPS SUMS SKIP", i="T H SHARE G xb xt xh cb ct cg")
    constants = (
        sizes | tiles | precise | {"P": 64, "HEADS": tile["heads"], "HAS_SKIP": True, "maxnreg": tile["registers"]}
    )
    yield f"{name} outputs", ssd._outputs, signature, constants, tile["num_warps"], tile["num_stages"]
    signature = types(
        bf16="X DT B C Y", fp32="A STATE SKIP BIAS", f="LEAST MOST", i="P H SHARE xb xh db dh bb bg cb cg"
    )
    constants = {"NS": states, "N": states, "BP": 2048 // states, "HAS_SKIP": True, "HAS_BIAS": True, "SOFTPLUS": True}
    yield f"{name} step", ssd_step._ssd_step, signature, constants, 4, 3


def list_scores() -> Iterator[Spec]:
    for key in ("window", "all"):
        tile = tuned.choose("attention_received", key)
        constants = {"SHARE": 4, "D": 128, "BM": tile["rows"], "BN": tile["keys"], "PRECISION": "tf32"}
        signature = types(bf16="Q K", fp32="TOPS SUMS", f="SCALE", i="QUERIES T SPAN SPLITS qb qh qt kb kh kt")
        yield f"K6 {key} rows", scores._row_sums, signature, constants, tile["num_warps"], tile["num_stages"]
        strides = "qb qh qt kb kh kt"
        span, kernel = ("SPAN ", scores._window_columns) if key == "window" else ("", scores._column_sums)
        signature = types(bf16="Q K", fp32="LOGS OUT", f="SCALE", i=f"QUERIES T {span}{strides}")
        yield f"K6 {key} columns", kernel, signature, constants, tile["num_warps"], tile["num_stages"]
    yield "K6 join", scores._join_rows, types(fp32="TOPS SUMS LOGS", i="ROWS SPLITS"), {"BM": 128}, 4, 3


def compile_one(
    kernel: Any, signature: dict[str, str], constants: dict[str, Any], warps: int, stages: int
) -> tuple[int, int, int]:
    """(registers a thread, spilled bytes, shared bytes); pointers and strides are taken as multiples of 16.

    "maxnreg" among the constants is the option of that name; 0 is none.
    """
    most = constants.get("maxnreg")
    constants = {name: value for name, value in constants.items() if name != "maxnreg"}
    names = kernel.arg_names
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if signature.get(n, "f")[0] in "*i"}
    source = ASTSource(
        kernel,
        {name: signature.get(name, "constexpr") for name in names},
        {(names.index(name),): value for name, value in constants.items()},
        aligned,
    )
    options = {"num_warps": warps, "num_stages": stages} | ({"maxnreg": most} if most else {})
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        return *read_usage(file.name), built.metadata.shared


def compile_source(nvcc: str, source: Path, shared_bytes: int) -> tuple[int, int, int]:
    """The same of a CUDA source, whose shared memory the launch asks for. Another release of NVRTC may give other numbers."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        command = [nvcc, "-std=c++17", "-arch=sm_90", "-cubin", "-o", file.name, str(source)]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            raise RuntimeError(built.stderr.strip())
        return *read_usage(file.name), shared_bytes


def read_usage(cubin: str) -> tuple[int, int]:
    """(registers a thread, spilled bytes)"""
    said = subprocess.run([TOOL, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    used = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert used is not None
    return int(used[1]), int(used[2])


def report(name: str, build: Callable[..., tuple[int, int, int]], *arguments: Any) -> bool:
    """Build and print one line; False if it fails, spills too much or does not fit."""
    try:
        registers, spilled, shared = build(*arguments)
    except Exception as error:
        print(f"{name:19} FAILED {type(error).__name__}: {str(error)[:200]}", flush=True)
        return False
    fine = spilled <= SPILLED.get(name, 0) and shared <= MOST_SHARED
    print(
        f"{name:19} {registers:4} registers {spilled:4} B spilled {shared:7} B shared{'' if fine else '  <--'}",
        flush=True,
    )
    return fine


def main() -> None:
    fine = [report(name, compile_one, *spec) for name, *spec in list_specs()]
    nvcc = shutil.which("nvcc")
    for name, module in (("K2 four lanes", selective_scan_lanes), ("K3 N128 outputs C++", ssd_outputs)):
        if nvcc:
            fine.append(report(name, compile_source, nvcc, module.SOURCE, module.SHARED_BYTES))
        else:
            print(f"{name:19} left out: no nvcc on PATH")
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
