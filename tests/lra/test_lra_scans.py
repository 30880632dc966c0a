"""Every recurrence in its fast form equals its definition, one token at a time; so do the gradients."""

import pytest
import torch

from longboard_tasks.suites.lra.mixers.deltanet import delta_rule_ref
from longboard_tasks.suites.lra.mixers.rwkv import weighted_means, weighted_means_ref
from longboard_tasks.suites.lra.mixers.s4d import DiagonalStateSpace
from longboard_tasks.suites.lra.mixers.scans import (
    STRONGEST,
    channel_decayed,
    decayed,
    decayed_ref,
    mean_of,
    prefix_sums,
    prefix_sums_ref,
)
from longboard_tasks.zoo.delta import CHUNK as DELTA_CHUNK
from longboard_tasks.zoo.delta import chunked_delta_rule

LENGTHS = [1, 15, 17, 63, 64, 65, 150]


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def assert_same(fast, slow, inputs):
    """Outputs, and gradients of a loss that weighs each of them differently."""
    weight = torch.linspace(-1, 1, slow.numel(), dtype=slow.dtype).view_as(slow)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)
    one, two = (
        torch.autograd.grad((y * weight).sum(), inputs, retain_graph=True, materialize_grads=True) for y in (fast, slow)
    )
    for first, second in zip(one, two, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-8, atol=1e-9)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


@pytest.mark.parametrize("length", LENGTHS)
def test_linear_attention_with_a_decay_per_head(length):
    q, k, v, raw = draw(2, length, 3, 4), draw(2, length, 3, 4), draw(2, length, 3, 5), draw(2, length, 3)
    decay = -torch.nn.functional.softplus(raw)
    assert_same(decayed(q, k, v, decay), decayed_ref(q, k, v, decay), (q, k, v, raw))
    assert_same(decayed(q, k, v, None), decayed_ref(q, k, v, None), (q, k, v))


def test_a_decay_of_hundreds_a_token_gives_no_nan():
    q, k, v = draw(1, 130, 1, 2), draw(1, 130, 1, 2), draw(1, 130, 1, 2)
    decay = torch.full((1, 130, 1), -900.0, dtype=torch.float64)
    assert_same(decayed(q, k, v, decay), (q * k).sum(-1, keepdim=True) * v, (q, k, v))


@pytest.mark.parametrize("length", LENGTHS)
def test_linear_attention_with_a_decay_per_channel(length):
    q, k, v, raw = draw(2, length, 3, 4), draw(2, length, 3, 4), draw(2, length, 3, 5), draw(2, length, 3, 4)
    decay = -torch.nn.functional.softplus(raw)
    assert_same(channel_decayed(q, k, v, decay), decayed_ref(q, k, v, decay), (q, k, v, raw))


def test_the_strongest_decay_per_channel_stays_right_in_single_precision():
    q, k, v = (draw(1, 64, 2, 4).detach().float() for _ in range(3))
    decay = torch.full((1, 64, 2, 4), STRONGEST)
    torch.testing.assert_close(channel_decayed(q, k, v, decay), decayed_ref(q, k, v, decay), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_prefix_softmax_is_an_rnn_of_two_sums(length):
    score, value, pace = draw(2, length, 3), draw(2, length, 3), draw(3)
    assert_same(mean_of(prefix_sums(score, value)), prefix_sums_ref(score, value), (score, value))
    fading = pace.exp()
    args = (score, value, fading)
    assert_same(mean_of(prefix_sums(*args)), prefix_sums_ref(*args), (score, value, pace))


def test_the_prefix_softmax_survives_scores_that_exp_does_not():
    score = torch.tensor([[900.0, -900.0, 901.0, 0.0]])
    value = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    last = (1 + 3 * torch.e) / (1 + torch.e)
    torch.testing.assert_close(mean_of(prefix_sums(score, value)), torch.tensor([[1.0, 1.0, last, last]]))


@pytest.mark.parametrize("length", LENGTHS)
def test_rwkvs_weighted_means(length):
    k, v, raw, bonus = draw(2, length, 5), draw(2, length, 5), draw(5), draw(5)
    pace = raw.exp()
    assert_same(weighted_means(k, v, pace, bonus), weighted_means_ref(k, v, pace, bonus), (k, v, raw, bonus))


@pytest.mark.parametrize("length", [1, 2, 17, 64])
def test_the_state_spaces_convolution_is_its_recurrence(length):
    space = DiagonalStateSpace(3, 8, both=False).double()
    u = draw(2, length, 3)
    parameters = [u, *space.parameters()]
    assert_same(space(u), space.recur(u), parameters)


def test_the_second_kernel_reads_from_the_right_and_leaves_the_token_itself_out():
    space = DiagonalStateSpace(2, 4, both=True).double()
    u = draw(1, 9, 2)
    ahead, behind = space.kernels(9)
    expected = torch.zeros(1, 9, 2, dtype=torch.float64)
    for t in range(9):
        for i in range(9):
            expected[0, t] += (ahead[:, t - i] if i <= t else behind[:, i - t - 1]) * u[0, i]
    torch.testing.assert_close(space(u), expected + u * space.skip)


@pytest.mark.parametrize("length", [DELTA_CHUNK, 3 * DELTA_CHUNK])
def test_the_delta_rule_in_chunks_is_the_delta_rule(length):
    q, v, raw = draw(2, length, 2, 4), draw(2, length, 2, 3), draw(2, length, 2)
    k = torch.nn.functional.normalize(draw(2, length, 2, 4), dim=-1)
    beta = torch.sigmoid(draw(2, length, 2))
    decay = -torch.nn.functional.softplus(raw)
    args = (q, k, v, decay, beta)
    torch.testing.assert_close(chunked_delta_rule(*args), delta_rule_ref(*args))


def test_no_chunks_gradient_is_as_large_as_all_chunks():
    """An index leaves for the way back a tensor of zeros as large as what it looked into: once a chunk, that is quadratic."""
    length = 4 * DELTA_CHUNK
    q, k, v, raw = draw(1, length, 2, 4), draw(1, length, 2, 4), draw(1, length, 2, 4), draw(1, length, 2, 4)

    def decay() -> torch.Tensor:
        return -torch.nn.functional.softplus(raw)

    for run in (
        lambda: channel_decayed(q, k, v, decay()),
        lambda: chunked_delta_rule(
            q, torch.nn.functional.normalize(k, dim=-1), v, decay().mean(-1), torch.sigmoid(raw.mean(-1))
        ),
    ):
        loss = run().sum()  # its inputs made anew: a graph is walked back once
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            loss.backward()
        backward = [event for event in seen.key_averages() if event.key == "aten::select_backward"]
        assert sum(event.count for event in backward) <= 2  # of what is cut once, not of every chunk
