"""Which mixers there are, how one is built, and how wide it may be: the parameters of softmax attention, within a tenth."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import torch

from longboard_tasks.suites.lra.mixers.aaren import Aaren
from longboard_tasks.suites.lra.mixers.aft import AttentionFree
from longboard_tasks.suites.lra.mixers.base import BIDIRECTIONAL, CAUSAL, Mixer, MixerConfig, MixerError
from longboard_tasks.suites.lra.mixers.block_state import BlockState
from longboard_tasks.suites.lra.mixers.deltanet import DeltaNet, GatedDeltaNet
from longboard_tasks.suites.lra.mixers.fastformer import Fastformer
from longboard_tasks.suites.lra.mixers.gla import GatedLinearAttention
from longboard_tasks.suites.lra.mixers.linear import LinearAttention
from longboard_tasks.suites.lra.mixers.linformer import Linformer
from longboard_tasks.suites.lra.mixers.mamba import Mamba
from longboard_tasks.suites.lra.mixers.mamba2 import Mamba2
from longboard_tasks.suites.lra.mixers.performer import Performer
from longboard_tasks.suites.lra.mixers.retention import Retention
from longboard_tasks.suites.lra.mixers.rwkv import Rwkv
from longboard_tasks.suites.lra.mixers.s4d import S4D
from longboard_tasks.suites.lra.mixers.softmax import SoftmaxAttention
from longboard_tasks.suites.lra.mixers.window import LocalWindow, Longformer

MIXERS: dict[str, type[Mixer]] = {
    "softmax": SoftmaxAttention,
    "local": LocalWindow,
    "longformer": Longformer,
    "linear": LinearAttention,
    "performer": Performer,
    "linformer": Linformer,
    "fastformer": Fastformer,
    "aft": AttentionFree,
    "aaren": Aaren,
    "s4d": S4D,
    "mamba": Mamba,
    "mamba2": Mamba2,
    "retention": Retention,
    "gla": GatedLinearAttention,
    "deltanet": DeltaNet,
    "gated_deltanet": GatedDeltaNet,
    "rwkv": Rwkv,
    "block_state": BlockState,
}
# Layers in turn. Three recurrent ones to one of attention as in Qwen3-Next; two to one of a window as in Griffin (2402.19427).
HYBRIDS: dict[str, tuple[str, ...]] = {
    "hybrid_gated_deltanet": ("gated_deltanet", "gated_deltanet", "gated_deltanet", "softmax"),
    "hybrid_mamba2": ("mamba2", "mamba2", "mamba2", "softmax"),
    "hybrid_mamba2_local": ("mamba2", "mamba2", "local"),
}
NAMES = (*MIXERS, *HYBRIDS)


def mixer_class(name: str, layer: int = 0) -> type[Mixer]:
    """The class at one layer of a stack. Raises MixerError for an unknown name."""
    if name in HYBRIDS:
        name = HYBRIDS[name][layer % len(HYBRIDS[name])]
    if name not in MIXERS:
        raise MixerError(f'There is no mixer "{name}". There are: {", ".join(NAMES)}.')
    return MIXERS[name]


def directions(name: str) -> tuple[str, ...]:
    """The directions that every layer of it has."""
    classes = [mixer_class(name, layer) for layer in range(len(HYBRIDS.get(name, (name,))))]
    return tuple(way for way in (CAUSAL, BIDIRECTIONAL) if all(way in found.directions for found in classes))


def build_mixer(name: str, config: MixerConfig) -> Mixer:
    """The mixer of `config.layer`. Raises MixerError for a name, a direction or an option that does not exist."""
    return mixer_class(name, config.layer)(config)


def count_parameters(name: str, config: MixerConfig) -> int:
    """Of one layer; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_mixer(name, config).parameters())


def fit(name: str, config: MixerConfig) -> MixerConfig:
    """`config` with the `inner` whose parameters come nearest to those of softmax attention at config's own `inner`.

    Heads get a multiple of 8 numbers; of 1 where that would be more than a tenth off. `inner` is at most 8 times what it was.
    States that nobody chose are at most half as many as `width`: 64 of them cost more than a narrow model has.
    """
    default = mixer_class(name, config.layer).options.get("states")
    if default is not None and "states" not in config.options:
        config = replace(config, options={**config.options, "states": max(4, min(default, config.width // 2))})
    target = count_parameters("softmax", replace(config, options={}))

    def off(inner: int) -> int:
        return abs(count_parameters(name, replace(config, inner=inner)) - target)

    best = config.inner
    for grain in (8 * config.heads, config.heads):
        widths = range(grain, 8 * config.inner, grain)
        after = bisect_left(widths, target, key=lambda inner: count_parameters(name, replace(config, inner=inner)))
        best = min(widths[max(0, after - 1) : after + 1], key=off)
        if off(best) <= target / 10:
            break
    return replace(config, inner=best)
