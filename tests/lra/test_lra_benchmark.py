"""The benchmark's one command, on a toy: it keeps what it has, leaves out what is wrong, and writes its tables."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from longboard_tasks.suites.lra.mixers.registry import MIXERS
from longboard_tasks.suites.lra.tasks import TASKS, Shape

PATH = Path(__file__).parents[2] / "benchmarks" / "lra" / "run.py"


@pytest.fixture
def command(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("lra_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(TASKS, "listops", replace(TASKS["listops"], shape=Shape(8, 1, 1, 8, 8, "class", 0.0)))
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)

    def call(*extra: str) -> int:
        ask = ["run.py", "--out", str(tmp_path), "--tiny", "--mixers", "linear", "aft", "--train", "linear", "aft"]
        monkeypatch.setattr(module.sys, "argv", [*ask, *extra])
        return module.main()

    return call


def test_the_command_checks_times_trains_and_goes_on_where_it_was(command, tmp_path, capsys):
    assert command("--budget-s", "300") == 0
    check = json.loads((tmp_path / "check.json").read_text())
    assert {row["mixer"] for row in check["rows"]} == {"linear", "aft"}
    rows = json.loads((tmp_path / "efficiency.json").read_text())["rows"]
    assert len(rows) == 2 * 2 * 2  # mixers, lengths, passes
    assert all(row["ms"] > 0 for row in rows)
    outcomes = sorted(tmp_path.glob("listops/*/outcome.json"))
    assert [json.loads(path.read_text())["stopped"] for path in outcomes] == ["budget", "budget"]
    report = (tmp_path / "report.md").read_text()
    assert report.count("| linear |") == 3
    before = [path.stat().st_mtime_ns for path in outcomes]
    assert command("--budget-s", "300") == 0
    assert [path.stat().st_mtime_ns for path in outcomes] == before
    assert json.loads((tmp_path / "efficiency.json").read_text())["rows"] == rows
    assert "listops-linear-bidirectional-seed0 step" in capsys.readouterr().out


def test_a_wrong_mixer_is_named_and_neither_timed_nor_trained(command, tmp_path, monkeypatch):
    class Broken(MIXERS["aft"]):
        def forward(self, x, mask=None):
            raise RuntimeError("no kernel image")

    monkeypatch.setitem(MIXERS, "aft", Broken)
    assert command("--budget-s", "300", "--parts", "efficiency") == 1
    rows = json.loads((tmp_path / "check.json").read_text())["rows"]
    assert "no kernel image" in next(row["failure"] for row in rows if row["mixer"] == "aft")
    timed = json.loads((tmp_path / "efficiency.json").read_text())["rows"]
    assert {row["mixer"] for row in timed} == {"linear"}


def test_the_report_is_written_again_without_measuring(command, tmp_path):
    assert command("--budget-s", "300", "--parts", "efficiency") == 0
    table, report = tmp_path / "efficiency.json", tmp_path / "report.md"
    before, says = table.stat().st_mtime_ns, report.read_text()
    told = json.loads(table.read_text())
    assert f"{told['hardware']['device']}, {told['measured_at'][:10]}, PyTorch" in says
    report.unlink()
    assert command("--report-only") == 0
    assert report.read_text() == says
    assert table.stat().st_mtime_ns == before


def test_without_time_it_ends_by_itself(command, tmp_path):
    assert command("--budget-s", "0") == 0
    assert (tmp_path / "check.json").exists()
    assert not list(tmp_path.glob("listops/*/outcome.json"))
