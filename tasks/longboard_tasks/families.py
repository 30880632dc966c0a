"""The architecture of each family, read from a transformers configuration: one builder a family. Pure Python, no torch.

    architecture_of(load_shapes()["llama-1b"]).cache_bytes(131_072)

The numbers of parameters are exact for every shape that ships (tests).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from longboard_tasks.architectures import Architecture, Layer
from longboard_tasks.shapes import Shape


def architecture_of(shape: Shape) -> Architecture:
    """Of a shape that ships with us."""
    return read_architecture(shape.class_name, shape.settings, name=shape.id)


def read_architecture(class_name: str, settings: Mapping[str, Any], *, name: str = "") -> Architecture:
    """From a transformers configuration: its class's name (or model_type) and its settings.

    Raises KeyError for a class that is not in `BUILDERS`.
    """
    builder = BUILDERS[_short(class_name)]
    layers, extra = builder(_Config(settings))
    config = _Config(settings)
    vocabulary, hidden = config["vocab_size"], config["hidden_size"]
    tied = config.get("tie_word_embeddings", True)
    embedding = vocabulary * hidden * (1 if tied else 2)
    return Architecture(
        name=name or class_name,
        vocabulary=vocabulary,
        hidden=hidden,
        inner=_widest(config),
        layers=tuple(layers),
        stored=sum(layer.stored for layer in layers) + embedding + hidden + extra,
        head_used=vocabulary * hidden,
        logit_size=4 if _short(class_name) in ("mamba", "mamba2", "falconmamba", "nemotronh") else 0,
    )


def _widest(config: _Config) -> int:
    """Width of the MLP as it runs: some configurations give another number and adjust it."""
    if "block_ff_dim" in config:
        return _lfm2_inner(config)
    if "lru_width" in config:
        return config["intermediate_size"] // 2
    return config.get("intermediate_size") or config.get("shared_intermediate_size") or 2 * config["hidden_size"]


def knows(class_name: str) -> bool:
    return _short(class_name) in BUILDERS


def _short(class_name: str) -> str:
    return class_name.removesuffix("Config").removesuffix("ForCausalLM").lower().replace("_", "")


class _Config(dict[str, Any]):
    """Settings, with what transformers' classes take by default where a file leaves it out."""

    def heads(self) -> tuple[int, int, int]:
        heads = self["num_attention_heads"]
        return heads, self.get("num_key_value_heads") or heads, self.get("head_dim") or self["hidden_size"] // heads


def _attention(c: _Config, *, bias: bool = False, gated: bool = False, norms: int = 0) -> tuple[int, int, int]:
    """(parameters, kv width, score width) of one attention."""
    hidden = c["hidden_size"]
    heads, kv_heads, size = c.heads()
    query, keys = heads * size, 2 * kv_heads * size
    weights = hidden * (query * (2 if gated else 1) + keys) + query * hidden + norms * size
    return weights + ((query + keys) if bias else 0), keys, query


@dataclass(frozen=True, slots=True)
class _Scan:
    """The recurrent part of a layer: its weights, and what `Layer` wants to know."""

    weights: int
    state: int
    conv: int
    flops: int
    bytes: int

    def remember(self) -> dict[str, int]:
        return {"state": self.state, "conv": self.conv, "scan_flops": self.flops, "scan_bytes": self.bytes}


def _mamba1(c: _Config, *, inner: int, state: int, rank: int, kernel: int, norms: int = 0) -> _Scan:
    """A selective scan (Gu & Dao 2023, section 3). The stock code holds three fp32 tensors [channels, states] a token."""
    hidden = c["hidden_size"]
    weights = (
        hidden * 2 * inner + inner * (kernel + 1) + inner * (rank + 2 * state) + (rank + 1) * inner
        + inner * state + inner + inner * hidden + norms
    )  # fmt: skip
    return _Scan(weights, inner * state, inner * kernel, 9 * inner * state, 12 * inner * state)


