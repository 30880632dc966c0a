"""The official scorers, with their known edges, and how a stored target is read back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from longboard_tasks.suites.niah import plan
from longboard_tasks.suites.niah.scoring import clean, score, string_match_all, string_match_part

TASKS_FOLDER = Path(__file__).parents[3] / "tasks"


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("", ["12"], 0.0),
        ("  \n\t ", ["12"], 0.0),
        ("the number is 12.", ["12"], 1.0),
        ("9123", ["12"], 1.0),  # a number inside a longer one counts, as upstream
        ("1 2", ["12"], 0.0),
        ("12\t34", ["1234"], 0.0),  # a control character becomes a newline, it is not deleted
        ("12\t34", ["12", "34"], 1.0),
        ("1,234,567", ["1234567"], 0.0),
        ("ALPHA and beta", ["alpha", "Beta", "gamma", "delta"], 0.5),
        ("beta, alpha", ["alpha", "beta"], 1.0),  # any order
        ("\x1funit\x00", ["unit"], 1.0),
        ("Straße", ["STRASSE"], 0.0),  # lower, not casefold, as upstream
        ("anything", [""], 1.0),  # an empty reference always counts, as upstream
    ],
)
def test_string_match_all_is_the_share_of_references_contained(answer, references, expected):
    assert string_match_all(answer, references) == expected
    assert string_match_part(answer, references) == float(expected > 0)


def test_the_clean_up_strips_then_turns_control_characters_into_newlines_then_strips():
    assert clean(" \x00a\x07b\r\n ") == "a\nb"
    assert clean("\x7f") == "\x7f"  # only 0x00 to 0x1f


@pytest.mark.parametrize(
    ("task", "answer", "target", "expected"),
    [
        ("niah_single_1", "1234567", "1234567", 1.0),
        ("niah_multivalue", "one 11, two 22", '["11", "22", "33", "44"]', 0.5),
        ("vt", "ABCDE", '["ABCDE", "FGHIJ", "KLMNO", "PQRST", "UVWXY"]', 0.2),
        ("qa_1", "in Paris", '["Paris", "the city of Paris"]', 1.0),
        ("qa_2", "", "Paris", 0.0),
        ("passkey", "0012345", "0012345", 1.0),
        ("single", "the 7654321", "7654321", 1.0),
    ],
)
def test_score_reads_the_target_and_questions_take_any_reference(task, answer, target, expected):
    assert score(task, answer, target) == pytest.approx(expected)


def test_targets_of_every_task_come_back_as_their_references():
    for task in plan.TASKS:
        target = plan.expected(task, context_length=4_096, seed=1, index=2).target
        references = json.loads(target) if target.startswith("[") else [target]
        assert all(isinstance(reference, str) and reference for reference in references)
        assert score(task, " ".join(references), target) == 1
        assert len(target) < 4_000


def test_plan_and_scoring_load_nothing_but_the_standard_library_and_themselves():
    code = (
        "import sys; before = set(sys.modules);"
        "from longboard_tasks.suites.niah import plan, scoring;"
        "[plan.expected(t, context_length=8192, seed=0, index=i) for t in plan.TASKS for i in range(2)];"
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "ours = sorted(m for m in sys.modules if m.startswith('longboard_tasks.engine') or 'prose' in m);"
        "print(sorted(new), ours)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(TASKS_FOLDER), "PATH": ""},
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == "['longboard_tasks'] []"
