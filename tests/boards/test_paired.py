"""Paired differences and rank ranges: closed forms, brute force, and coverage in simulation from 10 samples to 3,000."""

from __future__ import annotations

import math

import numpy as np
import pytest

from longboard.boards.clusters import document_of
from longboard.boards.paired import interval_ranks, paired_difference, rank_ranges, separate_difference
from longboard.boards.share_intervals import evidence, interval
from longboard_tasks.intervals import wilson

SIZES = (10, 20, 50, 200, 1_000, 3_000)


def test_a_paired_difference_is_the_formula_by_hand():
    """n = 20, 6 won and 1 lost: with half a sample won and half lost d = 5/21, se = sqrt((8/21 - (5/21)^2) / 21)."""
    first = np.array([0.0] * 6 + [1.0] + [1.0] * 13)
    second = np.array([1.0] * 6 + [0.0] + [1.0] * 13)
    got = paired_difference(first, second)
    error = math.sqrt((8 / 21 - (5 / 21) ** 2) / 21)
    assert got.value == pytest.approx(5 / 20)
    assert (got.low, got.high) == pytest.approx((5 / 21 - 1.959964 * error, 5 / 21 + 1.959964 * error))
    assert (got.n, got.paired, got.is_sure) == (20, True, False)


def test_swapping_the_two_turns_the_difference_round():
    rng = np.random.default_rng(1)
    a, b = (rng.random(30) < 0.7).astype(float), (rng.random(30) < 0.4).astype(float)
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


@pytest.mark.parametrize("n", SIZES)
def test_paired_intervals_hold_the_truth_in_93_to_97_of_100_simulations(n):
    """Correlated yes and no answers, with the two accuracies drawn over the whole range."""
    rng = np.random.default_rng(n)
    trials, held = 4_000, 0
    for _ in range(trials):
        easy, skill = rng.uniform(0.1, 0.9), rng.uniform(-0.3, 0.3)
        p, q = easy, min(0.98, max(0.02, easy + skill))
        shared = rng.random(n)  # the same hard sample is hard for both, half of the time
        own = np.where(rng.random(n) < 0.5, shared, rng.random(n))
        got = paired_difference((shared < p).astype(float), (own < q).astype(float))
        held += got.low <= q - p <= got.high
    assert 0.93 <= held / trials <= 0.97, held / trials


@pytest.mark.parametrize("n", SIZES)
def test_separate_intervals_hold_the_truth_in_93_to_97_of_100_simulations(n):
    rng = np.random.default_rng(n + 1)
    p, q = rng.uniform(0.05, 0.95, 6_000), rng.uniform(0.05, 0.95, 6_000)
    x, y = rng.binomial(n, p) / n, rng.binomial(n, q) / n
    got = [separate_difference((a, n), (b, n)) for a, b in zip(x, y, strict=True)]
    held = np.mean([d.low <= t <= d.high for d, t in zip(got, q - p, strict=True)])
    assert 0.93 <= held <= 0.97, held


@pytest.mark.parametrize("n", SIZES)
def test_wilson_intervals_hold_the_truth_in_93_to_97_of_100_simulations(n):
    rng = np.random.default_rng(n + 2)
    p = rng.uniform(0.02, 0.98, 6_000)
    ends = {k: wilson(k / n, n) for k in range(n + 1)}
    held = np.mean([ends[k][0] <= t <= ends[k][1] for k, t in zip(rng.binomial(n, p).tolist(), p, strict=True)])
    assert 0.93 <= held <= 0.97, held


@pytest.mark.parametrize("documents", [4, 10, 20, 50, 300])
def test_intervals_of_samples_that_share_documents_hold_the_truth(documents):
    """Nine samples a document, their scores alike: the plain Wilson interval is far too narrow, ours is not."""
    rng = np.random.default_rng(documents)
    trials, held, plain = 2_000, 0, 0
    keys = np.repeat(np.arange(documents), 9).tolist()
    for _ in range(trials):
        p = rng.uniform(0.02, 0.98)
        chance = rng.beta(p * 3, (1 - p) * 3, documents)  # intraclass correlation 1/4
        scores = (rng.random((documents, 9)) < chance[:, None]).astype(float).ravel()
        low, high = interval([evidence(scores, keys)])
        held += low <= p <= high
        low, high = wilson(float(scores.mean()), len(scores))
        plain += low <= p <= high
    assert 0.93 <= held / trials <= 0.975, held / trials
    assert plain / trials < 0.85


