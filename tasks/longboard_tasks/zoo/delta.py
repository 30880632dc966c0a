"""A chunked gated delta rule for training in plain torch, over the weights of the stock class.

transformers' own torch path solves a triangular system for each chunk and updates the state in several steps for each chunk.
Here one matrix product a chunk is left in sequence; all else runs over all chunks at once.
"""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longboard_tasks.zoo.fused import fused
from longboard_tasks.zoo.ssd import short_convolution

CHUNK = 32  # tokens; half of the stock class's, for the matrices of pairs of tokens are what moves


def chunked_delta_rule(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor) -> Tensor:
    """The gated delta rule over a whole sequence, as matrix products.

        state_t <- g_t state_{t-1} + k_t (b_t (v_t - g_t state_{t-1}^T k_t))^T;   o_t = state_t^T q_t,   g_t = exp(decay_t)

    q, k    [B, T, H, K]  fp32; k of unit length. T must be a multiple of CHUNK
    v       [B, T, H, V]  fp32
    decay   [B, T, H]     fp32, at most 0
    beta    [B, T, H]     fp32, in [0, 1)
    returns [B, T, H, V]  fp32

    Source: Yang et al. 2025 (Gated DeltaNet, arXiv:2412.06464), section 3.3; the state's transition as one matrix a chunk.
    """
    system, right, log = build_system(k, v, decay, beta)
    # Forward substitution: products of powers of the matrix overflow where a chunk repeats one key, as noise lines do.
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    kept, added = build_transitions(k, log, solved)
    state = torch.zeros_like(added[:, 0])
    starts = []
    # Unbound, not indexed: the gradient of an index is as large as all chunks together, for every chunk.
    for keeps, adds in zip(kept.unbind(1), added.unbind(1), strict=True):
        starts.append(state)
        state = keeps @ state + adds
    return read_out(q, k, log, solved, torch.stack(starts, dim=1))


def split_chunks(x: Tensor) -> Tensor:
    """[B, T, H, ...] to [B, T / CHUNK, H, CHUNK, ...]."""
    return x.unflatten(1, (-1, CHUNK)).transpose(2, 3)


def decay_between(log: Tensor) -> Tensor:
    """exp(log_i - log_j) for j <= i, else 0: [..., CHUNK] to [..., CHUNK, CHUNK]."""
    earlier = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=log.device).tril()
    # The mask goes in before exp: above the diagonal exp overflows, and inf * 0 would poison the gradient.
    return torch.exp((log[..., :, None] - log[..., None, :]).masked_fill(~earlier, -torch.inf))


def build_system(k: Tensor, v: Tensor, decay: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each chunk: the triangular matrix [B, n, H, CHUNK, CHUNK], its right sides [..., V + K], the summed decay."""
    k, v, beta = split_chunks(k), split_chunks(v), split_chunks(beta[..., None])
    log = torch.cumsum(split_chunks(decay), dim=3)
    system = ((beta * k) @ k.transpose(-1, -2)) * decay_between(log)
    return system.tril(-1), torch.cat([beta * v, beta * k * torch.exp(log)[..., None]], dim=-1), log


def build_transitions(k: Tensor, log: Tensor, solved: Tensor) -> tuple[Tensor, Tensor]:
    """What a chunk keeps of the state that it meets [B, n, H, K, K], and what it adds [B, n, H, K, V]."""
    k = split_chunks(k)
    written, read = solved.split([solved.shape[-1] - k.shape[-1], k.shape[-1]], dim=-1)
    left = (k * torch.exp(log[..., -1:] - log)[..., None]).transpose(-1, -2)  # keys, decayed to the end of the chunk
    same = torch.eye(k.shape[-1], device=k.device)
    return torch.exp(log[..., -1])[..., None, None] * same - left @ read, left @ written


def read_out(q: Tensor, k: Tensor, log: Tensor, solved: Tensor, start: Tensor) -> Tensor:
    q, k = split_chunks(q), split_chunks(k)
    written, read = solved.split([solved.shape[-1] - k.shape[-1], k.shape[-1]], dim=-1)
    o = ((q @ k.transpose(-1, -2)) * decay_between(log)) @ (written - read @ start)
    o = o + (q * torch.exp(log)[..., None]) @ start
    return o.transpose(2, 3).flatten(1, 2)


@fused
def prepare(q: Tensor, k: Tensor, a: Tensor, b: Tensor, a_log: Tensor, dt_bias: Tensor) -> tuple[Tensor, ...]:
    """Unit queries and keys, decays and writing strengths, as the stock class has them."""
    q, k = (part.float() * torch.rsqrt((part.float() ** 2).sum(-1, keepdim=True) + 1e-6) for part in (q, k))
    decay = -a_log.float().exp() * F.softplus(a.float() + dt_bias)
    return q * q.shape[-1] ** -0.5, k, decay, b.float().sigmoid()


def mixer_forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Qwen3_5GatedDeltaNet.forward` without cache or padding: [B, T, hidden] to [B, T, hidden]. As many key as value heads."""
    B, T, _ = hidden_states.shape
    mixed = self.in_proj_qkv(hidden_states)
    gate = self.in_proj_z(hidden_states).view(B, T, self.num_v_heads, self.head_v_dim)
    b, a = self.in_proj_b(hidden_states), self.in_proj_a(hidden_states)
    with torch.autocast(hidden_states.device.type, enabled=False):
        mixed = short_convolution(mixed, self.conv1d.weight, None)
        parts = mixed.split([self.key_dim, self.key_dim, self.value_dim], dim=-1)
        q, k, v = (part.unflatten(-1, (self.num_v_heads, -1)) for part in parts)
        q, k, decay, beta = prepare(q, k, a, b, self.A_log, self.dt_bias)
        spare = -T % CHUNK  # beta = 0 past the end: nothing is written
        q, k, v = (F.pad(part, (0, 0, 0, 0, 0, spare)) for part in (q, k, v.float()))
        decay, beta = (F.pad(part, (0, 0, 0, spare)) for part in (decay, beta))
        o = chunked_delta_rule(q, k, v, decay, beta)[:, :T].to(hidden_states.dtype)
        o = self.norm(o, gate)
    return self.out_proj(o.flatten(2))


def use_chunked_delta(model: nn.Module) -> nn.Module:
    """Let every gated delta net of a stock model run `mixer_forward`. Its weights stay in place; it can no longer decode."""
    for module in model.modules():
        if type(module).__name__ == "Qwen3_5GatedDeltaNet":
            if module.num_k_heads != module.num_v_heads:
                raise ValueError(f"expected as many key as value heads; got {module.num_k_heads}, {module.num_v_heads}")
            module.forward = types.MethodType(mixer_forward, module)
    return model
