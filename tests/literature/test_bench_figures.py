"""Claims judged by our benchmarks' files, on small files with known answers, and on the committed ones."""

from __future__ import annotations

import json

import pytest

from longboard.literature import bench_figures
from longboard.literature.bench_figures import BENCHED, CLOCK, KERNELS, tokens_of
from longboard.literature.catalogue import load_claims
from longboard.literature.verdicts import judge


@pytest.fixture
def write(tmp_path, settings):
    settings.REPOSITORY = tmp_path
    bench_figures._read.cache_clear()

    def write_file(path, content):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))
        bench_figures._read.cache_clear()

    yield write_file
    bench_figures._read.cache_clear()


def figure(name):
    return BENCHED[name](load_claims()[name])


def kernel_row(shape, side, ms, **more):
    return {
        "shape": shape,
        "side": side,
        "bits": 16,
        "ms": ms,
        "p10": 0.9 * ms,
        "p90": 1.1 * ms,
        "of_floor": 0.5,
    } | more


def timed(mixer, tokens, ms, *, batch=32, memory=2**30):
    return {
        "mixer": mixer, "tokens": tokens, "batch": batch, "what": "training step", "ms": ms, "ms_low": 0.9 * ms,
        "ms_high": 1.1 * ms, "peak_memory_bytes": memory, "failure": "",
    }  # fmt: skip


def test_without_the_files_nothing_is_said(write):
    assert {name: figure(name) for name in BENCHED} == dict.fromkeys(BENCHED)


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [("B1 L64K", 65_536), ("B8 L1024K", 2**20), ("L4K", 4_096), ("B8 ragged 4K..256K", 0), ("x", 0)],
)
def test_a_shape_names_its_length(shape, tokens):
    assert tokens_of(shape) == tokens


def test_decode_is_the_geometric_mean_of_peer_over_ours_within_the_claims_lengths(write):
    rows = [
        kernel_row("B1 L64K", "ours", 2.0),
        kernel_row("B1 L64K", "ours", 1.0, tuned=True),  # our best counts
        kernel_row("B1 L64K", "SDPA", 4.0),
        kernel_row("B1 L256K", "ours", 1.0),
        kernel_row("B1 L256K", "SDPA", 1.0),
        kernel_row("B1 L1024K", "ours", 1.0),
        kernel_row("B1 L1024K", "SDPA", 50.0),  # longer than the claim says
        kernel_row("B1 L64K", "ours", 0.1, bits=8),  # another cache
        {"shape": "B1 L4K", "side": "SDPA", "bits": 16, "failed": "no memory"},
    ]
    checks = [
        {"shape": "bf16 L4K", "error": 0.001},
        {"shape": "bf16 L64K", "error": 0.003},
        {"shape": "int8", "error": 0.1},
    ]
    part = {
        "kernel": "K1",
        "rows": rows,
        "checks": checks,
        "machine": {"device": "GPU"},
        "measured_at": "2026-11-24T01:02",
    }
    write(KERNELS, [part])
    found = figure("lean-attention-03")
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0 * 9 / 11, 2.0 * 11 / 9))
    assert (found.hardware, found.measured_on, found.url) == (
        "GPU",
        "2026-11-24",
        "/efficiency/kernels/?device=h100#K1",
    )
    assert figure("lean-attention-04").value == pytest.approx(1.0)
    assert figure("lean-attention-05").value == 0.003


def test_a_slope_is_that_of_one_sequence_whatever_the_batch(write):
    rows = [timed("fastformer", n, n**1.5 * batch, batch=batch) for n, batch in ((1_024, 32), (4_096, 8), (8_192, 2))]
    rows += [timed("aft", n, 1.0, memory=n * 2**20 * 32) for n in (1_024, 2_048, 4_096)]
    rows.append(timed("aft", 32_768, 1.0, memory=1))  # beyond the claim's lengths
    write(CLOCK, {"rows": rows, "hardware": {"device": "GPU"}, "measured_at": "2026-11-28T13:42:01+00:00"})
    assert figure("fastformer-01").value == pytest.approx(1.5)
    assert figure("aft-01").value == pytest.approx(1.0)
    assert (figure("aft-01").hardware, figure("aft-01").measured_on) == ("GPU", "2026-11-28")
    assert judge(load_claims()["fastformer-01"], figure("fastformer-01")).outcome == "fails"


def test_a_mixer_is_compared_at_long_inputs_of_the_same_batch(write):
    rows = [timed("softmax", n, ms) for n, ms in ((2_048, 90.0), (4_096, 30.0), (8_192, 40.0))]
    rows += [timed("fastformer", n, 10.0) for n in (2_048, 4_096)] + [timed("fastformer", 8_192, 1.0, batch=4)]
    write(CLOCK, {"rows": rows, "hardware": {"device": "GPU"}, "measured_at": "2026-11-28T13:42:01+00:00"})
    found = figure("fastformer-02")
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3 * 9 / 11, 3 * 11 / 9))


def test_the_committed_files_say_what_the_documents_say():
    # docs/kernels.md, K1: SDPA 0.3648 ms, ours 0.3707; docs/lra.md: softmax attention .363 [.343, .385].
    assert figure("lean-attention-04").value == pytest.approx(0.3648 / 0.3707, abs=1e-3)
    found = figure("lra-01")
    assert (found.value, found.low, found.high) == pytest.approx((36.35, 34.3, 38.5), abs=0.1)
    assert judge(load_claims()["lra-01"], found).outcome == "holds"
    # docs/lra.md: Fastformer's training step at 16K 3.4 times as fast as softmax attention's, on the H200.
    found = figure("fastformer-02")
    assert found.value == pytest.approx(3.36, abs=0.01)
    assert (found.hardware, found.measured_on) == ("NVIDIA H200", "2026-11-28")