@pytest.mark.parametrize("n", [10, 20, 50, 200, 1_000])
def test_intervals_of_scores_between_0_and_1_hold_the_truth_and_wilsons_is_too_wide(n):
    """Five things asked in each sample, samples of unlike difficulty."""
    rng = np.random.default_rng(n + 3)
    trials, held, plain = 2_000, 0, 0
    for _ in range(trials):
        p = rng.uniform(0.02, 0.98)
        scores = rng.binomial(5, rng.beta(p * 2, (1 - p) * 2, n)) / 5
        low, high = interval([evidence(scores)])
        held += low <= p <= high
        low, high = wilson(float(scores.mean()), n)
        plain += low <= p <= high
    assert 0.93 <= held / trials <= 0.97, held / trials
    assert plain / trials > 0.985


@pytest.mark.parametrize("n", [10, 20, 50, 200, 1_000])
def test_paired_intervals_of_documents_hold_the_truth(n):
    """Nine samples a document, whose differences go together."""
    rng = np.random.default_rng(n + 4)
    trials, held = 2_000, 0
    keys = np.repeat(np.arange(n), 9).tolist()
    for _ in range(trials):
        p, q = rng.uniform(0.1, 0.9, 2)
        hard = np.where(rng.random((n, 1)) < 0.4, rng.random((n, 1)), rng.random((n, 9)))
        other = np.where(rng.random((n, 1)) < 0.5, hard, rng.random((n, 9)))
        got = paired_difference((hard < p).astype(float).ravel(), (other < q).astype(float).ravel(), keys)
        held += got.low <= q - p <= got.high
    assert 0.93 <= held / trials <= 0.97, held / trials


def test_a_document_for_each_sample_gives_wilsons_own_interval():
    assert interval([evidence([1.0, 0.0, 1.0, 1.0], [1, 2, 3, 4])]) == pytest.approx(wilson(0.75, 4))
    assert document_of("niah", "streamed", 3, 8) == document_of("niah", "streamed", 3, 0)
    assert document_of("niah", "streamed", 3, 9) != document_of("niah", "streamed", 3, 8)
    assert document_of("niah", "single", 3, 8) != document_of("niah", "single", 3, 7)


