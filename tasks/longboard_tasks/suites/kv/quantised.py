"""A cache in 8, 4 or 2 bits: keys in groups along the text for each channel, values in groups along the channels for each token.

The last `residual` tokens stay as they are; what lies before is packed, `group` numbers to one scale and one least value, both
fp16: one more bit a number. The whole of a layer is spread out again for the time of its attention. Prompts are read with plain
keys and packed at the end of the context, so reading is untouched.

Source: Liu et al. 2024 (KIVI, arXiv:2402.02750), algorithm 1; asymmetric rounding to the nearest of 2^bits levels. We differ:
tokens leave the residual window 32 at a time; the paper packs keys once 128 have come together, and each value on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from longboard_tasks.engine.errors import MethodError
from longboard_tasks.engine.stream import GrowingLayer, Stream
from longboard_tasks.suites.kv.slots import swap_layers

GROUP, RESIDUAL = 32, 128


@dataclass(frozen=True, slots=True)
class Packed:
    """Numbers in groups along the last dimension: codes uint8 [..., n * bits / 8], least and scale fp16 [..., n / group].

    A number x of a group is kept as round((x - least) / scale) in 0 to 2^bits - 1, scale = (most - least) / (2^bits - 1). It
    comes back within scale / 2 + 2^-10 * (largest absolute number of the group), the latter for the rounding of least and scale.
    """

    codes: Tensor
    least: Tensor
    scale: Tensor
    bits: int

    @property
    def held_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.tensors)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.codes, self.least, self.scale


def pack(numbers: Tensor, *, bits: int, group: int) -> Packed:
    """numbers [..., n], n a multiple of `group`, group * bits a multiple of 8; |numbers| below 65,504 (fp16)."""
    groups = numbers.float().unflatten(-1, (-1, group))
    # Rounded first: the codes are then the best ones for the least and the scale that they are read with.
    least = groups.amin(dim=-1).half()
    scale = ((groups.amax(dim=-1) - least.float()) / (2**bits - 1)).half()
    steps = (groups - least.float()[..., None]) / scale.float().clamp_min(2.0**-30)[..., None]
    codes = steps.round_().clamp_(0, 2**bits - 1).to(torch.uint8).flatten(-2)
    lanes = codes.unflatten(-1, (-1, 8 // bits)) << _shifts(bits, codes.device)
    return Packed(lanes.sum(dim=-1, dtype=torch.uint8), least, scale, bits)


def unpack(packed: Packed, dtype: torch.dtype) -> Tensor:
    """[..., n]. One multiply and one add a number, in fp32 for fp32 and in `dtype` otherwise."""
    codes = ((packed.codes[..., None] >> _shifts(packed.bits, packed.codes.device)) & (2**packed.bits - 1)).flatten(-2)
    groups = codes.unflatten(-1, (packed.scale.shape[-1], -1)).to(dtype)
    least, scale = packed.least[..., None].to(dtype), packed.scale[..., None].to(dtype)
    return torch.addcmul(least, groups, scale).flatten(-2)


def _shifts(bits: int, device: torch.device) -> Tensor:
    return torch.arange(0, 8, bits, dtype=torch.uint8, device=device)


def _join(parts: Sequence[Packed], dim: int) -> Packed:
    """One after the other along `dim`: 0 the rows of a batch, 2 the tokens."""
    if len(parts) == 1:
        return parts[0]
    codes, least, scale = (
        torch.cat(list(tensors), dim=dim) for tensors in zip(*(p.tensors for p in parts), strict=True)
    )
    return Packed(codes, least, scale, parts[0].bits)


class QuantisedLayer(GrowingLayer):
    """Before `compress` a plain GrowingLayer. After it the oldest tokens are packed; `keys`, `values` hold the rest.

    keys    packed as [B, HKV, blocks, D, group]: a group is one channel of `group` tokens
    values  packed as [B, HKV, T, D]: a group is `group` channels of one token, or all of them where D is no multiple
    """

    def __init__(self, reserve: int = 0, *, bits: int, group: int = GROUP, residual: int = RESIDUAL) -> None:
        super().__init__(reserve)
        self.bits, self.group, self.residual = bits, group, residual
        self.packed: list[Packed] = []  # keys, values; empty until there is enough to pack

    @property
    def packed_length(self) -> int:
        return self.packed[1].codes.shape[2] if self.packed else 0

    def get_seq_length(self) -> int:
        return self.packed_length + self.length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        if not self.packed:
            return keys, values
        old_keys = unpack(self.packed[0], keys.dtype).transpose(3, 4).flatten(2, 3)
        old_values = unpack(self.packed[1], values.dtype)
        return torch.cat([old_keys, keys], dim=2), torch.cat([old_values, values], dim=2)

    def compress(self) -> None:
        """Pack all whole groups older than the last `residual` tokens."""
        count = (self.length - self.residual) // self.group * self.group
        if count <= 0:
            return
        size = self.values.shape[-1]
        keys = self.keys[:, :, :count].unflatten(2, (-1, self.group)).transpose(3, 4)
        fresh = [
            pack(keys, bits=self.bits, group=self.group),
            pack(self.values[:, :, :count], bits=self.bits, group=self.group if size % self.group == 0 else size),
        ]
        self.packed = [_join([*old], dim=2) for old in zip(self.packed, fresh, strict=True)] if self.packed else fresh
        left, room = self.length - count, self.residual + 2 * self.group
        rest = [t[:, :, count:] for t in (self.keys, self.values)]
        self.buffers = [t.new_empty((*t.shape[:2], left + room, t.shape[-1])) for t in rest]
        for buffer, tail in zip(self.buffers, rest, strict=True):
            buffer[:, :, :left].copy_(tail)
        self.cut_to(left)

    def save(self) -> Any:
        # References: what is packed is never changed, and buffers are only written behind `length`.
        return self.length, list(self.buffers) if self.packed else [], list(self.packed)

    def load(self, saved: Any) -> None:
        length, buffers, packed = saved
        if buffers or not length:
            self.buffers = list(buffers)
        self.packed = list(packed)
        self.cut_to(length)

    def held_bytes(self) -> int:
        return super().held_bytes() + sum(part.held_bytes for part in self.packed)

    @classmethod
    def join(cls, layers: Sequence[Any], reserve: int) -> Any:
        first: QuantisedLayer = layers[0]
        joined = cls(reserve, bits=first.bits, group=first.group, residual=first.residual)
        plain = GrowingLayer.join(layers, first.length + first.residual if first.packed else reserve)
        joined.__dict__.update({name: value for name, value in plain.__dict__.items() if name != "reserve"})
        joined.packed = [_join(list(parts), dim=0) for parts in zip(*(layer.packed for layer in layers), strict=True)]
        return joined


class Quantised:
    """The Method: every full-attention layer in `bits` bits, packed after the context and again as the residual fills.

    Raises MethodError in `prepare` for a model without full attention.
    """

    compresses = True

    def __init__(
        self, bits: int, *, question_aware: bool = False, group: int = GROUP, residual: int = RESIDUAL
    ) -> None:
        if group < 1 or group * bits % 8 or residual < 0:
            raise MethodError(
                f"group={group}, residual={residual}: a group of {bits}-bit numbers fills whole bytes, and the residual "
                "window is 0 or more tokens."
            )
        self.bits, self.group, self.residual, self.question_aware = bits, group, residual, question_aware

    def attach(self, model: Any) -> None:
        """Nothing of the model is looked at."""

    def detach(self) -> None:
        """Nothing was attached."""

    def prepare(self, stream: Stream) -> None:
        swap_layers(
            stream,
            lambda layer: QuantisedLayer(layer.reserve, bits=self.bits, group=self.group, residual=self.residual),
        )

    def after_context(self, stream: Stream) -> None:
        self._pack(stream)

    def after_step(self, stream: Stream) -> None:
        self._pack(stream)

    def _pack(self, stream: Stream) -> None:
        for layer in stream.cache.layers:
            if isinstance(layer, QuantisedLayer):
                layer.compress()


def quantised_bytes(tokens: int, *, heads: int, size: int, element: int, bits: int) -> int:
    """The formula: bytes of one layer and row that holds `tokens`; `element` bytes a number in full precision."""
    packed = max(0, (tokens - RESIDUAL) // GROUP * GROUP)
    numbers = heads * size  # of keys, and of values
    groups = numbers / GROUP + numbers / (GROUP if size % GROUP == 0 else size)
    return int(packed * (2 * numbers * bits / 8 + 4 * groups) + (tokens - packed) * 2 * numbers * element)
