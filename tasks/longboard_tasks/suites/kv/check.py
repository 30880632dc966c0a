"""Do the methods work on this device as they do on the CPU? Asked before anything is timed on it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from longboard_tasks.catalogue.methods import METHODS
from longboard_tasks.contract import MethodRef
from longboard_tasks.engine.chunk_attention import use_chunk_attention
from longboard_tasks.engine.methods import LooksAtModel, build_method
from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.shapes import build_config
from longboard_tasks.suites.kv.observing import column_sums, kernel_is_right
from longboard_tasks.suites.kv.positions import kept_positions
from longboard_tasks.suites.kv.quantised import pack, unpack

TOKENS, QUESTION = 400, 24
SAME = 0.99  # of the kept positions: two devices round differently, and near-equal scores may change places


def sums_by(device: str, dtype: torch.dtype, size: int) -> str:
    """How attention is summed on this device: "kernel" or "blocks"."""
    return "kernel" if device != "cpu" and kernel_is_right(torch.device(device), dtype, size) else "blocks"


def check_device(device: str) -> list[str]:
    """What is wrong, in words; empty: nothing. A few seconds."""
    return [*_check_packing(device), *_check_sums(device), *_check_methods(device)]


def _check_packing(device: str) -> list[str]:
    numbers = torch.randn(2, 4, 96, 64, generator=torch.Generator().manual_seed(0))
    faults = []
    for bits in (2, 4, 8):
        here = unpack(pack(numbers.to(device), bits=bits, group=32), torch.float32).cpu()
        there = unpack(pack(numbers, bits=bits, group=32), torch.float32)
        step = float((numbers.amax() - numbers.amin()) / (2**bits - 1))
        if float((here - there).abs().mean()) > 1e-3 * step:
            faults.append(f"{bits}-bit numbers come back otherwise than on the CPU")
    return faults


def _check_sums(device: str) -> list[str]:
    """Blocks against the whole matrix, in fp32 and in half precision."""
    draw = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(1, heads, 300, 64, generator=draw) for heads in (8, 2))
    scores = queries.double() @ keys.double().repeat_interleave(4, dim=1).transpose(2, 3) / 8
    whole = scores.masked_fill(torch.ones(300, 300).triu(1).bool(), float("-inf")).softmax(-1)
    expected = whole.sum(2).view(1, 2, 4, 300).mean(2)
    faults = []
    for dtype, allowed in ((torch.float32, 1e-4), (torch.bfloat16, 3e-2)):
        for block in (100_000, 0):  # 0: the kernel, where there is one
            found = column_sums(queries.to(device, dtype), keys.to(device, dtype), scale=1 / 8, block=block).cpu()
            if not float(((found - expected).abs() / expected).max()) < allowed:
                faults.append(f"sums of attention in {dtype}, block {block}, are off by more than {allowed}")
    return faults


def _check_methods(device: str) -> list[str]:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(build_config("tiny-llama")).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.mul_(3)  # attention that is far from flat
    ids = torch.randint(0, 256, (1, TOKENS + QUESTION), generator=torch.Generator().manual_seed(1))
    names = [name for name, method in METHODS.items() if method.takes_budget]
    kept, read = {}, {}
    for place in ("cpu", device):
        model = model.to(place)
        if place != "cpu":
            use_chunk_attention(model)
        for name in names:
            if not METHODS[name].budgets:
                kept[place, name] = kept_positions(name, 0.25, model, ids[:, :TOKENS], chunk=128)
            read[place, name] = _read_on(name, model, ids.to(place))
    faults = []
    for name in names:
        ours, theirs = read[device, name], read["cpu", name]
        off = float((ours - theirs).abs().mean() / theirs.std())
        if not off < 0.05:
            faults.append(f"{name}: logits after the context differ from the CPU's by {off:.3f} of their spread")
        for layer, (a, b) in enumerate(zip(kept.get((device, name), []), kept.get(("cpu", name), []), strict=True)):
            if _share_of_same(a.cpu(), b) < SAME:
                faults.append(f"{name}: other tokens are kept in layer {layer} than on the CPU")
    return faults


def _read_on(name: str, model: torch.nn.Module, ids: Tensor) -> Tensor:
    """The last logits of a question and three more tokens after a compressed context, on the CPU."""
    budget = (*METHODS[name].budgets, 0.25)[0]
    method = build_method(MethodRef(name=name, budget=budget))
    if method is None:
        raise ValueError(f"{name} at budget {budget} is no method")
    if isinstance(method, LooksAtModel):
        method.attach(model)
    try:
        reader = open_reader(model, chunk=128)
        stream = reader.open(ids.shape[1] + 4)
        method.prepare(stream)
        reader.read_last(stream, ids[:, :TOKENS])
        method.after_context(stream)
        logits = reader.read_last(stream, ids[:, TOKENS:])
        for token in (1, 2, 3):
            method.after_step(stream)
            logits = reader.read_last(stream, torch.tensor([[token]], device=ids.device))
        return logits.float().cpu()
    finally:
        if isinstance(method, LooksAtModel):
            method.detach()


def _share_of_same(a: Tensor, b: Tensor) -> float:
    """Of positions [B, HKV, kept] that stand in both."""
    if a.shape != b.shape:
        return 0.0
    flat = zip(a.flatten(0, 1).tolist(), b.flatten(0, 1).tolist(), strict=True)
    return min(len(set(x) & set(y)) / len(x) for x, y in flat)
