"""Snapshot, rollback, fork and join of what a model has read."""

import pytest
import torch
from tiny import SHARED, STEP, load_tiny, random_ids
from transformers.cache_utils import DynamicLayer

from longboard_tasks.engine.reader import open_reader
from longboard_tasks.engine.stream import GrowingLayer, count_bytes, fork, join, restore, take_snapshot


def test_the_growing_layer_holds_what_transformers_layer_holds():
    ours, theirs = GrowingLayer(reserve=5), DynamicLayer()
    for tokens in (3, 1, 1, 7, 2):  # within its room, up to it, beyond it
        keys, values = torch.randn(2, 3, tokens, 4), torch.randn(2, 3, tokens, 4)
        for got, expected in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(got, expected)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(4) == theirs.get_mask_sizes(4)
    ours.crop(-6)
    theirs.crop(-6)
    assert torch.equal(ours.keys, theirs.keys)


def test_reserved_room_is_never_read():
    layer = GrowingLayer(reserve=100)
    layer.update(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2))
    for buffer in layer.buffers:
        buffer[:, :, 3:].fill_(float("nan"))
    keys, _ = layer.update(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert torch.isfinite(keys).all()


def ids(tokens, seed=0, rows=1):
    return torch.tensor([random_ids(tokens, seed + row) for row in range(rows)])


@pytest.mark.parametrize("name", [*SHARED, *STEP])
def test_a_restored_stream_goes_on_with_the_same_bits_after_any_branch(name):
    reader = open_reader(load_tiny(name).model, mode="step" if name in STEP else "shared", chunk=64)
    stream = reader.open(200)
    reader.read(stream, ids(100), 1)
    snapshot, held = take_snapshot(stream), count_bytes(stream)
    first = reader.read(stream, ids(1, 5), 1)
    for branch in (3, 4):
        restore(stream, snapshot)
        for token in ids(70 if name not in STEP else 4, branch)[0]:
            reader.read(stream, token[None, None], 1)
        restore(stream, snapshot)
        assert (stream.position, count_bytes(stream)) == (100, held)
        assert torch.equal(reader.read(stream, ids(1, 5), 1), first)


@pytest.mark.parametrize("name", [name for name in (*SHARED, *STEP) if name != "rwkv"])
def test_forked_and_joined_streams_hold_the_same_bits_and_leave_the_original_alone(name):
    reader = open_reader(load_tiny(name).model, chunk=64)
    one, two = reader.open(100), reader.open(150)
    for stream in (one, two):
        reader.read(stream, ids(100), 1)
    forked, joined = fork(one, 2, reserve=120), join([one, two], reserve=101)
    assert torch.equal(reader.read(forked, ids(1, 8, rows=2), 1), reader.read(joined, ids(1, 8, rows=2), 1))
    assert (one.position, forked.position, forked.rows) == (100, 101, 2)
    assert sum(count_bytes(joined).values()) >= 2 * sum(count_bytes(one).values())
    assert torch.equal(reader.read(one, ids(1, 8), 1), reader.read(two, ids(1, 8), 1))


def test_bytes_held_follow_the_formulas():
    reader = open_reader(load_tiny("llama").model)
    stream = reader.open(1_000)
    reader.read(stream, ids(300), 1)
    # 2 layers, keys and values, 2 heads of 16 numbers of 4 bytes
    assert count_bytes(stream) == {"kv": 300 * 2 * 2 * 2 * 16 * 4, "state": 0}
    reader = open_reader(load_tiny("mamba2").model)
    stream = reader.open(1_000)
    reader.read(stream, ids(300), 1)
    # 2 layers, a state of 8 heads x 16 x 16 and the last 4 inputs of a convolution of 8 * 16 + 2 * 16 channels
    assert count_bytes(stream) == {"kv": 0, "state": 2 * 4 * (8 * 16 * 16 + 4 * (128 + 32))}
