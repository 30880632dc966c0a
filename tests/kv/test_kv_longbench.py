"""LongBench from a folder: its metrics by hand, its prompts cut in the middle, a whole run on two rows."""

import json

import pytest

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.kv.answers import class_share, edit_similarity, f1, retrieval, rouge_l
from longboard_tasks.suites.kv.longbench import (
    SETS,
    Item,
    category_means,
    main,
    make_sample,
    open_source,
    read_set,
    score,
)

TEMPLATE = "Read:\n{context}\nQuestion: {input}\nAnswer:"


def test_metrics_are_those_one_works_out_by_hand():
    assert f1("The cat, sat!", "a cat sat down") == pytest.approx(2 * 2 / 5)
    assert f1("nothing", "else") == 0
    assert rouge_l("a b c d", "a c d e") == pytest.approx(2 * 3 / 8)
    assert rouge_l("The cat", "the cat") == 0.5
    assert rouge_l("", "x") == 0
    assert class_share("It is a City", "City", ["City", "State", "Other City"]) == 1
    assert class_share("City or State", "City", ["City", "State"]) == 0.5
    assert class_share("Other City", "Other City", ["City", "Other City"]) == 1  # upstream gives 0.5
    assert retrieval("Paragraph 3 or 4", "Paragraph 3") == 0.5
    assert retrieval("none", "Paragraph 3") == 0
    assert edit_similarity("```python\n# a\nx = 1\n", "x = 1") == 1
    assert edit_similarity("", "x") == 0


def test_the_first_line_counts_where_the_benchmark_says_so_and_the_best_reference_wins():
    target = json.dumps({"answers": ["blue", "dark blue"], "classes": []})
    assert score("triviaqa", "\nblue\nred green", target) == 1
    assert score("qasper", "dark blue", target) == 1
    assert score("hotpotqa", "blue\nred", target) == pytest.approx(2 / 3)


def test_a_prompt_too_long_loses_its_middle_and_keeps_its_question():
    tokenizer = build_byte_tokenizer()
    item = Item("Who {is} it?", "0123456789" * 30, ("x",))
    sample = make_sample(item, "qasper", index=0, template=TEMPLATE, limit=100, tokenizer=tokenizer)
    text = tokenizer.decode(list(sample.ids))
    assert len(sample.ids) == 100
    assert text.startswith("Read:\n0123456789")
    assert text.endswith("6789\nQuestion: Who {is} it?\nAnswer:")
    assert tokenizer.decode(list(sample.ids[sample.context :])) == "\nQuestion: Who {is} it?\nAnswer:"
    short = make_sample(Item("q", "abc", ("x",)), "qasper", index=0, template=TEMPLATE, limit=100, tokenizer=tokenizer)
    assert tokenizer.decode(list(short.ids)) == "Read:\nabc\nQuestion: q\nAnswer:"
    with pytest.raises(SuiteError, match="no room"):
        make_sample(item, "qasper", index=0, template=TEMPLATE, limit=20, tokenizer=tokenizer)
    with pytest.raises(SuiteError, match="has no"):
        make_sample(item, "qasper", index=0, template="x", limit=20, tokenizer=tokenizer)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(SuiteError, match="no folder"):
        open_source(str(tmp_path / "x"), tmp_path)
    with pytest.raises(SuiteError, match="full commit hash"):
        open_source("hub:THUDM/LongBench", tmp_path)
    with pytest.raises(SuiteError, match="not there"):
        read_set(tmp_path, "qasper")
    with pytest.raises(SuiteError, match="no set of LongBench"):
        read_set(tmp_path, "magic")
    (tmp_path / "qasper.jsonl").write_text('{"input": "x"}\n')
    with pytest.raises(SuiteError, match="line 1"):
        read_set(tmp_path, "qasper")


def test_categories_are_means_of_their_sets():
    assert category_means([("qasper", 0.5), ("narrativeqa", 0.25), ("trec", 1.0)]) == {
        "single document": 0.375,
        "few-shot": 1.0,
    }
    assert len(SETS) == 15


def test_a_folder_is_run_under_a_method(tmp_path, capsys):
    rows = [
        {"input": f"q{i}", "context": "some words " * 30, "answers": ["words"], "all_classes": None} for i in (1, 2)
    ]
    (tmp_path / "qasper.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "dataset2prompt.json").write_text(json.dumps({"qasper": TEMPLATE}))
    asked = ["llama-3m", "--source", str(tmp_path), "--sets", "qasper", "--method", "snapkv", "--budget", "0.5"]
    assert main([*asked, "--limit", "120", "--dtype", "float32"]) == 0
    said = capsys.readouterr().out
    assert "n=2" in said
    assert "single document: " in said