def _mamba2(
    hidden: int,
    *,
    inner: int,
    state: int,
    heads: int,
    groups: int,
    kernel: int,
    chunk: int = 256,
    gate_norm: bool = True,
) -> _Scan:
    """A state-space layer with a scalar decay (Dao & Gu 2024).

    The stock code repeats keys and queries for every head in fp32: about four tensors each of [heads, chunk], [heads, states]
    and [channels] a token. The fours are fitted to the H100 table.
    """
    channels = inner + 2 * groups * state
    weights = hidden * (inner + channels + heads) + channels * (kernel + 1) + 3 * heads + inner * hidden
    weights += inner if gate_norm else 0
    passing = 16 * (heads * chunk + heads * state + inner)
    return _Scan(weights, inner * state, channels * kernel, 6 * inner * state, passing)


def _dense(c: _Config, *, bias: bool = False, window: int = 0) -> tuple[list[Layer], int]:
    hidden = c["hidden_size"]
    weights, keys, query = _attention(c, bias=bias)
    total = weights + 3 * hidden * c["intermediate_size"] + 2 * hidden
    mixer: Literal["window", "attention"] = "window" if window else "attention"
    return [Layer(mixer, total, total, keys, query, window)] * c["num_hidden_layers"], 0


def _build_mamba(c: _Config) -> tuple[list[Layer], int]:
    inner = c.get("intermediate_size") or c.get("expand", 2) * c["hidden_size"]
    rank = c.get("time_step_rank") or math.ceil(c["hidden_size"] / 16)
    rank = math.ceil(c["hidden_size"] / 16) if rank == "auto" else rank
    scan = _mamba1(c, inner=inner, state=c.get("state_size", 16), rank=rank, kernel=c.get("conv_kernel", 4))
    total = scan.weights + c["hidden_size"]
    return [Layer("state", total, total, **scan.remember())] * c["num_hidden_layers"], 0


def _build_mamba2(c: _Config) -> tuple[list[Layer], int]:
    hidden = c["hidden_size"]
    scan = _mamba2(
        hidden, inner=c["num_heads"] * c["head_dim"], state=c.get("state_size", 128), heads=c["num_heads"],
        groups=c.get("n_groups", 8), kernel=c.get("conv_kernel", 4),
    )  # fmt: skip
    total = scan.weights + hidden
    return [Layer("state", total, total, **scan.remember())] * c["num_hidden_layers"], 0


def _build_falconh1(c: _Config) -> tuple[list[Layer], int]:
    hidden = c["hidden_size"]
    scan = _mamba2(
        hidden, inner=c["mamba_d_ssm"], state=c["mamba_d_state"], heads=c["mamba_n_heads"],
        groups=c.get("mamba_n_groups", 1), kernel=c.get("mamba_d_conv", 4), gate_norm=c.get("mamba_rms_norm", False),
    )  # fmt: skip
    attention, keys, query = _attention(c)
    total = scan.weights + attention + 3 * hidden * c["intermediate_size"] + 2 * hidden
    layer = Layer("state and attention", total, total, keys, query, **scan.remember())
    return [layer] * c["num_hidden_layers"], 0


def _build_granite(c: _Config) -> tuple[list[Layer], int]:
    """Of the dense models of the family; experts are not counted."""
    hidden = c["hidden_size"]
    rest = 3 * hidden * c["shared_intermediate_size"] + 2 * hidden
    scan = _mamba2(
        hidden, inner=c["mamba_n_heads"] * c["mamba_d_head"], state=c["mamba_d_state"], heads=c["mamba_n_heads"],
        groups=c["mamba_n_groups"], kernel=c.get("mamba_d_conv", 4),
    )  # fmt: skip
    attention, keys, query = _attention(c)
    recurrent = Layer("state", scan.weights + rest, scan.weights + rest, **scan.remember())
    full = Layer("attention", attention + rest, attention + rest, keys, query)
    return [full if kind.removeprefix("full_") == "attention" else recurrent for kind in c["layer_types"]], 0


