"""Bytes that a cache really holds against the cost model's formula, family by family; and the filled cache against a read one."""

from __future__ import annotations

import pytest
import torch
import transformers
from tests.suites.efficiency.shrunken import CHANGES, shrunken
from transformers import AutoModelForCausalLM

from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.stream import count_bytes
from longboard_tasks.families import read_architecture
from longboard_tasks.suites.efficiency.filling import fill

LENGTHS = (48, 96, 144, 192)


def build(shape_id, dtype=torch.bfloat16):
    class_name, settings = shrunken(shape_id)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(getattr(transformers, class_name)(**settings), dtype=dtype).eval()
    architecture = read_architecture(class_name, settings)
    # A first pass into an empty cache is right for every architecture here; continuing is the self-test's matter.
    return open_reader(model, mode="step"), architecture, model


def read(reader, length):
    stream = reader.open(length)
    reader.read_last(stream, torch.randint(0, 250, (1, length), generator=torch.Generator().manual_seed(1)))
    return stream


@pytest.mark.parametrize("shape_id", CHANGES)
def test_bytes_held_are_the_formulas_within_three_percent_at_four_lengths(shape_id):
    reader, architecture, model = build(shape_id)
    held = [sum(count_bytes(read(reader, length)).values()) for length in LENGTHS]
    formula = [architecture.cache_bytes(length) for length in LENGTHS]
    assert held == pytest.approx(formula, rel=0.03)
    mean = sum(LENGTHS) / 4
    slope = sum((n - mean) * h for n, h in zip(LENGTHS, held, strict=True)) / sum((n - mean) ** 2 for n in LENGTHS)
    if not any(layer.window for layer in architecture.layers):
        assert slope == pytest.approx(architecture.kv_bytes_per_token(), rel=0.03, abs=1e-6)
    assert sum(p.numel() for p in model.parameters()) == architecture.stored


@pytest.mark.parametrize(
    "shape_id", ["llama-1b", "mistral-7b", "mamba2-1b", "falcon-h1-1.5b", "granite-h-1b", "lfm2-1.2b"]
)
def test_a_filled_cache_holds_what_a_read_one_holds_and_decodes_at_that_length(shape_id):
    reader, _, _ = build(shape_id, torch.float32)
    whole, filled = read(reader, 256), read(reader, 64)
    fill(filled, 256, reserve=264)
    assert count_bytes(filled) == count_bytes(whole)
    assert filled.position == whole.position == 256
    for stream in (whole, filled):
        logits = reader.read(stream, torch.tensor([[7]]), 1)
        assert torch.isfinite(logits).all()
    assert count_bytes(filled) == count_bytes(whole)


def test_a_filled_cache_stands_in_for_the_read_one_when_its_tokens_repeat():
    """Keys of position p sit at p in both, so a prompt that repeats with the period of the head differs only by its positions."""
    reader, _, _ = build("granite-h-1b", torch.float32)  # no positions at all in this family
    stream = read(reader, 64)
    keys = stream.cache.layers[1].keys.clone()
    fill(stream, 192)
    after = stream.cache.layers[1].keys
    assert torch.equal(after, keys.repeat(1, 1, 3, 1))


def test_a_stream_cannot_be_filled_backwards():
    reader, _, _ = build("llama-1b", torch.float32)
    with pytest.raises(ValueError, match="has read 64 tokens"):
        fill(read(reader, 64), 32)
