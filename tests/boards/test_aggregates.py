"""Means over whole suites: their value against the plain definition, their intervals against the truth in simulation."""

from __future__ import annotations

import numpy as np
import pytest

from longboard.boards.aggregates import Part, effective_n, means_of, tasks_at
from longboard_tasks.catalogue import SUITES
from longboard_tasks.intervals import wilson

PROFILES = {
    "spread": np.linspace(0.05, 0.95, 10),
    "alike": np.full(10, 0.5),
    "nearly all right": np.full(10, 0.98),
    "some solved, some hopeless": np.r_[np.full(5, 0.95), np.full(5, 0.05)],
}


def test_the_mean_is_that_of_the_tasks_whatever_their_sample_counts():
    raw, above = means_of([Part(0.9, 10, 0.5), Part(0.4, 1_000, 0.0), Part(0.5, 20, 0.25)])
    assert raw.value == pytest.approx((0.9 + 0.4 + 0.5) / 3)
    assert above.value == pytest.approx((0.8 + 0.4 + 1 / 3) / 3)
    assert raw.low < raw.value < raw.high


def test_above_chance_is_cut_at_zero_after_the_mean():
    _, above = means_of([Part(0.3, 50, 0.5), Part(0.9, 50, 0.5)])  # -0.4 and 0.8
    assert above.value == pytest.approx(0.2)
    _, none = means_of([Part(0.3, 50, 0.5), Part(0.5, 50, 0.5)])
    assert (none.value, none.low) == (0.0, 0.0)


def test_all_right_has_wilsons_interval_on_all_samples():
    raw, above = means_of([Part(1.0, 20, 0.5)] * 17)
    low, _ = wilson(1.0, 17 * 20)
    assert (raw.value, raw.high) == (1.0, 1.0)
    assert raw.low == pytest.approx(low)
    assert above.low == pytest.approx((low - 0.5) / 0.5)


def test_samples_that_share_documents_widen_the_interval():
    rng = np.random.default_rng(0)
    scores = np.repeat(rng.integers(0, 2, 40), 9).astype(float)  # nine answers a document, all alike
    documents = [(0, at // 9) for at in range(360)]
    alone = Part(scores.mean(), 360, 0.0, scores)
    together = Part(scores.mean(), 360, 0.0, scores, documents)
    narrow, wide = means_of([alone, alone])[0], means_of([together, together])[0]
    assert 2.3 < (wide.high - wide.low) / (narrow.high - narrow.low) < 3.7  # the root of nine


@pytest.mark.parametrize("n", [10, 20, 100])
@pytest.mark.parametrize("profile", PROFILES)
def test_the_interval_covers_the_truth(profile, n):
    shares, rng, hits = PROFILES[profile], np.random.default_rng(5), 0
    for trial in range(300):
        drawn = rng.binomial(n, shares) / n
        raw, _ = means_of([Part(float(share), n) for share in drawn], seed=trial)
        hits += raw.low <= shares.mean() <= raw.high
    # Never far too narrow; where most tasks are at an end, wider than they need be at small n.
    assert hits / 300 >= 0.92


def test_a_complete_set_is_every_task_that_fits_in_the_length():
    niah = SUITES["niah"]
    assert len(tasks_at(niah, 4_096)) == len(niah.tasks)
    short = {task.name for task in tasks_at(niah, 512)}
    assert "vt" not in short
    assert "streamed" not in short
    assert "single" in short


def test_ranks_go_by_the_interval_of_a_mean():
    values, n = np.array([0.5, 0.8]), np.array([100.0, 400.0])
    low, high = (
        np.array(ends) for ends in zip(*(wilson(v, int(k)) for v, k in zip(values, n, strict=True)), strict=True)
    )
    assert effective_n(values, low, high, n) == pytest.approx(n, rel=0.05)
