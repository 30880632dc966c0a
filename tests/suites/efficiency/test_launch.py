"""One launch on the CPU, every part; what a failure becomes; the command that a bare machine runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from longboard_tasks.baselines import FOLDER as BASELINES
from longboard_tasks.baselines import read_baselines
from longboard_tasks.contract import ResultBundle
from longboard_tasks.engine.loading import load_system
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.suites import efficiency
from longboard_tasks.suites.efficiency.breakdown import group_of, group_times, module_times
from longboard_tasks.suites.efficiency.bundles import bundles_of
from longboard_tasks.suites.efficiency.measure import Campaign, Progress, add_arguments, make_requests
from longboard_tasks.suites.efficiency.plans import config_system, name_of, plain_plan, table_plan
from longboard_tasks.suites.efficiency.report import join_reports, read_report
from longboard_tasks.suites.efficiency.request import Request
from longboard_tasks.suites.efficiency.spread import pool_cells
from longboard_tasks.suites.efficiency.subject import NotFinite, TorchSubject, failure_of
from longboard_tasks.suites.efficiency.system import measure_system
from longboard_worker.cli import main
from longboard_worker.measure_command import bar_text


def request(system="tiny-llama", **more):
    options = {
        "name": system, "system": config_system(system, "float32"), "lengths": (128, 256), "decode_lengths": (256, 4_096),
        "breakdown_lengths": (128,), "full_lengths": (256,), "limits": (("chunked", "last", None),), "chunk": 64,
        "steps": 12, "repeats": 3, "cell_s": 0.6, "limit_s": 90.0, "longest": 1_024, "batch": 2, "batch_length": 128,
        "prefix_mode": "shared", "budget_s": 600,
    }  # fmt: skip
    return Request.model_validate(options | more)


@pytest.fixture(scope="module")
def launches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launches")
    reports = [
        measure_system(request(launch=1), folder / "1.json", device="cpu"),
        measure_system(request(launch=2, parts=("cells",)), folder / "2.json", device="cpu"),
    ]
    assert read_report(folder / "1.json").cells == reports[0].cells  # written as it went
    return reports


def find(report, **wanted):
    return [c for c in report.cells if all(getattr(c, key) == value for key, value in wanted.items())]


def test_every_cell_of_the_request_is_a_row(launches):
    report = launches[0]
    assert [c.failure for c in report.cells if c.failure] == []
    for length in (128, 256):
        for reading in ("chunked", "one_shot"):
            (cell,) = find(report, phase="prefill", context_length=length, reading=reading, logits="last", batch=1)
            parts = {name: stat.value for name, stat in cell.times.items()}
            assert parts["ttft_ms"] == pytest.approx(
                parts["copy_ms"] + parts["forward_ms"] + parts["sample_ms"], rel=0.3
            )  # medians of parts, not parts of the median
            assert cell.memory.cache == length * 512
            assert cell.memory.weights == 107_200 * 4
    (read,) = find(report, phase="decode", context_length=256)
    (filled,) = find(report, phase="decode", context_length=4_096)
    assert (read.filled, filled.filled) == (False, True)
    assert filled.memory.cache >= 4_096 * 512
    assert len(find(report, batch=2)) == 2
    full = find(report, logits="full")
    assert {c.memory.logits for c in full} == {256 * 259 * 4}


def test_a_system_with_our_kernels_is_measured_with_them_and_says_so(tmp_path):
    spec = config_system("tiny-llama", "float32", "longboard")
    (asked,) = plain_plan([(name_of(spec), spec)], lengths=[64], budget_s=60)
    report = measure_system(asked.model_copy(update={"parts": ("cells",)}), tmp_path / "part.json", device="cpu")
    facts = report.systems["tiny-llama-longboard"]
    assert facts.kernels["kernels"] == "longboard"
    assert facts.kernels["kernels_error"] <= facts.kernels["kernels_tolerance"]
    assert facts.title.endswith(", our kernels")
    assert [c.failure for c in report.cells] == [None] * 3  # two readings and decode
    (bundle,) = bundles_of(report)
    assert bundle.manifest.settings["kernels_in"] == facts.kernels["kernels_in"]
    assert bundle.run.system.runtime.kernels == "longboard"


def test_the_same_cell_of_two_launches_lies_within_the_pooled_interval(launches):
    for key in ({"phase": "prefill", "reading": "chunked"}, {"phase": "decode"}):
        pair = [find(report, context_length=256, logits="last", batch=1, **key)[0] for report in launches]
        name = "ttft_ms" if key["phase"] == "prefill" else "tpot_ms"
        pooled = pool_cells(pair).times[name]
        for cell in pair:
            assert pooled.low <= cell.times[name].value <= pooled.high


def test_slope_limit_and_breakdown_are_there_and_right(launches):
    report = launches[0]
    (slope,) = report.slopes
    assert slope.per_token == pytest.approx(512)
    assert slope.off == 0
    (limit,) = report.limits
    assert (limit.tokens, limit.ended, limit.published_positions) == (1_024, "position_limit", 32_768)
    for b in report.breakdowns:
        assert sum(b.groups.values()) == pytest.approx(max(b.wall_ms, b.busy_ms), rel=0.01)
        assert b.groups["matmul"] > 0
        assert {"attention", "mlp", "norm"} <= set(b.modules)
        assert 0 < b.module_share("attention") < 1


def test_two_reports_join_only_if_they_are_of_one_device(launches):
    joined = join_reports(launches)
    assert len(joined.cells) == sum(len(r.cells) for r in launches)
    other = launches[1].model_copy(update={"hardware": launches[1].hardware.model_copy(update={"device": "another"})})
    with pytest.raises(ValueError, match="different devices"):
        join_reports([launches[0], other])


def test_a_cache_that_cannot_be_continued_gives_a_row_that_says_so(tmp_path):
    report = measure_system(
        request("tiny-mamba2", prefix_mode="step", parts=("cells",), lengths=(128,), decode_lengths=(128,)),
        tmp_path / "x.json",
        device="cpu",
    )
    (refused,) = find(report, reading="chunked", phase="prefill")
    assert refused.failure.kind == "unsupported"
    (one,) = find(report, reading="one_shot", phase="prefill")
    assert one.failure is None


def test_full_logits_of_a_repeat_do_not_outlive_it():
    """A view of the last row would keep those of the whole prompt: then the next repeat's peak holds both."""
    reader = open_reader(load_system(config_system("tiny-llama", "float32"), device="cpu").model, chunk=64)
    subject = TorchSubject(reader, length=128, logits="full")
    subject.read_prompt(lambda: 0.0)
    assert subject.kept is None
    assert subject.last.untyped_storage().nbytes() == 259 * 4


