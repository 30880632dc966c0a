"""What a System costs on paper: parameters, FLOPs, bytes, and bounds on time and memory. Pure Python, no torch.

    architecture = architecture_of(load_shapes()["llama-1b"])
    estimate(architecture, SHEETS["h100-80gb"], context_length=131_072)      # times, memory, concurrency, swaps
    price(architecture, sheet, context_length=8_192, samples=20)             # what a Run will take, before it runs

Sources: Fu 2024 (challenges in deploying long-context transformers, arXiv:2405.08944) for the four costs; Pope et al. 2022
(efficiently scaling transformer inference, arXiv:2211.05102) for model FLOPs. Counting is closed form over the layers:

    prefill     2 x parameters used + 4 x heads x head size x keys seen, for each token (causal: half of the square)
    decode      bytes of the weights used + keys, values and states read (states also written), over the bandwidth
    swap        keys, values and states over the host link, out and in

A bound is the time of perfect hardware. What stock code takes is that times a factor, which we measured (`EXPECTED`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from longboard_tasks.shapes import Shape

SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
STATE_SIZE = 4  # bytes of a recurrent state's element: transformers holds them in fp32 whatever the dtype


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what it stores, what a token uses, and what it remembers."""

    mixer: Literal["attention", "window", "state", "state and attention", "none"]
    stored: int  # parameters held for this layer alone
    used: int  # parameters that one token multiplies with: shared blocks each time, experts only the chosen ones
    kv_width: int = 0  # elements of keys and values of one token
    score_width: int = 0  # query heads x head size: FLOPs against each key are 4 times this
    window: int = 0  # 0: none
    state: int = 0  # elements of the recurrent state
    conv: int = 0  # elements of the convolution's state, in the model's dtype
    scan_flops: int = 0  # for each token, beside the matrix products
    scan_bytes: int = 0  # short-lived fp32 tensors of the stock scan, for each token of a pass

    def keys(self, length: int) -> int:
        """Keys held after `length` tokens. transformers keeps one less than the window, for the token to come."""
        return min(length, self.window - 1) if self.window else length


@dataclass(frozen=True, slots=True)
class Architecture:
    name: str
    vocabulary: int
    hidden: int
    inner: int  # the widest MLP
    layers: tuple[Layer, ...]
    stored: int  # all parameters, tied ones once
    head_used: int  # of the output projection
    logit_size: int = 0  # bytes; 0: as the model's dtype. Mamba classes cast to fp32
    is_guess: bool = False

    @property
    def used(self) -> int:
        """Parameters that one token multiplies with, the embedding's look-up not counted."""
        return sum(layer.used for layer in self.layers) + self.head_used

    @property
    def kind(self) -> Literal["attention", "state", "hybrid"]:
        has_state = any(layer.state for layer in self.layers)
        has_keys = any(layer.kv_width for layer in self.layers)
        return "hybrid" if has_state and has_keys else "state" if has_state else "attention"

    def weight_bytes(self, dtype: str = "bfloat16") -> int:
        return self.stored * SIZES[dtype]

    def kv_bytes_per_token(self, dtype: str = "bfloat16") -> int:
        """Growth with every token, windows not counted: they stop."""
        return sum(layer.kv_width for layer in self.layers if not layer.window) * SIZES[dtype]

    def state_bytes(self, dtype: str = "bfloat16") -> int:
        """Of one row; does not grow."""
        return sum(layer.state * STATE_SIZE + layer.conv * SIZES[dtype] for layer in self.layers)

    def cache_bytes(self, length: int, dtype: str = "bfloat16", batch: int = 1) -> int:
        """Keys, values and states held after `length` tokens of each of `batch` rows."""
        keys = sum(layer.kv_width * layer.keys(length) for layer in self.layers) * SIZES[dtype]
        return batch * (keys + self.state_bytes(dtype))

    def attention_flops(self, length: int, before: int = 0) -> float:
        """Scores and weighted sums of tokens `before` to `length`, causal."""
        total = 0.0
        for layer in self.layers:
            if layer.score_width:
                total += 4.0 * layer.score_width * _seen(length, before, layer.window)
        return total

    def prefill_flops(self, length: int, *, full_logits: bool = False) -> float:
        head = self.head_used * (length if full_logits else 1)
        body = (self.used - self.head_used) * length
        scans = sum(layer.scan_flops for layer in self.layers) * length
        return 2.0 * (head + body) + self.attention_flops(length) + scans

    def decode_flops(self, length: int) -> float:
        scans = sum(layer.scan_flops for layer in self.layers)
        return 2.0 * self.used + self.attention_flops(length + 1, length) + scans

    def decode_bytes(self, length: int, dtype: str = "bfloat16", batch: int = 1) -> float:
        """Weights once for the batch; keys and values read; states read and written."""
        return self.used * SIZES[dtype] + self.cache_bytes(length, dtype, batch) + batch * self.state_bytes(dtype)


