"""Memory: chosen before, backed off from when it was not enough, and small where others are large."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import load_tiny, open_tiny, random_ids

from longboard_tasks.engine.engine import is_out_of_memory
from longboard_tasks.engine.errors import OutOfMemory
from longboard_tasks.engine.machine import PeakMemory, free_bytes
from longboard_tasks.engine.memory_model import measure_memory
from longboard_tasks.engine.reader import Reader, open_reader
from longboard_tasks.engine.trie import Ask

CPU = torch.device("cpu")


def test_cache_bytes_for_a_token_are_measured_and_equal_the_formula():
    memory = measure_memory(open_reader(load_tiny("llama").model), weights=0)
    assert (memory.per_token, memory.state) == (2 * 2 * 2 * 16 * 4, 0)
    memory = measure_memory(open_reader(load_tiny("mamba2").model), weights=0)
    assert memory.per_token == 0
    assert memory.state == 2 * 4 * (8 * 16 * 16 + 4 * (128 + 32))


def test_more_room_means_more_rows_and_larger_chunks_never_fewer():
    memory = measure_memory(open_reader(load_tiny("llama").model), weights=0)
    rooms = [2**20, 2**24, 2**28, 2**32]
    rows = [memory.rows_that_fit(4_096, 1, 512, room) for room in rooms]
    chunks = [memory.choose_chunk(65_536, room, CPU) for room in rooms]
    assert rows == sorted(rows)
    assert rows[0] == 1
    assert chunks == sorted(chunks)
    assert chunks[0] < chunks[-1] == 512


def fail_when(
    monkeypatch, is_too_much, message="DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
):
    """A machine on which a forward pass of a certain shape does not fit."""
    read = Reader.read

    def limited(self, stream, ids, keep):
        if is_too_much(*ids.shape):
            raise RuntimeError(message)
        return read(self, stream, ids, keep)

    monkeypatch.setattr(Reader, "read", limited)


def grid():
    haystack, asks = random_ids(600), []
    for i in range(9):
        at = 200 * (i % 3)
        asks.append(Ask(ids=haystack[:at] + random_ids(30, seed=i) + haystack[at:], new_tokens=3))
    return asks


def test_out_of_memory_makes_smaller_batches_and_keeps_what_was_finished(monkeypatch):
    asks = grid()
    expected = dict(open_tiny("llama").answer(asks))
    fail_when(monkeypatch, lambda rows, tokens: rows > 2 and tokens > 1)
    engine = open_tiny("llama")
    found = list(engine.answer(asks))
    assert sorted(index for index, _ in found) == list(range(9))  # none twice
    assert engine.schedule.rows <= 2
    assert engine.counters.oom_backoffs >= 1
    for index, answer in found:
        assert answer.tokens == expected[index].tokens


def test_out_of_memory_in_a_trunk_makes_smaller_chunks(monkeypatch):
    engine = open_tiny("mamba2")
    fail_when(monkeypatch, lambda rows, tokens: tokens > 64)
    assert len(list(engine.answer(grid()))) == 9
    assert (engine.schedule.chunk, engine.schedule.rows) == (64, 1)


def test_when_nothing_smaller_is_left_the_error_has_the_numbers(monkeypatch):
    engine = open_tiny("llama")
    fail_when(monkeypatch, lambda rows, tokens: True)
    with pytest.raises(OutOfMemory, match=r"MiB at context 633 \(weights .*KiB.*free") as caught:
        list(engine.answer(grid()))
    assert caught.value.failure_class == "oom"


def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(monkeypatch):
    engine = open_tiny("llama")
    fail_when(monkeypatch, lambda rows, tokens: True, message="shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        list(engine.answer(grid()))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_the_peak_is_that_of_the_work_even_after_a_higher_one():
    peak = PeakMemory(CPU)
    torch.ones(40 * 2**20).sum()  # 160 MiB, freed
    peak.start()
    torch.ones(10 * 2**20).sum()
    assert 35 * 2**20 < peak.above_start() < 80 * 2**20


def test_a_limit_lowers_what_is_free():
    assert free_bytes(CPU, limit=1) < 0 < free_bytes(CPU)


def test_a_small_limit_gives_a_small_schedule():
    engine = open_tiny("llama", wish=type(open_tiny("llama").wish)())
    wide = engine.plan_for(8_192)
    narrow = engine.plan_for(8_192, memory_limit=1)
    assert wide.rows > narrow.rows == 1
    assert narrow.chunk < wide.chunk
    engine.schedule = replace(engine.schedule, rows=4, chunk=128)


def test_choices_at_a_vocabulary_of_128k_stay_within_100_mb_of_weights_and_cache():
    # In a process of its own: the peak of this one may lie behind it.
    script = Path(__file__).parents[2] / "benchmarks" / "engine" / "choices_memory.py"
    run = subprocess.run(
        [sys.executable, str(script), "--ours-only"], capture_output=True, text=True, timeout=300, check=True
    )
    found = json.loads(run.stdout)
    assert found["vocabulary"] == 128_256
    assert found["context_length"] == 8_192
    assert found["over_weights_and_cache_bytes"] < 100e6