def _build_nemotronh(c: _Config) -> tuple[list[Layer], int]:
    hidden = c["hidden_size"]
    scan = _mamba2(
        hidden, inner=c["mamba_num_heads"] * c["mamba_head_dim"], state=c["ssm_state_size"],
        heads=c["mamba_num_heads"], groups=c["n_groups"], kernel=c.get("conv_kernel", 4),
    )  # fmt: skip
    attention, keys, query = _attention(c)
    mlp = 2 * hidden * c["intermediate_size"] + hidden
    kinds = {
        "linear_attention": Layer("state", scan.weights + hidden, scan.weights + hidden, **scan.remember()),
        "full_attention": Layer("attention", attention + hidden, attention + hidden, keys, query),
        "mlp": Layer("none", mlp, mlp),
    }
    return [kinds[kind] for kind in c["layers_block_type"]], 0


def _build_zamba2(c: _Config) -> tuple[list[Layer], int]:
    """One attention and MLP block, stored once and used in every hybrid layer, told apart by low-rank adapters."""
    hidden, rank, wide = c["hidden_size"], c["adapter_rank"], 2 * c["hidden_size"]
    inner = c.get("mamba_expand", 2) * hidden
    scan = _mamba2(
        hidden, inner=inner, state=c["mamba_d_state"], heads=c["n_mamba_heads"], groups=c.get("mamba_ngroups", 1),
        kernel=c.get("mamba_d_conv", 4),
    )  # fmt: skip
    recurrent = scan.weights + hidden
    heads = c["num_attention_heads"]
    size = wide // heads
    keys, query = 2 * (c.get("num_key_value_heads") or heads) * size, heads * size
    shared = wide * (query + keys) + query * hidden + 3 * hidden * c["intermediate_size"] + wide + hidden
    own = hidden * rank + rank * 2 * c["intermediate_size"] + hidden * hidden
    if c.get("use_shared_attention_adapter"):
        own += 3 * (wide * rank + rank * query)
    plain = Layer("state", recurrent, recurrent, **scan.remember())
    both = Layer(
        "state and attention", recurrent + own, recurrent + own + shared, keys, query, **scan.remember(),
    )  # fmt: skip
    return [both if kind == "hybrid" else plain for kind in c["layers_block_type"]], shared * c["num_mem_blocks"]


def _build_qwen3next(c: _Config) -> tuple[list[Layer], int]:
    """Of a dense cut of the family: experts are not counted."""
    hidden = c["hidden_size"]
    rest = 3 * hidden * c["intermediate_size"] + 2 * hidden
    keys_dim = c["linear_num_key_heads"] * c["linear_key_head_dim"]
    values_dim = c["linear_num_value_heads"] * c["linear_value_head_dim"]
    heads, channels = c["linear_num_value_heads"], 2 * keys_dim + values_dim
    weights = (
        hidden * (2 * keys_dim + 2 * values_dim) + hidden * 2 * heads + 4 * channels + 2 * heads
        + c["linear_value_head_dim"] + values_dim * hidden
    )  # fmt: skip
    state = heads * c["linear_key_head_dim"] * c["linear_value_head_dim"]
    linear = Layer(
        "state", weights + rest, weights + rest, state=state, conv=4 * channels, scan_flops=8 * state,
        scan_bytes=64 * values_dim,  # sixteen fp32 tensors of the values' width, seen on the H100
    )  # fmt: skip
    attention, width, query = _attention(c, gated=True, norms=2)
    full = Layer("attention", attention + rest, attention + rest, width, query)
    every = c.get("full_attention_interval", 4)
    return [full if (i + 1) % every == 0 else linear for i in range(c["num_hidden_layers"])], 0


