"""The bytes that niah@1 was published with, whatever the order, the process and the tokenizer's family."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.journal import hash_prompt
from longboard_tasks.suites.niah import plan
from longboard_tasks.suites.niah.questions import load_hotpotqa, load_squad, make_real_sample
from longboard_tasks.suites.niah.suite import TASKS, least_length, make_sample, new_tokens

GOLDEN = Path(__file__).parents[1] / "golden" / "niah_tasks_1.json"
TASKS_FOLDER = Path(__file__).parents[3] / "tasks"
ZOO_TOKENIZER = TASKS_FOLDER / "longboard_tasks/zoo/weights/tokenizer"
OURS = tuple(task for task in TASKS if task != "single")  # `single` has a golden file of its own


def golden(plain, chat):
    """Digests of the prompts of each task, the targets, and what a person can read of the first prompt."""
    made = {}
    for task in OURS:
        for name, tokenizer, length, indexes in (
            ("plain", plain, 8_192, (0, 1, 2)),
            ("chat", chat, 8_192, (0,)),
            ("long", plain, 50_000, (5,)),
            ("short", plain, 2_500, () if task == "streamed" else (0, 1)),
        ):
            for index in indexes:
                sample = make_sample(task=task, context_length=length, seed=0, index=index, tokenizer=tokenizer)
                made[f"{task}:{name}:{length}:{index}"] = hash_prompt(sample.ids)
        sample = make_sample(task=task, context_length=8_192, seed=0, index=0, tokenizer=plain)
        text = bytes(sample.ids).decode("latin-1")
        told = plan.expected(task, context_length=8_192, seed=0, index=0)
        made[f"{task}:text"] = {"begins": text[:240], "ends": text[-240:], "target": told.target, "depth": told.depth}
    return made


def test_prompts_are_the_tokens_that_version_1_was_published_with(plain, chat):
    """One changed token is a new suite version: old scores would no longer be about the same prompts."""
    assert golden(plain, chat) == json.loads(GOLDEN.read_text())


def test_prompts_do_not_depend_on_order_process_or_hash_seed(plain):
    code = (
        "from longboard_tasks.suites.niah.suite import *; from longboard_tasks.engine.byte_tokenizer import *;"
        "import hashlib; t = build_byte_tokenizer(); ask = dict(context_length=8192, seed=5, tokenizer=t);"
        "digest = lambda k, i: hashlib.sha256(bytes(make_sample(task=k, index=i, **ask).ids)).hexdigest();"
        "print(sorted((k, i, digest(k, i)) for i in (3, 0) for k in TASKS[::-1]))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(TASKS_FOLDER), "PYTHONHASHSEED": "7", "PATH": ""},
    ).stdout  # fmt: skip
    mine = [
        (task, index, hashlib.sha256(bytes(sample.ids)).hexdigest())
        for task in TASKS
        for index in (0, 3)
        for sample in [make_sample(task=task, context_length=8_192, seed=5, index=index, tokenizer=plain)]
    ]
    assert other == f"{sorted(mine)}\n"


@pytest.mark.skipif(not ZOO_TOKENIZER.is_dir(), reason="the zoo's tokenizer is not in this checkout")
def test_the_zoos_tokenizer_fits_every_task_at_one_and_two_thousand_tokens():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ZOO_TOKENIZER)
    for task in TASKS:
        for length in (1_024, 2_048, 4_096):
            for index in range(4):
                ask = {"context_length": length, "seed": 0, "index": index}
                sample = make_sample(task=task, **ask, tokenizer=tokenizer)
                assert length - 130 < len(sample.ids) <= length, task
                told = plan.expected(task, **ask)
                assert (sample.target, sample.depth) == (told.target, told.depth)
                references = json.loads(told.target) if told.target.startswith("[") else [told.target]
                text = tokenizer.decode(list(sample.ids))
                assert all(reference in text for reference in references)


def sentencepiece_like():
    """A tokenizer that puts a blank before every text it is given, as SentencePiece's do."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    letters = ["▁", *(chr(code) for code in range(32, 127)), "\n"]
    vocabulary = {"<unk>": 0} | {letter: place for place, letter in enumerate(letters, 1)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("task", ["niah_single_1", "niah_multikey_2", "vt", "cwe", "fwe", "qa_1"])
def test_a_tokenizer_that_adds_blanks_gives_the_text_that_bytes_give(task, plain):
    tokenizer = sentencepiece_like()
    assert tokenizer.decode(tokenizer.encode("a b")) == " a b"
    length = 9_000
    sample = make_sample(task=task, context_length=length, seed=0, index=0, tokenizer=tokenizer)
    expected = make_sample(task=task, context_length=length, seed=0, index=0, tokenizer=plain)
    assert tokenizer.decode(list(sample.ids)) == bytes(expected.ids).decode()


def squad(folder):
    def paragraph(context, *questions):
        return {
            "context": context,
            "qas": [
                {
                    "question": question,
                    "is_impossible": not answers,
                    "answers": [{"text": answer} for answer in answers],
                }
                for question, answers in questions
            ],
        }

    articles = [
        {
            "paragraphs": [
                paragraph("Ada wrote notes in 1843.", ("When did Ada write?", ["1843", "in 1843"]), ("Why?", [])),
                paragraph("Ada liked horses."),
            ]
        },
        {"paragraphs": [paragraph(f"Filler paragraph number {n}.") for n in range(30)]},
    ]
    path = folder / "squad.json"
    path.write_text(json.dumps({"data": articles}))
    return path


def test_the_real_squad_file_makes_questions_with_the_answer_the_article_and_others(tmp_path, plain):
    real = load_squad(squad(tmp_path))
    (question,) = real.questions
    assert question.answers == ("1843", "in 1843")
    assert list(real.documents) == sorted(real.documents)
    places = set()
    for seed in range(8):
        sample = make_real_sample(task="qa_1", real=real, context_length=1_300, seed=seed, index=0, tokenizer=plain)
        text = bytes(sample.ids).decode()
        assert text.count("Ada wrote notes in 1843.") == text.count("Ada liked horses.") == 1
        assert sample.target == '["1843", "in 1843"]'
        assert 1_300 - 60 < len(sample.ids) <= 1_300
        assert text.endswith("Question: When did Ada write? Answer:")
        places.add(text[: text.index("Ada wrote")].count("Document "))
    assert len(places) > 3  # upstream it is the same in every sample
    with pytest.raises(SuiteError, match="the file has 1"):
        make_real_sample(task="qa_1", real=real, context_length=1_300, seed=0, index=1, tokenizer=plain)


def test_the_real_hotpotqa_file_keeps_titles_and_all_paragraphs_of_a_question(tmp_path, plain):
    rows = [
        {
            "question": f"Who founded thing {n}?",
            "answer": f"Founder {n}",
            "context": [[f"Title {n}-{k}", [f"Sentence {n}-{k}. ", "More."]] for k in range(3)],
        }
        for n in range(12)
    ]
    path = tmp_path / "hotpotqa.json"
    path.write_text(json.dumps(rows))
    real = load_hotpotqa(path)
    sample = make_real_sample(task="qa_2", real=real, context_length=1_500, seed=0, index=4, tokenizer=plain)
    text = bytes(sample.ids).decode()
    assert sample.target == "Founder 4"
    assert all(text.count(f"Title 4-{k}\nSentence 4-{k}. More.") == 1 for k in range(3))


def test_least_lengths_of_the_byte_tokenizer_are_stated_in_one_place(plain):
    told = {task: least_length(task, plain) for task in ("niah_single_1", "vt", "streamed")}
    assert told["streamed"] == 8_192
    assert 400 < told["niah_single_1"] < 500 < 1_500 < told["vt"] < 2_000


def test_the_definition_page_has_every_task_with_its_new_tokens_and_the_question_of_its_first_sample():
    page = (Path(__file__).parents[3] / "docs/suites/niah.md").read_text()
    made = json.loads(GOLDEN.read_text())
    for task in OURS:
        assert f"### {task}\n" in page
        assert f" | {new_tokens(task)} | " in next(line for line in page.splitlines() if line.startswith(f"| {task} |"))
        assert made[f"{task}:text"]["ends"].splitlines()[-1] in page
