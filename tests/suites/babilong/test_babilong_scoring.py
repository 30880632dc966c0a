"""Both scorers on the cases that tell them apart, and the readers of the published files."""

import json

import pytest

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.babilong.published import load_babi, load_babilong
from longboard_tasks.suites.babilong.scoring import LABELS, official, score, secondary, word_boundary
from longboard_tasks.suites.babilong.story import Story

IS_IN = "Is John in the kitchen?"


@pytest.mark.parametrize(
    "task, question, target, prediction, by_official, by_words",
    [
        ("qa6", IS_IN, "no", "no", True, True),
        ("qa6", IS_IN, "no", "No.", True, True),
        ("qa6", IS_IN, "no", "I do not know", True, False),  # "no" inside "not" and "know"
        ("qa6", IS_IN, "no", "nothing", True, False),
        ("qa6", IS_IN, "yes", "yesterday", True, False),
        ("qa6", IS_IN, "yes", "yes, I know", False, True),
        ("qa6", IS_IN, "yes", "yes and no", False, False),
        ("qa6", IS_IN, "no", "no-one", True, False),
        ("qa7", "How many objects is Mary carrying?", "none", "none", False, True),  # "one" is inside "none"
        ("qa7", "How many objects is Mary carrying?", "two", "2", False, False),
        ("qa7", "How many objects is Mary carrying?", "one", "someone", True, False),
        ("qa8", "What is Mary carrying?", "apple,milk", "milk, apple", True, True),  # any order
        ("qa8", "What is Mary carrying?", "apple,milk", "milk and apple", True, True),
        ("qa8", "What is Mary carrying?", "apple,milk", "apple", False, False),
        ("qa8", "What is Mary carrying?", "apple,milk", "apple,milk,football", False, False),
        ("qa8", "What is Mary carrying?", "football,apple,milk", "milk,football,apple", True, True),
        ("qa8", "What is Mary carrying?", "milk", "apple,milk", False, False),
        ("qa1", "Where is John?", "office", "The most recent location of John is office.", True, True),
        ("qa1", "Where is John?", "office", "officer", True, False),
        ("qa1", "Where is John?", "office", "office kitchen", False, False),
        ("qa1", "Where is John?", "office", "office. kitchen", True, True),  # the first sentence counts
        ("qa1", "Where is John?", "office", "1. office", False, True),
        ("qa1", "Where is John?", "office", "", False, False),
        ("qa1", "Where is John?", "office", ". . .", False, False),
        ("qa1", "Where is John?", "office", "\x00office\x1f\n", True, True),
        ("qa1", "Where is John?", "office", "OFFICE", True, True),
        ("qa1", "Where is John?", "office", "office<context> kitchen", True, True),
        ("qa1", "Where is John?", "office", "office<example> kitchen", True, True),
        ("qa1", "Where is John?", "office", "office\nQuestion: Where is Mary? kitchen", False, True),
        ("qa3", "Where was the apple before the office?", "garden", "Before the office it was in the garden", True, True),
        ("qa5", "Who gave the apple to Bill?", "Fred", "Fred gave the apple to Bill", True, True),
        ("qa15", "What is emily afraid of?", "cat", "location", True, False),
        ("qa15", "What is emily afraid of?", "wolf", "wolves", False, False),  # plural animals lose in both
        ("qa19", "How do you go from the kitchen to the office?", "s,w", "s,w", True, True),
        ("qa19", "How do you go from the kitchen to the office?", "s,w", "s, w", False, True),
        ("qa19", "How do you go from the kitchen to the office?", "s,w", "w,s", False, False),
        ("qa19", "How do you go from the kitchen to the office?", "s,w", "s,w,n", False, False),
        ("qa19", "How do you go from the kitchen to the office?", "s,s", "s,s,s", True, False),
        ("qa10", "Is Bill in the park?", "maybe", "maybe", True, True),
        ("qa20", "Why did yann go to the kitchen?", "hungry", "hungry, in the kitchen", True, True),
    ],
)  # fmt: skip
def test_both_scorers_on_hand_made_answers(task, question, target, prediction, by_official, by_words):
    assert official(task, question, target, prediction) is by_official
    assert word_boundary(task, question, target, prediction) is by_words
    known = json.dumps({"answer": target, "question": question})
    assert score(task, prediction, known) == by_words
    assert secondary(task, prediction, known) == {"accuracy_official": float(by_official)}


def test_every_task_has_its_labels():
    assert list(LABELS) != []
    assert {len(LABELS[f"qa{number}"]) for number in range(1, 21)} == {2, 3, 4, 6, 7, 12}


def test_a_babi_file_gives_a_story_for_each_question(tmp_path):
    path = tmp_path / "qa1_test.txt"
    path.write_text(
        "1 Mary moved to the bathroom.\n2 John went to the hallway.\n3 Where is Mary? \tbathroom\t1\n"
        "4 Daniel went back to the hallway.\n5 Where is Daniel? \thallway\t4\n1 John is in the park.\n2 Where is John?\tpark\t1\n"
    )
    both = ("Mary moved to the bathroom.", "John went to the hallway.")
    stories = [
        Story("qa1", both, "Where is Mary?", "bathroom"),
        Story("qa1", (*both, "Daniel went back to the hallway."), "Where is Daniel?", "hallway"),
        Story("qa1", ("John is in the park.",), "Where is John?", "park"),
    ]
    assert load_babi(path, "qa1") == stories
    assert load_babi(path, "qa1", most_lines=3) == [stories[0], stories[2]]  # the question counts
    path.write_text("Mary moved.\n")
    with pytest.raises(SuiteError, match="line 1"):
        load_babi(path, "qa1")


@pytest.mark.parametrize("as_lines", [True, False])
def test_rows_of_the_hub_are_read_from_json_and_json_lines(tmp_path, as_lines):
    rows = [{"input": "Text.", "question": "Where is Mary? ", "target": "bathroom", "more": 1}] * 2
    path = tmp_path / "qa1.json"
    path.write_text("\n".join(map(json.dumps, rows)) if as_lines else json.dumps(rows))
    assert [row.target for row in load_babilong(path)] == ["bathroom"] * 2
    path.write_text('{"text": 1}')
    with pytest.raises(SuiteError, match="not BABILong"):
        load_babilong(path)
