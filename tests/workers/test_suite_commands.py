"""`longboard-worker suites`: reads suites and scores answers with no model and no site."""

import json

import pytest

from longboard_tasks.suites.niah.plan import expected
from longboard_worker.cli import main


def test_samples_come_as_json_lines_with_prompt_and_target(capsys):
    assert main(["suites", "sample", "niah", "passkey", "--length", "300", "--count", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["index"] for row in rows] == [0, 1]
    assert all(row["tokens"] <= 300 and row["target"] in row["prompt"] for row in rows)


def test_anyone_can_reproduce_a_number_from_answers_alone(tmp_path, capsys):
    answers = tmp_path / "answers.jsonl"
    right = [expected("single", context_length=1_024, seed=3, index=i).target for i in range(4)]
    rows = [{"task": "single", "index": i, "answer": right[i] if i else "no idea"} for i in range(4)]
    answers.write_text("\n".join(map(json.dumps, rows)))
    assert main(["suites", "score", "niah", str(answers), "--length", "1024", "--seed", "3"]) == 0
    assert "accuracy 0.7500 [0.3006, 0.9544] n=4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, says",
    [
        (["sample", "niah", "nope", "--length", "300"], "It has: single"),
        (["sample", "nope", "single", "--length", "300"], "There are: niah"),
        (["sample", "niah", "single", "--length", "10"], "Ask for at least"),
        (["sample", "efficiency", "generate", "--length", "300"], "no samples"),
        (["score", "niah", "/nowhere.jsonl", "--length", "300"], "No such file"),
        (["show", "nope"], "There are: niah"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(words, says, capsys):
    assert main(["suites", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_broken_line_is_named(tmp_path, capsys):
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"task": "single", "index": 0, "answer": ""}\n{"task": "single"}')
    assert main(["suites", "score", "niah", str(answers), "--length", "300"]) == 2
    assert "line 2" in capsys.readouterr().err
