"""What the kernels' benchmark says of the peers: no silence where time ran out, and time of their own. Needs no device."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from longboard_kernels.cost import Ceilings, Cost

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "kernels"
COST = Cost(nbytes=1.0, flops=1.0)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The peers' turn of a kernel with 100 s, of which none has passed; `measure` needs no device."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    module = import_module("bench")
    monkeypatch.setattr(module, "describe_machine", lambda: {})
    made = module.Bench("K2", tmp_path, budget_s=100)
    made.round, made.ceilings = "peers", Ceilings(1e12, 1e15, 1e12)
    monkeypatch.setattr(made, "measure", lambda work, most=50: {"ms": float(work().sum())})
    return made


def spend(bench: Any, seconds: float) -> None:
    bench.started = time.perf_counter() - seconds


def time_peer(bench: Any) -> None:
    ones = torch.ones(1, 1)
    import_module("peers").time_peer(bench, "L1", "theirs", lambda: lambda: ones, COST, lambda: ones)


def test_a_peer_has_a_row_with_its_time_and_its_distance_from_ours(bench) -> None:
    time_peer(bench)
    (row,) = bench.body["rows"]
    assert (row["side"], row["ms"], row["from_ours"]) == ("theirs", 1.0, 0.0)


def test_a_peer_that_time_does_not_reach_leaves_a_row_that_says_so(bench) -> None:
    spend(bench, 96)
    time_peer(bench)
    (row,) = bench.body["rows"]
    assert (row["side"], row["failed"]) == ("theirs", "no time")


def test_tuning_ends_where_the_peers_half_begins_unless_they_were_first(bench) -> None:
    grid, now = [{"block": 2}, {"block": 3}], {"block": 1}
    for spent, peers_are_done, tried in ((0, False, 3), (60, False, 0), (60, True, 3)):
        spend(bench, spent)
        bench.peers_are_done = peers_are_done
        bench.body["tuning"].clear()
        bench.tune("decode", "", grid, lambda: torch.ones(1), now)
        assert sum("config" in row for row in bench.body["tuning"]) == tried


def test_ours_is_timed_in_the_peers_half_too_but_not_split_up(bench, monkeypatch) -> None:
    bench.round = "ours"
    spend(bench, 60)
    bench.time("L1", "ours", lambda: torch.ones(1), COST)
    bench.split("L1", lambda: pytest.fail("profiled in the time of the peers"))
    assert [row["ms"] for row in bench.body["rows"]] == [1.0]


def test_the_table_says_which_kernel_is_of_which_commit(bench) -> None:
    name_commits = import_module("table").name_commits
    parts = [{"kernel": "K1", "commit": "a"}, {"kernel": "K2", "commit": "b"}, {"kernel": "K3", "commit": "a"}]
    assert name_commits(parts) == "commits a (K1, K3), b (K2)"
    assert name_commits(parts[:1]) == "commit a"
