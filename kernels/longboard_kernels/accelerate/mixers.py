"""The recurrent mixers: Mamba, Mamba-2 as it stands in six architectures, the gated delta rule of three."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, silu, softplus

from longboard_kernels.accelerate.swap import carried_states, is_covered, run_stock
from longboard_kernels.conv import causal_conv
from longboard_kernels.gated_delta import SIZES, gated_delta
from longboard_kernels.gated_delta_step import gated_delta_step
from longboard_kernels.norms import gated_rms_norm
from longboard_kernels.selective_scan import selective_scan
from longboard_kernels.ssd import ssd_scan
from longboard_kernels.ssd_step import ssd_step

MAMBA = ("MambaMixer",)
MAMBA2 = (
    "Mamba2Mixer", "BambaMixer", "FalconH1Mixer", "GraniteMoeHybridMambaLayer", "NemotronHMamba2Mixer", "Zamba2MambaMixer",
)  # fmt: skip
DELTA = ("Qwen3NextGatedDeltaNet", "Qwen3_5GatedDeltaNet", "Qwen3_5MoeGatedDeltaNet")
HEAD_SIZES, LARGEST_STATE = (16, 32, 64, 128), 256


def why_not(mixer: Any) -> str:
    """Why our kernels cannot serve this mixer; "" if they can."""
    if mixer.activation not in ("silu", "swish"):
        return f"its activation is {mixer.activation}"
    if not 2 <= mixer.conv_kernel_size <= 4:
        return f"its convolution is {mixer.conv_kernel_size} wide"
    if type(mixer).__name__ in MAMBA:
        fits = mixer.ssm_state_size % 4 == 0 and mixer.ssm_state_size <= 64
        return "" if fits else f"its state size is {mixer.ssm_state_size}"
    if type(mixer).__name__ in DELTA:
        fits = mixer.head_k_dim in SIZES and mixer.head_v_dim in SIZES
        return "" if fits else f"its heads are {mixer.head_k_dim} x {mixer.head_v_dim}"
    if mixer.head_dim not in HEAD_SIZES or mixer.ssm_state_size > LARGEST_STATE:
        return f"its heads are {mixer.head_dim} x {mixer.ssm_state_size}"
    return ""


def mix_mamba(
    self: Any, hidden_states: Tensor, cache_params: Any = None, attention_mask: Any = None, **kwargs: Any
) -> Tensor:
    """MambaMixer.forward, tokens x channels throughout; continues from a cache by any number of tokens."""
    if not is_covered(self, cache_params, attention_mask, kwargs):
        return run_stock(self, hidden_states, cache_params=cache_params, attention_mask=attention_mask, **kwargs)
    batch, channels, states = hidden_states.shape[0], self.intermediate_size, self.ssm_state_size
    conv_state, state = carried_states(
        cache_params, self.layer_idx, hidden_states, (batch, channels, self.conv_kernel_size), (batch, channels, states)
    )
    x, gate = self.in_proj(hidden_states).chunk(2, dim=-1)
    x = causal_conv(x, self.conv1d.weight.squeeze(1), self.conv1d.bias, conv_state)
    step, b, c = self.x_proj(x).split([self.time_step_rank, states, states], dim=-1)
    y = selective_scan(
        x,
        linear(step, self.dt_proj.weight),
        -torch.exp(self.A_log.float()),
        b,
        c,
        self.D,
        gate,
        self.dt_proj.bias,
        state,
    )
    return self.out_proj(y)


def mix_mamba2(
    self: Any, hidden_states: Tensor, cache_params: Any = None, attention_mask: Any = None, **kwargs: Any
) -> Tensor:
    """Mamba2Mixer.forward and its kin. Falcon-H1 scales what goes in, and may gate without a norm."""
    if not is_covered(self, cache_params, attention_mask, kwargs):
        return run_stock(self, hidden_states, cache_params=cache_params, attention_mask=attention_mask, **kwargs)
    batch, tokens, _ = hidden_states.shape
    groups, states, width = self.n_groups, self.ssm_state_size, self.intermediate_size
    conv_state, state = carried_states(
        cache_params, self.layer_idx, hidden_states,
        (batch, self.conv_dim, self.conv_kernel_size), (batch, self.num_heads, self.head_dim, states),
    )  # fmt: skip
    if hasattr(self, "ssm_in_multiplier"):
        hidden_states = hidden_states * self.ssm_in_multiplier
    projected = self.in_proj(hidden_states)
    if hasattr(self, "mup_vector"):
        projected = projected * self.mup_vector
    gate, line, dt = projected.split([width, self.conv_dim, self.num_heads], dim=-1)
    line = causal_conv(line, self.conv1d.weight.squeeze(1), self.conv1d.bias, conv_state)
    x, b, c = line.split([width, groups * states, groups * states], dim=-1)
    x, b, c = x.unflatten(-1, (-1, self.head_dim)), b.unflatten(-1, (groups, states)), c.unflatten(-1, (groups, states))
    a, limit = -torch.exp(self.A_log.float()), tuple(self.time_step_limit)
    if tokens == 1 and state is not None:
        y = ssd_step(x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0], state, self.D, self.dt_bias, dt_limit=limit)[:, None]
    else:
        y = ssd_scan(x, dt, a, b, c, self.D, self.dt_bias, state, dt_limit=limit)
    y = y.flatten(-2)
    if not hasattr(self.norm, "weight"):
        return self.out_proj(y * silu(gate))
    group = getattr(self.norm, "group_size", 0) or width // getattr(self.norm, "n_groups", 1)
    first = getattr(self.norm, "norm_before_gate", False)
    return self.out_proj(
        gated_rms_norm(y, gate, self.norm.weight, self.norm.variance_epsilon, group=group, norm_first=first)
    )


def mix_delta(
    self: Any, hidden_states: Tensor, cache_params: Any = None, attention_mask: Any = None, **kwargs: Any
) -> Tensor:
    """Qwen3NextGatedDeltaNet.forward and its kin. Qwen3-Next projects all at once, its parts mixed by key heads."""
    if not is_covered(self, cache_params, attention_mask, kwargs):
        return run_stock(self, hidden_states, cache_params=cache_params, attention_mask=attention_mask, **kwargs)
    batch, tokens, _ = hidden_states.shape
    keys, values = self.head_k_dim, self.head_v_dim
    conv_state, state = carried_states(
        cache_params, self.layer_idx, hidden_states,
        (batch, self.conv_dim, self.conv_kernel_size), (batch, self.num_v_heads, keys, values),
    )  # fmt: skip
    if hasattr(self, "in_proj_qkv"):
        line, gate = self.in_proj_qkv(hidden_states), self.in_proj_z(hidden_states).unflatten(-1, (-1, values))
        strength, step = self.in_proj_b(hidden_states), self.in_proj_a(hidden_states)
    else:
        q, k, v, gate, strength, step = self.fix_query_key_value_ordering(
            self.in_proj_qkvz(hidden_states), self.in_proj_ba(hidden_states)
        )
        line = torch.cat([q.flatten(2), k.flatten(2), v.flatten(2)], dim=-1)
    line = causal_conv(line, self.conv1d.weight.squeeze(1), self.conv1d.bias, conv_state)
    q, k, v = line.split([self.key_dim, self.key_dim, self.value_dim], dim=-1)
    q, k, v = q.unflatten(-1, (-1, keys)), k.unflatten(-1, (-1, keys)), v.unflatten(-1, (-1, values))
    decay, beta = -torch.exp(self.A_log.float()) * softplus(step.float() + self.dt_bias), strength.sigmoid()
    if tokens == 1 and state is not None:
        o = gated_delta_step(q[:, 0], k[:, 0], v[:, 0], decay[:, 0], beta[:, 0], state)[:, None]
    else:
        o = gated_delta(q, k, v, decay, beta, state)
    return self.out_proj(self.norm(o, gate).flatten(2))


FORWARDS = dict.fromkeys(MAMBA, mix_mamba) | dict.fromkeys(MAMBA2, mix_mamba2) | dict.fromkeys(DELTA, mix_delta)
