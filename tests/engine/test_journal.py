"""The journal keeps every finished block, stores shared text once, and never mixes two runs."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_ids

from longboard_tasks.contract import SampleRecord
from longboard_tasks.engine import journal as journals
from longboard_tasks.engine.errors import DiskFull, JournalMismatch
from longboard_tasks.engine.journal import Block, cut_pieces, hash_prompt, open_journal, pack, read_prompts, unpack

RUN, ENGINE = {"run_id": "r"}, {"weights": "w"}


def record(index: int, ids) -> SampleRecord:
    return SampleRecord(
        task="single",
        index=index,
        prompt_tokens=len(ids),
        prompt_sha256=hash_prompt(ids),
        target="1",
        answer="1",
        score=1.0,
    )


def block(first: int, prompts) -> Block:
    records = tuple(record(first + i, ids) for i, ids in enumerate(prompts))
    return Block("single", first, records, {"chunk": 128, "rows": 4})


def fill(folder, blocks: int):
    journal = open_journal(folder, run=RUN, engine=ENGINE)
    for number in range(blocks):
        prompts = [random_ids(300, seed=number) + random_ids(20, seed=1_000 + i) for i in range(3)]
        if ("single", 3 * number) not in journal.blocks:
            journal.append(block(3 * number, prompts), prompts)
    return journal


def test_a_journal_cut_at_any_byte_resumes_to_the_same_bytes(tmp_path):
    whole = fill(tmp_path / "whole", 3).path.read_bytes()
    for cut in range(0, len(whole), 97):
        folder = tmp_path / "cut"
        folder.mkdir(exist_ok=True)
        (folder / "journal.jsonl").write_bytes(whole[:cut])
        resumed = open_journal(folder, run=RUN, engine=ENGINE)
        complete = whole[:cut].count(b'"kind":"block"') if whole[:cut].endswith(b"\n") else len(resumed.blocks)
        assert len(resumed.blocks) == complete
        assert fill(folder, 3).path.read_bytes() == whole


def test_prompts_come_back_token_for_token(tmp_path):
    fill(tmp_path, 2)
    found = list(read_prompts(tmp_path / "journal.jsonl"))
    assert [r.index for r, _ in found] == list(range(6))
    for r, ids in found:
        assert hash_prompt(ids) == r.prompt_sha256
        assert len(ids) == r.prompt_tokens


@settings(deadline=None)
@given(st.lists(st.integers(0, 200_000), max_size=300))
def test_pieces_put_together_are_the_prompt(ids):
    assert [token for piece in cut_pieces(ids) for token in piece] == ids
    assert unpack(pack(ids)) == ids


def test_a_needle_moves_the_text_behind_it_and_costs_only_its_edges():
    text = random_ids(20_000)
    prompts = [text[:at] + random_ids(13, seed=at) + text[at:] for at in range(0, 20_000, 2_000)]
    unique = {tuple(piece) for ids in prompts for piece in cut_pieces(ids)}
    assert sum(map(len, unique)) < 1.2 * len(text)


def test_the_prompts_of_a_classic_grid_take_less_room_than_their_unique_text(tmp_path):
    # lm-eval stores each prompt twice: 40 times the text here.
    from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
    from longboard_tasks.suites.niah.single import make_sample

    tokenizer = build_byte_tokenizer()
    samples = [
        make_sample(task="single", context_length=8_192, seed=0, index=i, tokenizer=tokenizer) for i in range(20)
    ]
    journal = open_journal(tmp_path, run=RUN, engine=ENGINE)
    filled = block(0, [s.ids for s in samples])
    journal.append(filled, [s.ids for s in samples])
    records = sum(len(r.model_dump_json()) for r in filled.records)
    assert journal.path.stat().st_size - records < 8_192 + 20 * 250  # the haystack, and each needle and question


def test_another_request_in_the_same_folder_is_refused(tmp_path):
    fill(tmp_path, 1)
    with pytest.raises(JournalMismatch, match="empty work_dir"):
        open_journal(tmp_path, run={"run_id": "other"}, engine=ENGINE)
    assert len(open_journal(tmp_path, run=RUN, engine=ENGINE).blocks) == 1


def test_another_engine_starts_again_and_the_old_journal_stays(tmp_path):
    old = fill(tmp_path, 1).path.read_bytes()
    journal = open_journal(tmp_path, run=RUN, engine={"weights": "other"})
    assert journal.blocks == {}
    assert (tmp_path / "journal.old").read_bytes() == old


def test_a_full_disk_fails_the_run_and_keeps_what_was_finished(tmp_path, monkeypatch):
    journal = fill(tmp_path, 2)
    before = journal.path.read_bytes()

    def no_room(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journals.os, "fsync", no_room)
    prompts = [random_ids(300, seed=9)]
    with pytest.raises(DiskFull, match="finished blocks are kept") as caught:
        journal.append(block(6, prompts), prompts)
    assert caught.value.failure_class == "disk_full"
    monkeypatch.setattr(journals.os, "fsync", os.fsync)
    assert journal.path.read_bytes() == before
    assert len(open_journal(tmp_path, run=RUN, engine=ENGINE).blocks) == 2
