"""Means over whole suites: their value against the plain definition, their intervals against the truth in simulation."""

from __future__ import annotations

import numpy as np
import pytest

from longboard.boards.aggregates import Part, effective_n, means_of, tasks_at
from longboard.boards.share_intervals import Evidence, interval
from longboard_tasks.catalogue.suites import SUITES
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


def test_all_right_has_wilsons_interval_on_all_samples_but_one_for_each_task_beside_the_first():
    raw, above = means_of([Part(1.0, 20, 0.5)] * 17)
    low, _ = wilson(1.0, 17 * 20 - 16)
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


@pytest.mark.parametrize("n", [10, 20, 100, 3_000])
@pytest.mark.parametrize("tasks", [2, 5, 17])
def test_the_interval_covers_the_truth_in_93_to_97_of_100_simulations(tasks, n):
    """Tasks of unlike difficulty and sample count, raw and above chance."""
    rng, trials = np.random.default_rng(5 + n), 1_500
    held = np.zeros(2)
    for _ in range(trials):
        shares = rng.beta(0.7, 0.7, tasks).clip(0.02, 0.98)
        sizes = np.maximum(10, (n * rng.choice([0.5, 1, 2], tasks)).astype(int))
        drawn, chance = rng.binomial(sizes, shares) / sizes, rng.choice([0.0, 0.1, 0.25], tasks)
        got = means_of([Part(float(p), int(k), float(c)) for p, k, c in zip(drawn, sizes, chance, strict=True)])
        truths = shares.mean(), max(0.0, ((shares - chance) / (1 - chance)).mean())
        held += [mean.low <= truth <= mean.high for mean, truth in zip(got, truths, strict=True)]
    assert (held / trials >= 0.93).all(), held / trials
    assert (held / trials <= 0.97).all(), held / trials


@pytest.mark.parametrize("profile", PROFILES)
def test_the_interval_covers_the_truth_where_tasks_are_nearly_all_right_or_all_wrong(profile):
    shares, rng, hits = PROFILES[profile], np.random.default_rng(6), 0
    for _ in range(1_500):
        drawn = rng.binomial(20, shares) / 20
        raw, _ = means_of([Part(float(share), 20) for share in drawn])
        hits += raw.low <= shares.mean() <= raw.high
    # One cell of a discrete statistic: no interval is within 93 to 97 in every one of them.
    assert 0.92 <= hits / 1_500 <= 0.98


def test_for_two_tasks_it_is_the_score_interval_of_miettinen_and_nurminen():
    """Both ends, put into their test of a difference of two shares (1985; likeliest shares by brute force), give 1.96."""
    p, n, q, k = 0.6, 20, 0.3, 30
    for end in interval([Evidence(p, n), Evidence(1 - q, k)], [1.0, 1.0]):
        difference = end - 1
        second = np.linspace(max(0.0, -difference), min(1.0, 1 - difference), 200_001)[1:-1]
        first = second + difference
        # Their n and k, less the half sample that each of two shares gives: for unlike sizes their N / (N - 1) is a mean of ours.
        a, b = n - 0.5, k - 0.5
        likely = a * (p * np.log(first) + (1 - p) * np.log(1 - first)) + b * (
            q * np.log(second) + (1 - q) * np.log(1 - second)
        )
        at = likely.argmax()
        variance = first[at] * (1 - first[at]) / a + second[at] * (1 - second[at]) / b
        assert abs(p - q - difference) / np.sqrt(variance) == pytest.approx(1.959964, rel=1e-4)


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
