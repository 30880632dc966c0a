"""ExpectedAttention: which keys the queries to come would look at, were they like those of the prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.suites.kv.dropping import ALWAYS, Dropping, View
from longboard_tasks.suites.kv.observing import QueryMoments, rotate, scale_of


class ExpectedAttention(Dropping):
    """Attention that queries to come would pay, on average, times the size of the value. Devoto et al. 2025 (arXiv:2510.00636).

    Queries before their rotation are taken as normal, with the mean and covariance of the prompt's (the first `n_sink`, 4, left
    out); the rotation is averaged over the next `n_future_positions` (512). Softmax over keys of scale * k.mu +
    scale^2 / 2 * k'Ck for each query head, averaged over the group, plus `epsilon` (0), times the L2 norm of the value. The
    sinks are kept.
    """

    def __init__(
        self, budget: float, *, question_aware: bool = False, n_future_positions: int = 512, n_sink: int = 4,
        use_covariance: bool = True, use_vnorm: bool = True, epsilon: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(budget, question_aware=question_aware)
        self.ahead, self.n_sink, self.epsilon = n_future_positions, n_sink, epsilon
        self.use_covariance, self.use_vnorm = use_covariance, use_vnorm

    def observation(self) -> QueryMoments:
        return QueryMoments(self.n_sink)

    def score(self, view: View) -> Tensor:
        keys, values = view.keys[:, :, self.n_sink :], view.values[:, :, self.n_sink :]
        rows, kv_heads, tokens, size = keys.shape
        sinks = torch.full((rows, kv_heads, view.keys.shape[2] - tokens), ALWAYS, device=keys.device)
        if not tokens:
            return sinks
        scale = scale_of(view.module)
        turn = self._mean_rotation(view)  # [D, D]
        mean = view.observed.mean @ turn.T
        covariance = turn @ view.observed.covariance @ turn.T
        mean = mean.view(rows, kv_heads, -1, size)
        covariance = covariance.view(rows, kv_heads, -1, size, size)
        score = torch.zeros(rows, kv_heads, tokens, device=keys.device)
        for member in range(mean.shape[2]):
            logits = self._logits(keys, mean[:, :, member], covariance[:, :, member], scale)
            score += logits.softmax(dim=-1)
        score /= mean.shape[2]
        if self.use_vnorm:
            score = (score + self.epsilon) * values.float().norm(dim=-1)
        return torch.cat([sinks, score], dim=-1)

    def _logits(self, keys: Tensor, mean: Tensor, covariance: Tensor, scale: float) -> Tensor:
        """[B, HKV, T] for one query head of each group; a stretch of keys at a time, for they are spread to fp32."""
        parts = []
        for part in keys.split(8_192, dim=2):
            part = part.float()
            logits = (part @ mean[..., None])[..., 0] * scale
            if self.use_covariance:
                logits = logits + ((part @ covariance) * part).sum(dim=-1) * (scale * scale / 2)
            parts.append(logits)
        return torch.cat(parts, dim=-1)

    def _mean_rotation(self, view: View) -> Tensor:
        """The rotation, as a matrix on one head's channels, averaged over the positions to come."""
        size, device = view.keys.shape[-1], view.keys.device
        identity = torch.eye(size, device=device)
        rotary = next((m for m in self.model.modules() if hasattr(m, "inv_freq")), None)
        if rotary is None:
            return identity
        first = view.layer.seen
        places = torch.arange(first, first + self.ahead, device=device)[None]
        try:
            cos, sin = (t[0].float() for t in rotary(identity, places))
        except TypeError as error:  # rotations that differ between layers
            raise MethodError(
                f"{type(rotary).__name__} is no single rotation: expected_attention cannot use it."
            ) from error
        turned = rotate(
            identity[None], cos[:, None], sin[:, None]
        )  # [positions, D, D]: row i is what channel i becomes
        return turned.mean(dim=0).T