def test_documents_that_are_all_alike_count_as_one_sample_each():
    assert interval([evidence([1.0] * 18, [0] * 9 + [1] * 9)]) == pytest.approx(wilson(1.0, 2))
    assert interval([evidence([1.0, 0.0] * 9, [at // 2 for at in range(18)])]) == pytest.approx(wilson(0.5, 9))
    assert interval([evidence([1.0, 0.0], [0, 0])]) == pytest.approx(wilson(0.5, 1))


# --- Ranks -----------------------------------------------------------------------------------------------------------


def test_equal_systems_share_one_range_and_a_far_better_one_is_alone_at_the_top():
    rng = np.random.default_rng(1)
    scores = np.stack([rng.random(400) < p for p in (0.95, 0.5, 0.5, 0.5, 0.1)]).astype(float)
    best, worst = rank_ranges(scores.mean(1), np.full(5, 400), scores)
    assert (best[0], worst[0]) == (1, 1)
    assert (best[4], worst[4]) == (5, 5)
    assert best[1:4].tolist() == [2, 2, 2]
    assert worst[1:4].tolist() == [4, 4, 4]


def test_paired_samples_tell_apart_what_separate_ones_cannot():
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    scores = np.stack([hard < 0.60, hard < 0.66]).astype(float)  # the second answers all that the first does, and more
    best, worst = rank_ranges(scores.mean(1), np.full(2, 200), scores)
    assert (best.tolist(), worst.tolist()) == ([2, 1], [2, 1])
    best, worst = rank_ranges(scores.mean(1), np.full(2, 200))
    assert (best.tolist(), worst.tolist()) == ([1, 1], [2, 2])


def test_one_system_is_first_and_last():
    best, worst = rank_ranges(np.array([0.5]), np.array([20]))
    assert (best.tolist(), worst.tolist()) == ([1], [1])


def test_a_system_without_the_shared_samples_is_compared_as_a_separate_one():
    rng = np.random.default_rng(3)
    scores = np.full((3, 200), np.nan)
    scores[0, :100], scores[1, :100], scores[2, 100:] = (rng.random((3, 100)) < [[0.9], [0.2], [0.5]]).astype(float)
    best, worst = rank_ranges(np.nanmean(scores, 1), np.full(3, 100), scores)
    assert (best.tolist(), worst.tolist()) == ([1, 3, 2], [1, 3, 2])


def test_ranks_of_many_systems_are_never_narrower_than_those_of_all_pairs(monkeypatch):
    rng = np.random.default_rng(4)
    shares = rng.random(300)
    n = np.full(300, 50)
    best, worst = rank_ranges(shares, n)
    monkeypatch.setattr("longboard.boards.paired.PAIRS_UP_TO", 10)
    coarse_best, coarse_worst = rank_ranges(shares, n)
    assert (coarse_best <= best).all()
    assert (coarse_worst >= worst).all()
    order = np.argsort(-shares, kind="stable")
    rank = np.empty(300, int)
    rank[order] = np.arange(1, 301)
    for low, high in ((best, worst), (coarse_best, coarse_worst)):
        assert ((low <= rank) & (rank <= high)).all(), "its own place is always inside"


@pytest.mark.parametrize(("systems", "items"), [(4, 20), (10, 50), (25, 200)])
def test_the_true_rank_is_inside_the_range_at_least_95_times_in_100(systems, items):
    """With ties: a third of the Systems are equal. A tie's true rank is any place of its group; the range must hold them all."""
    rng = np.random.default_rng(systems)
    held = total = 0
    for trial in range(60):
        skill = np.sort(rng.uniform(0.2, 0.9, systems))
        skill[: systems // 3] = skill[0]
        hard = rng.random(items)
        own = np.where(rng.random((systems, items)) < 0.6, hard[None, :], rng.random((systems, items)))
        scores = (own < skill[:, None]).astype(float)
        best, worst = rank_ranges(scores.mean(1), np.full(systems, items), scores, draws=150, seed=trial)
        top = 1 + (skill[None, :] > skill[:, None]).sum(1)
        bottom = systems - (skill[None, :] < skill[:, None]).sum(1)
        held += ((best <= top) & (bottom <= worst)).sum()
        total += systems
    assert held / total >= 0.95, held / total


@pytest.mark.parametrize(("systems", "items"), [(2, 30), (2, 1_000), (10, 30), (10, 1_000)])
def test_among_equals_every_place_is_inside_a_range_95_times_in_100_and_not_much_more(systems, items):
    """The hardest case, in which a range is as narrow as its word allows. Separate samples."""
    rng = np.random.default_rng(items)
    trials, held = 4_000 // systems, 0
    for _ in range(trials):
        shares = rng.binomial(items, rng.uniform(0.3, 0.9), systems) / items
        best, worst = rank_ranges(shares, np.full(systems, items))
        held += int(((best == 1) & (worst == systems)).sum())
    assert 0.935 <= held / trials / systems <= 0.98, held / trials / systems


def test_systems_that_are_surely_apart_leave_the_others_a_smaller_critical_value():
    """Of five, three are far below: the first two have one difference left, for which Z95 is enough; for four it takes 2.49."""
    shares, n = np.array([0.80, 0.73, 0.1, 0.1, 0.1]), np.full(5, 300)
    p = (shares * n + 1) / (n + 2)
    t = (p[0] - p[1]) / np.sqrt((p * (1 - p) / (n + 2))[:2].sum())
    assert 1.96 < t < 2.49
    best, worst = rank_ranges(shares, n)
    assert (best[:2].tolist(), worst[:2].tolist()) == ([1, 2], [1, 2])
    near, far = rank_ranges(np.array([0.80, 0.73, 0.76, 0.76, 0.76]), n)
    assert (near[1], far[0]) == (1, 5)


@pytest.mark.parametrize("items", [50, 400])
def test_equals_among_others_far_away_are_still_told_apart_no_more_than_5_times_in_100(items):
    """Setting those aside that are sure must not make the rest surer than they are. Shared samples."""
    rng = np.random.default_rng(items)
    trials, held = 150, 0
    for trial in range(trials):
        skill = np.array([0.85, 0.85, 0.85, 0.2, 0.2, 0.2])
        own = np.where(rng.random((6, items)) < 0.6, rng.random(items)[None], rng.random((6, items)))
        scores = (own < skill[:, None]).astype(float)
        best, worst = rank_ranges(scores.mean(1), np.full(6, items), scores, draws=200, seed=trial)
        held += ((best <= [1, 1, 1, 4, 4, 4]) & (worst >= [3, 3, 3, 6, 6, 6])).sum()
    assert 0.92 <= held / trials / 6 <= 0.985, held / trials / 6


def test_ranks_from_intervals_alone_go_by_the_arms_that_face_each_other():
    """First and second differ by 0.3 with arms of 0.1 and 0.1, which add to 0.141; second and third by 0.05."""
    values = np.array([0.8, 0.5, 0.45])
    best, worst = interval_ranks(values, values - [0.1, 0.4, 0.1], values + [0.4, 0.1, 0.1], slice(0, 3))
    assert list(zip(best, worst, strict=True)) == [(1, 1), (2, 3), (2, 3)]
    wide = interval_ranks(values, values - [0.4, 0.1, 0.1], values + [0.1, 0.1, 0.1], slice(0, 3))
    assert list(zip(*wide, strict=True)) == [(1, 3), (1, 3), (1, 3)]


def test_ranks_from_intervals_of_a_page_are_those_of_the_whole():
    rng = np.random.default_rng(3)
    values, arms = rng.random(60), rng.uniform(0.01, 0.2, 60)
    whole = interval_ranks(values, values - arms, values + arms, slice(0, 60))
    page = interval_ranks(values, values - arms, values + arms, slice(20, 35))
    assert [list(side[20:35]) for side in whole] == [list(side) for side in page]


def test_ranks_from_many_intervals_are_never_narrower(monkeypatch):
    rng = np.random.default_rng(5)
    values, arms = rng.random(300), rng.uniform(0.01, 0.1, 300)
    best, worst = interval_ranks(values, values - arms, values + arms, slice(40, 90))
    monkeypatch.setattr("longboard.boards.paired.PAIRS_UP_TO", 10)
    coarse_best, coarse_worst = interval_ranks(values, values - arms, values + arms, slice(40, 90))
    assert (coarse_best <= best).all()
    assert (coarse_worst >= worst).all()
    assert (coarse_worst - coarse_best).mean() < 2 * (worst - best).mean()


def test_numbers_without_an_interval_have_plain_ranks_and_ties_share_a_range():
    values = np.array([3.0, 1.0, 2.0, 2.0])
    best, worst = interval_ranks(values, values, values, slice(0, 4))
    assert list(zip(best, worst, strict=True)) == [(1, 1), (4, 4), (2, 3), (2, 3)]
    assert [list(side) for side in interval_ranks(values[:0], values[:0], values[:0], slice(0, 0))] == [[], []]


@pytest.mark.parametrize("systems", [2, 6, 40])
def test_among_equals_every_place_is_inside_a_range_of_intervals_95_times_in_100(systems):
    rng = np.random.default_rng(4)
    hit = []
    for _ in range(400):
        values, error = rng.normal(0, 1, systems), np.ones(systems)
        best, worst = interval_ranks(values, values - 1.96 * error, values + 1.96 * error, slice(0, systems))
        hit.append(((best == 1) & (worst == systems)).mean())
    assert 0.93 < np.mean(hit) <= 1
