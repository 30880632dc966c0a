"""The recurrences that several mixers share, each as its definition and in a form that runs over whole sequences at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 64  # tokens of one block of matrix products
NARROW = 16  # of one block when every channel decays by itself
STRONGEST = -5.0  # log decay a token where every channel decays by itself: exp(5 * NARROW) still fits fp32


def decayed(q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None) -> Tensor:
    """Linear attention with a decay per head and token, in chunks.

        state_t <- exp(decay_t) state_{t-1} + k_t v_t^T;   o_t = state_t^T q_t

    q, k    [B, T, H, K]  fp32 or fp64
    v       [B, T, H, V]
    decay   [B, T, H]     at most 0; None for no decay
    returns [B, T, H, V]

    Source: Dao & Gu 2024 (arXiv:2405.21060), section 6. Cost: 2 T (CHUNK (K + V) + 2 K V) FLOP a head, and T^2 K V / CHUNK^2 for
    what chunks pass on. Held to `decayed_ref`.
    """
    T = q.shape[1]
    spare = -T % CHUNK  # zeros past the end: no decay, nothing added
    q, k, v = (F.pad(part, (0, 0, 0, 0, 0, spare)).unflatten(1, (-1, CHUNK)).transpose(2, 3) for part in (q, k, v))
    if decay is None:
        log = q.new_zeros(q.shape[:-1])
    else:
        log = F.pad(decay, (0, 0, 0, spare)).unflatten(1, (-1, CHUNK)).cumsum(2).transpose(2, 3)  # [B, n, H, CHUNK]
    inside = (q @ k.transpose(-1, -2)) * _since(log)
    left = torch.exp(log[..., -1:] - log)[..., None]
    added = (k * left).transpose(-1, -2) @ v  # [B, n, H, K, V]
    ends = log[..., -1].cumsum(1).transpose(1, 2)  # [B, H, n]
    starts = F.pad(ends, (1, -1))  # decay up to the start of each chunk
    earlier = torch.ones(ends.shape[-1], ends.shape[-1], dtype=torch.bool, device=q.device).tril(-1)
    carry = torch.exp((starts[..., :, None] - ends[..., None, :]).masked_fill(~earlier, -torch.inf))
    met = (carry @ added.transpose(1, 2).flatten(3)).unflatten(-1, added.shape[-2:]).transpose(1, 2)
    o = inside @ v + (q * torch.exp(log)[..., None]) @ met
    return o.transpose(2, 3).flatten(1, 2)[:, :T]


def decayed_ref(q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None) -> Tensor:
    """The definition of `decayed` and of `channel_decayed`: one token at a time. decay [B, T, H] or [B, T, H, K]."""
    state = q.new_zeros(q.shape[0], *q.shape[2:], v.shape[-1])
    outputs = []
    for t in range(q.shape[1]):
        if decay is not None:
            at_t = decay[:, t] if decay.ndim == 4 else decay[:, t, :, None]
            state = torch.exp(at_t)[..., None] * state
        state = state + k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append((q[:, t, :, :, None] * state).sum(-2))
    return torch.stack(outputs, dim=1)


def channel_decayed(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
    """As `decayed`, with a decay for every channel of the key: decay [B, T, H, K], from STRONGEST to 0.

    Source: Yang et al. 2024 (GLA, arXiv:2312.06635), section 4. Chunks pass their state on one after the other.
    """
    T = q.shape[1]
    spare = -T % NARROW
    q, k, v, decay = (
        F.pad(part, (0, 0, 0, 0, 0, spare)).unflatten(1, (-1, NARROW)).transpose(2, 3) for part in (q, k, v, decay)
    )
    log = decay.cumsum(3)  # [B, n, H, NARROW, K]
    ahead = q * torch.exp(log)
    inside = (ahead @ (k * torch.exp(-log)).transpose(-1, -2)).tril()
    added = (k * torch.exp(log[..., -1:, :] - log)).transpose(-1, -2) @ v
    left = torch.exp(log[..., -1, :])[..., None]  # [B, n, H, K, 1]
    state, met = torch.zeros_like(added[:, 0]), []
    # Unbound, not indexed: the gradient of an index is as large as all chunks together, for every chunk.
    for keeps, adds in zip(left.unbind(1), added.unbind(1), strict=True):
        met.append(state)
        state = keeps * state + adds
    o = inside @ v + ahead @ torch.stack(met, dim=1)
    return o.transpose(2, 3).flatten(1, 2)[:, :T]


def _since(log: Tensor) -> Tensor:
    """exp(log_i - log_j) for j <= i, else 0: [..., C] to [..., C, C]."""
    earlier = torch.ones(log.shape[-1], log.shape[-1], dtype=torch.bool, device=log.device).tril()
    # The mask goes in before exp: above the diagonal exp overflows, and inf * 0 would poison the gradient.
    return torch.exp((log[..., :, None] - log[..., None, :]).masked_fill(~earlier, -torch.inf))


Sums = tuple[Tensor, Tensor, Tensor]  # largest score, weighted values, weights: the last two over exp(largest score)


def prefix_sums(score: Tensor, value: Tensor, decay: Tensor | None = None) -> Sums:
    """For every t: sums over i <= t with weights exp(score_i - (t - i) decay), as a log-depth scan.

    score [B, T, ...] -inf leaves a token out; value [B, T, ...], broadcast against score; decay [...] at least 0.

    Source: Feng et al. 2024 (Attention as an RNN, arXiv:2405.13956), section 3.2. Cost: about 8 log2(T) FLOP a number.
    Held to `prefix_sums_ref`.
    """
    sums = (score, value.expand(torch.broadcast_shapes(value.shape, score.shape)), torch.ones_like(score))
    reach = 1
    while reach < score.shape[1]:
        before = tuple(part[:, :-reach] for part in sums)
        largest = before[0] if decay is None else before[0] - reach * decay
        joined = join((largest, before[1], before[2]), (sums[0][:, reach:], sums[1][:, reach:], sums[2][:, reach:]))
        parts = [torch.cat([part[:, :reach], new], dim=1) for part, new in zip(sums, joined, strict=True)]
        sums = (parts[0], parts[1], parts[2])
        reach *= 2
    return sums


def join(one: Sums, two: Sums) -> Sums:
    """The sums over both sets of tokens."""
    largest = torch.maximum(one[0], two[0]).detach()
    largest = torch.where(torch.isinf(largest), torch.zeros_like(largest), largest)
    first, second = torch.exp(one[0] - largest), torch.exp(two[0] - largest)
    return largest, first * one[1] + second * two[1], first * one[2] + second * two[2]


def mean_of(sums: Sums) -> Tensor:
    """Weighted values over weights; 0 where every token so far was left out."""
    return sums[1] / sums[2].clamp(min=1e-20)


def prefix_sums_ref(score: Tensor, value: Tensor, decay: Tensor | None = None) -> Tensor:
    """The definition, as the weighted mean: an RNN of two sums, one token at a time. For scores of moderate size."""
    kept = 1.0 if decay is None else torch.exp(-decay)
    top = bottom = torch.zeros_like(score[:, 0] * value[:, 0])
    means = []
    for t in range(score.shape[1]):
        weight = torch.exp(score[:, t])
        top, bottom = kept * top + weight * value[:, t], kept * bottom + weight
        means.append(top / bottom)
    return torch.stack(means, dim=1)