@dataclass(frozen=True, slots=True)
class HardwareSheet:
    """Dense bf16 FLOP/s, bytes/s of memory and of the link to the host, seconds of host time for one small kernel."""

    name: str
    kind: Literal["cuda", "cpu"]
    memory_bytes: int
    flops: float
    bandwidth: float
    link: float = 25e9
    launch_s: float = 7e-6


GIB = 2**30
SHEETS = {
    sheet.name: sheet
    for sheet in (
        HardwareSheet("h100-80gb", "cuda", 80 * 10**9, 989e12, 3.35e12, 55e9),
        HardwareSheet("h200", "cuda", 141 * 10**9, 989e12, 4.8e12, 55e9),
        HardwareSheet("a100-80gb", "cuda", 80 * 10**9, 312e12, 2.0e12, 20e9),
        HardwareSheet("l40s", "cuda", 48 * 10**9, 362e12, 0.864e12, 25e9),
        HardwareSheet("rtx-4090", "cuda", 24 * GIB, 165e12, 1.008e12, 25e9),
        HardwareSheet("cpu", "cpu", 16 * GIB, 0.16e12, 20e9, 10e9, 4e-6),  # two cores of a server, fp32
    )
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bounds of one row set: seconds and bytes. `decode_s` is one step of the whole batch."""

    context_length: int
    batch: int
    weight_bytes: int
    cache_bytes: int
    logits_bytes: int
    passing_bytes: int  # short-lived tensors of one pass, as far as its logits do not take their place
    prefill_s: float
    decode_s: float
    concurrency: int  # rows of this length that fit beside the weights and one pass
    swap_s: float  # one row's cache out to the host and another's in
    fits: bool

    @property
    def memory_bytes(self) -> int:
        return self.weight_bytes + self.cache_bytes + self.logits_bytes + self.passing_bytes


def estimate(
    architecture: Architecture, sheet: HardwareSheet, *, context_length: int, batch: int = 1, dtype: str = "bfloat16",
    chunk: int | None = None, full_logits: bool = False,
) -> Estimate:  # fmt: skip
    """The four costs at one length. `chunk`: tokens in one pass; None reads the prompt in one."""
    size = SIZES[dtype]
    pass_tokens = min(chunk or context_length, context_length)
    weights = architecture.weight_bytes(dtype)
    cache = architecture.cache_bytes(context_length, dtype, batch)
    row_of_logits = batch * architecture.vocabulary * (architecture.logit_size or size)
    logits = row_of_logits * (context_length if full_logits else 1)
    # The logits of a pass are made when its short-lived tensors are gone.
    of_pass = row_of_logits * (pass_tokens if full_logits else 1)
    passing = max(0, batch * pass_bytes(architecture, pass_tokens, dtype) - of_pass)
    prefill = max(
        batch * architecture.prefill_flops(context_length, full_logits=full_logits) / sheet.flops,
        math.ceil(context_length / pass_tokens) * architecture.used * size / sheet.bandwidth,
    )
    decode = max(
        architecture.decode_bytes(context_length, dtype, batch) / sheet.bandwidth,
        batch * architecture.decode_flops(context_length) / sheet.flops,
    )
    row = architecture.cache_bytes(context_length, dtype)
    spare = sheet.memory_bytes - weights - passing / batch
    return Estimate(
        context_length=context_length,
        batch=batch,
        weight_bytes=weights,
        cache_bytes=cache,
        logits_bytes=logits,
        passing_bytes=passing,
        prefill_s=prefill,
        decode_s=decode,
        concurrency=max(0, int(spare // row)) if row else 0,
        swap_s=2 * row / sheet.link,
        fits=weights + cache + logits + passing <= sheet.memory_bytes,
    )


def pass_bytes(architecture: Architecture, tokens: int, dtype: str = "bfloat16") -> int:
    """The largest set of short-lived tensors in one pass of `tokens`.

    A gated MLP holds four tensors of the model's width and three of its own; a scan in plain torch what its `scan_bytes` say.
    Held to the H100 table: peaks within 5 % (tests/suites/efficiency).
    """
    per_token = SIZES[dtype] * (4 * architecture.hidden + 3 * architecture.inner)
    return tokens * max(per_token, *(layer.scan_bytes for layer in architecture.layers))


def longest_context(
    architecture: Architecture, memory_bytes: int, *, dtype: str = "bfloat16", chunk: int | None = None,
    full_logits: bool = False, most: int = 16 * 2**20,
) -> int:  # fmt: skip
    """Tokens of one row that fit `memory_bytes`; `most` where nothing grows. 0: not even the weights."""
    sheet = replace(SHEETS["h100-80gb"], memory_bytes=memory_bytes)

    def fits(tokens: int) -> bool:
        return estimate(
            architecture, sheet, context_length=tokens, dtype=dtype, chunk=chunk, full_logits=full_logits
        ).fits

    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@dataclass(frozen=True, slots=True)
class Range:
    """Measured over bound, on stock code: the middle and the ends that we saw."""

    low: float
    middle: float
    high: float


# Measured time over this module's bound at the vendor's rates, by kind of device and architecture. CUDA: the ends and the
# middle of the H100 table that ships with the suite, decode by the host's clock (tests/suites/efficiency holds the two
# together). CPU: the middles are process time of the zoo's models at 1K and 4K on one core; the ends are wide by hand.
EXPECTED: dict[tuple[str, str], tuple[Range, Range]] = {
    # (device, kind): (prefill, decode)
    ("cuda", "attention"): (Range(2.1, 3.1, 45.0), Range(2.2, 16.0, 110.0)),
    ("cuda", "state"): (Range(25.0, 65.0, 180.0), Range(45.0, 80.0, 140.0)),
    ("cuda", "hybrid"): (Range(7.9, 42.0, 175.0), Range(7.0, 52.0, 180.0)),
    ("cpu", "attention"): (Range(1.0, 1.2, 4.0), Range(1.0, 4.0, 8.0)),
    ("cpu", "state"): (Range(3.0, 4.5, 15.0), Range(3.0, 10.0, 20.0)),
    ("cpu", "hybrid"): (Range(2.0, 3.0, 10.0), Range(2.0, 7.0, 15.0)),
}
# How long the device itself is busy in a decode step of stock code, over the bound at the rates it reaches: the rest of the
# host's clock is Python launching kernels one by one.
BUSY = {"attention": 3.0, "hybrid": 6.0, "state": 6.0}


@dataclass(frozen=True, slots=True)
class Price:
    """What one Run will take on one device. Seconds are wide on purpose: `says` tells what they rest on."""

    seconds_low: float
    seconds: float
    seconds_high: float
    memory_bytes: int
    fits: bool
    says: str


def price(
    architecture: Architecture, sheet: HardwareSheet, *, context_length: int, samples: int, kind: str = "accuracy",
    dtype: str = "bfloat16", new_tokens: int = 16, chunk: int = 512,
) -> Price:  # fmt: skip
    """Time and memory of one Run: `samples` prompts of an accuracy suite, or repeats of the efficiency suite.

    Each prompt is priced alone: shared beginnings make it cheaper, which the low end allows for.
    """
    found = estimate(architecture, sheet, context_length=context_length, dtype=dtype, chunk=chunk)
    prefill, decode = EXPECTED[sheet.kind, architecture.kind]
    prompts = samples + (1 if kind == "efficiency" else 0)
    least = 0.25 if kind == "accuracy" else 1.0
    bound = (found.prefill_s, new_tokens * found.decode_s)
    seconds = [prompts * (bound[0] * p + bound[1] * d) for p, d in zip(_ends(prefill), _ends(decode), strict=True)]
    basis = "a typical layout of this many parameters" if architecture.is_guess else "this architecture"
    gib = found.memory_bytes / GIB
    says = f"{gib:.1f} GiB of {sheet.memory_bytes / GIB:.0f}, from {basis}"
    if not found.fits:
        says = (
            f"Needs about {gib:.1f} GiB at context {context_length} (weights {found.weight_bytes / GIB:.1f}, cache "
            f"{found.cache_bytes / GIB:.1f}, rest {(found.logits_bytes + found.passing_bytes) / GIB:.1f}); "
            f"{sheet.name} has {sheet.memory_bytes / GIB:.0f}."
        )
    return Price(least * seconds[0], seconds[1], seconds[2], found.memory_bytes, found.fits, says)


def sheet_for(
    *, name: str, kind: str, memory_bytes: int, flops: float | None, bandwidth: float | None
) -> HardwareSheet:
    """A sheet from what a registered machine says of itself; what it does not say is taken from the nearest of SHEETS."""
    known = SHEETS["cpu"]
    if kind == "cuda":
        known = min(
            (sheet for sheet in SHEETS.values() if sheet.kind == "cuda"),
            key=lambda sheet: abs(math.log(sheet.memory_bytes / max(memory_bytes, 1))),
        )
    return replace(
        known,
        name=name,
        memory_bytes=memory_bytes or known.memory_bytes,
        flops=flops or known.flops,
        bandwidth=bandwidth or known.bandwidth,
    )


def guess_architecture(parameters: int) -> Architecture:
    """A dense Transformer of this size with grouped keys, for models whose configuration is not at hand.

    Depth rises as the parameters to the 0.29 (12 layers at 100M, 80 at 70B); a quarter of the heads for keys and values.
    """
    layers = max(2, round(12 * (parameters / 10**8) ** 0.29))
    hidden = max(64, int(math.sqrt(parameters / (12 * layers))) // 64 * 64)
    block = Layer(
        "attention", stored=parameters // layers, used=parameters // layers, kv_width=hidden // 2, score_width=hidden
    )
    return Architecture(
        name=f"guess of {parameters}",
        vocabulary=32_000,
        hidden=hidden,
        inner=4 * hidden,
        layers=(block,) * layers,
        stored=parameters,
        head_used=0,
        is_guess=True,
    )


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


def _ends(found: Range) -> tuple[float, float, float]:
    return found.low, found.middle, found.high


def _seen(length: int, before: int, window: int) -> float:
    """Pairs of (query, key) that causal attention looks at, for queries `before` to `length`."""

    def below(n: int) -> float:
        if window and n > window:
            return window * (window + 1) / 2 + (n - window) * window
        return n * (n + 1) / 2

    return below(length) - below(before)


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


def layer_shares(layers: Sequence[Layer]) -> dict[str, float]:
    """Share of the layers by mixer, for claims about patterns."""
    return {kind: sum(layer.mixer == kind for layer in layers) / len(layers) for kind in {x.mixer for x in layers}}