@pytest.mark.parametrize(
    ("error", "kind", "needed"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
            "out_of_memory",
            2_684_354_560,
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 640000 bytes."),
            "out_of_memory",
            640_000,
        ),
        (MemoryError(), "out_of_memory", None),
        (NotFinite("NaN"), "non_finite", None),
    ],
)
def test_an_error_becomes_a_failure_with_the_bytes_it_names(error, kind, needed):
    found = failure_of(error)
    assert (found.kind, found.needed_bytes) == (kind, needed)
    assert failure_of(ValueError("anything else")) is None


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("void flash::flash_fwd_splitkv_kernel<...>", "attention"), ("nvjet_tst_128x64_64x8_1x2_h_bz_TNT", "matmul"),
        ("void gemv2T_kernel_val<...>", "matmul"), ("_causal_conv1d_fwd_kernel", "scan_and_conv"),
        ("at::native::reduce_kernel<512, ArgMaxOps>", "sampling"), ("Memcpy DtoD (Device -> Device)", "copy"),
        ("void at::native::vectorized_elementwise_kernel<4, MulFunctor>", "elementwise"),
        ("_outputs", "scan_and_conv"), ("_chain", "scan_and_conv"), ("_ssd_step", "scan_and_conv"), ("_decode", "attention"),
        ("scan_by_four_lanes", "scan_and_conv"), ("_add_rms_norm", "norm"), ("_rope", "elementwise"),
    ],
)  # fmt: skip
def test_kernels_are_grouped_by_name(name, group):
    assert group_of(name) == group


def test_idle_is_the_wall_time_that_no_kernel_filled():
    groups, busy, count = group_times([("gemm", 2.0), ("gemm", 1.0), ("Memcpy", 0.5)], wall_ms=5.0)
    assert groups == {"matmul": 3.0, "copy": 0.5, "idle": 1.5}
    assert (busy, count) == (3.5, 3)


def test_a_module_inside_another_counts_once():
    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.RMSNorm(4)

        def forward(self, x):
            return self.inner(x)

    Outer.__name__ = "TestAttention"
    model = Outer()
    assert set(module_times(model, lambda: model(torch.ones(1, 4)), torch.device("cpu"))) == {"attention"}


# Plans, campaigns, the command


def test_the_tables_plan_names_shapes_that_ship_and_lengths_that_rise():
    names = [r.name for r in table_plan()]
    assert len(set(names)) >= 10
    for r in table_plan():
        assert list(r.lengths) == sorted(r.lengths)
        assert r.name == name_of(r.system)
    assert sum(r.ceilings for r in table_plan()) == 1