def _build_recurrentgemma(c: _Config) -> tuple[list[Layer], int]:
    hidden, width, heads = c["hidden_size"], c["lru_width"], c["num_attention_heads"]
    half = c["intermediate_size"] // 2
    rest = 3 * hidden * half + 2 * half + hidden + 2 * hidden
    block = width // heads
    recurrent = (
        2 * (hidden * width + width) + width * hidden + hidden + width * (c.get("conv1d_width", 4) + 1)
        + width + 2 * (heads * block * block + width)
    )  # fmt: skip
    attention, keys, query = _attention(c)
    attention += hidden
    conv = width * (c.get("conv1d_width", 4) - 1)
    kinds = {
        "recurrent": Layer("state", recurrent + rest, recurrent + rest, state=width, conv=conv, scan_flops=8 * width),
        "attention": Layer("window", attention + rest, attention + rest, keys, query, c["attention_window_size"]),
    }
    pattern = c.get("block_types") or ("recurrent", "recurrent", "attention")
    return [kinds[pattern[i % len(pattern)]] for i in range(c["num_hidden_layers"])], 0


def _lfm2_inner(c: _Config) -> int:
    inner = c["intermediate_size"]
    if not c.get("block_auto_adjust_ff_dim", True):
        return inner
    step = c.get("block_multiple_of", 256)
    return step * math.ceil(int(c.get("block_ffn_dim_multiplier", 1.0) * int(2 * inner / 3)) / step)


def _build_lfm2(c: _Config) -> tuple[list[Layer], int]:
    hidden, inner = c["hidden_size"], _lfm2_inner(c)
    rest = 3 * hidden * inner + 2 * hidden
    kernel = c.get("conv_L_cache", 3)
    short = hidden * 3 * hidden + hidden * kernel + hidden * hidden
    attention, keys, query = _attention(c, norms=2)
    full = Layer("attention", attention + rest, attention + rest, keys, query)
    conv = Layer("state", short + rest, short + rest, conv=hidden * kernel)
    return [full if kind == "full_attention" else conv for kind in c["layer_types"]], 0


def _build_jamba(c: _Config) -> tuple[list[Layer], int]:
    hidden = c["hidden_size"]
    inner, state, rank = c.get("mamba_expand", 2) * hidden, c["mamba_d_state"], c["mamba_dt_rank"]
    scan = _mamba1(c, inner=inner, state=state, rank=rank, kernel=c.get("mamba_d_conv", 4), norms=rank + 2 * state)
    attention, keys, query = _attention(c)
    mlp, experts = 3 * hidden * c["intermediate_size"], c["num_experts"]
    layers = []
    for i in range(c["num_hidden_layers"]):
        is_full = i % c["attn_layer_period"] == c["attn_layer_offset"]
        is_sparse = i % c["expert_layer_period"] == c["expert_layer_offset"]
        own = (attention if is_full else scan.weights) + 2 * hidden
        stored = own + (experts * mlp + hidden * experts if is_sparse else mlp)
        used = own + (c["num_experts_per_tok"] * mlp + hidden * experts if is_sparse else mlp)
        if is_full:
            layers.append(Layer("attention", stored, used, keys, query))
        else:
            layers.append(Layer("state", stored, used, **scan.remember()))
    return layers, 0


BUILDERS = {
    "llama": _dense,
    "mistral": lambda c: _dense(c, window=c.get("sliding_window") or 0),
    "qwen2": lambda c: _dense(c, bias=True),
    "mamba": _build_mamba,
    "falconmamba": _build_mamba,
    "mamba2": _build_mamba2,
    "falconh1": _build_falconh1,
    "granitemoehybrid": _build_granite,
    "nemotronh": _build_nemotronh,
    "zamba2": _build_zamba2,
    "qwen3next": _build_qwen3next,
    "recurrentgemma": _build_recurrentgemma,
    "lfm2": _build_lfm2,
    "jamba": _build_jamba,
}
