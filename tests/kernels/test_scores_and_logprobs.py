"""K6 and K7 against the whole matrices, in fp64, on sizes where these fit."""

from __future__ import annotations

import pytest
import torch
from closeness import relative_error
from torch import Tensor

from longboard_kernels.errors import KernelInputError
from longboard_kernels.logprobs import token_logprobs
from longboard_kernels.scores import attention_received, attention_received_ref, window_scores
from longboard_kernels.tuned import forced

TILES = {"rows": 16, "columns": 64, "channels": 16, "num_warps": 4, "num_stages": 2}
SMALL = {"rows": 32, "keys": 32, "num_warps": 4, "num_stages": 2}


def weights_of(q: Tensor, keys: Tensor) -> Tensor:
    """[B, H, W, T] causal attention weights of the last W queries, fp64."""
    k = keys.double().repeat_interleave(q.shape[1] // keys.shape[1], 1)
    scores = q.double() @ k.mT * q.shape[3] ** -0.5
    hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(k.shape[2] - q.shape[2] + 1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


@pytest.mark.parametrize("run", [attention_received, attention_received_ref])
@pytest.mark.parametrize(("share", "queries", "tokens"), [(1, 16, 130), (4, 16, 128), (3, 7, 33), (2, 70, 70)])
def test_each_key_gets_the_sum_of_its_column(run, share: int, queries: int, tokens: int, device: str) -> None:
    q, keys = torch.randn(2, 2 * share, queries, 16, device=device), torch.randn(2, 2, tokens, 16, device=device)
    wanted = weights_of(q, keys).unflatten(1, (2, share)).sum((2, 3))
    with forced("attention_received", SMALL):
        got = run(q, keys)
    assert relative_error(got, wanted) < 1e-5
    assert got.sum(-1).allclose(torch.tensor(float(queries * share), device=device), rtol=1e-4)


def test_split_keys_give_the_same_sums(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longboard_kernels.scores.LEAST_SPLIT", 40)
    q, keys = torch.randn(1, 2, 5, 16, device=device), torch.randn(1, 1, 200, 16, device=device)
    with forced("attention_received", SMALL):
        assert relative_error(attention_received(q, keys), weights_of(q, keys).sum((1, 2))[:, None]) < 1e-5


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_the_windows_score_is_a_pooled_mean_over_what_comes_before_it(pooling: str, device: str) -> None:
    q, keys = torch.randn(1, 4, 8, 16, device=device), torch.randn(1, 2, 60, 16, device=device)
    mean = weights_of(q, keys).unflatten(1, (2, 2)).mean((2, 3))[0, :, :52]
    with forced("attention_received", SMALL):
        got = window_scores(q, keys, kernel=5, pooling=pooling)[0]
    for t in (0, 1, 20, 51):
        near = mean[:, max(t - 2, 0) : t + 3]
        wanted = near.sum(-1) / 5 if pooling == "avg" else near.amax(-1)
        assert torch.allclose(got[:, t].double(), wanted, rtol=1e-4)


@pytest.mark.parametrize("tokens", [1, 20])
@pytest.mark.parametrize("biased", [False, True])
def test_the_tiles_give_the_softmax_over_the_whole_vocabulary(tokens: int, biased: bool, device: str) -> None:
    hidden, head = torch.randn(tokens, 64, device=device), torch.randn(1000, 64, device=device)
    bias = torch.randn(1000, device=device) if biased else None
    targets = torch.randint(0, 1000, (tokens,), device=device)
    logits = hidden.double() @ head.double().T + (bias.double() if biased else 0)
    wanted = logits.log_softmax(-1)
    with forced("token_logprobs", TILES):
        got = token_logprobs(hidden, head, targets, bias=bias)
    assert torch.allclose(got.logprobs.double(), wanted.gather(1, targets[:, None])[:, 0], atol=1e-4)
    assert torch.equal(got.best, logits.argmax(-1))
    assert torch.allclose(got.best_logprobs.double(), wanted.amax(-1), atol=1e-4)


def test_of_equal_logits_the_first_is_the_best(device: str) -> None:
    head = torch.zeros(40, 8, device=device)
    with forced("token_logprobs", TILES | {"columns": 16}):
        assert (
            token_logprobs(
                torch.ones(3, 8, device=device), head, torch.zeros(3, dtype=torch.long, device=device)
            ).best.tolist()
            == [0] * 3
        )


def test_more_queries_than_keys_are_refused(device: str) -> None:
    with pytest.raises(KernelInputError, match="more than"):
        attention_received(torch.zeros(1, 1, 9, 16, device=device), torch.zeros(1, 1, 8, 16, device=device))