def test_a_part_of_the_table_can_be_asked_for_alone():
    def ask(*words: str) -> list[Request]:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return make_requests(parser.parse_args(["--out", "x", *words]))

    some = ask("--plan", "table", "--systems", "llama-1b", "lfm2-1.2b", "--parts", "energy", "breakdown")
    assert [(r.name, r.launch, r.parts) for r in some] == [
        ("llama-1b", 1, ("energy", "breakdown")),
        ("lfm2-1.2b", 1, ("energy", "breakdown")),
    ]
    assert len(ask("--plan", "table")) == len(table_plan())
    with pytest.raises(ValueError, match="no gpt-5"):
        ask("--plan", "table", "--systems", "gpt-5")


def test_each_launch_gets_its_share_of_the_time_that_is_left(tmp_path):
    requests = plain_plan(
        [("a", config_system("tiny-llama")), ("b", config_system("tiny-mamba2"))], lengths=(64,), budget_s=200
    )
    campaign = Campaign(requests, tmp_path, 50.0, [""], lambda p: None)
    assert campaign._take().budget_s == pytest.approx(25, rel=0.05)
    assert campaign._take().budget_s == pytest.approx(47, rel=0.05)
    assert campaign._take() is None


def test_the_bar_says_how_far_and_how_long_at_most():
    text = bar_text(Progress("llama-1b", 40, 1, 4, 75.0), 100.0)
    assert text == "[########......................] 1/4 launches, 40 rows, at most 1 min 15 s left llama-1b"
    assert "done" in bar_text(Progress("", 90, 4, 4, 30.0), 100.0)


def test_the_shipped_table_gives_bundles_that_the_contract_takes():
    report = read_report(Path(efficiency.__path__[0]) / "measured" / "h100-80gb.json")
    bundles = bundles_of(report)
    assert len(bundles) >= 30
    assert len({b.run.system.digest for b in bundles}) >= 9
    for bundle in bundles:
        again = ResultBundle.model_validate_json(bundle.model_dump_json())
        assert {m.metric for m in again.measurements if m.unit != "J"} == {
            "ttft_ms", "tpot_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "peak_memory_bytes", "cache_bytes",
        }  # fmt: skip


def test_energy_of_a_bundle_is_that_of_the_valid_windows_of_its_length():
    report = read_report(Path(efficiency.__path__[0]) / "measured" / "h100-80gb.json")
    windows = {
        (c.system, c.context_length, f"{c.phase}_j_per_token"): c.energy
        for c in report.cells
        if c.energy and c.energy.is_valid
    }
    found = {
        (b.run.system.model.id, m.context_length, m.metric): m
        for b in bundles_of(report)
        for m in b.measurements
        if m.unit == "J"
    }
    assert len(found) >= 3
    for key, m in found.items():
        ends = sorted((windows[key].joules / windows[key].tokens, windows[key].integrated / windows[key].tokens))
        assert (m.value, m.n) == (windows[key].joules / windows[key].tokens, 1)
        assert [m.ci_low, m.ci_high] == ends


def test_the_signed_baselines_of_the_h100_are_the_tables_bundles():
    """But for the intervals of what two launches measured: those were a bootstrap's when they were signed, and stay."""
    report = read_report(Path(efficiency.__path__[0]) / "measured" / "h100-80gb.json")
    shipped = [baseline.bundle for baseline in read_baselines(BASELINES / "h100-80gb-x2")]

    def told(bundle):
        pooled = bundle.manifest.settings["launches"] > 1
        rows = [
            m.model_copy(update={"ci_low": m.value, "ci_high": m.value}) if pooled else m for m in bundle.measurements
        ]
        return bundle.model_copy(update={"measurements": tuple(rows)})

    made = bundles_of(report)
    assert {b.run.run_id: told(b) for b in shipped} == {b.run.run_id: told(b) for b in made}
    assert len(shipped) == len({b.run.run_id for b in shipped})
    assert 0 < sum(b.manifest.settings["launches"] > 1 for b in made) < len(made) / 4


def test_measure_on_a_bare_machine_writes_a_report_and_bundles(tmp_path, capsys, monkeypatch):
    roots = [str(Path(__file__).resolve().parents[3] / root) for root in ("tasks", "workers", "kernels")]
    monkeypatch.setenv("PYTHONPATH", ":".join(roots))
    command = ["measure", "--systems", "tiny-llama", "--lengths", "128", "--dtype", "float32", "--budget-s", "150"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    report = read_report(tmp_path / "efficiency_report.json")
    assert {c.phase for c in report.cells if not c.failure} == {"prefill", "decode"}
    (bundle,) = (tmp_path / "bundles").glob("*.json")
    assert ResultBundle.model_validate(json.loads(bundle.read_text())).run.context_length == 128
    assert "1 bundles" in capsys.readouterr().out
    assert main(["measure", "--out", str(tmp_path)]) == 2
    assert "Name at least one System" in capsys.readouterr().err
