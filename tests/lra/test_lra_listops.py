"""ListOps against an independent evaluator: Python's own parser and the statistics module."""

import collections
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from longboard_tasks.suites.lra import listops
from longboard_tasks.suites.lra.listops import ListOpsError, encode, evaluate, make_expression, read_source, to_source

NAMES = {
    "MIN": min,
    "MAX": max,
    "MED": lambda *v: int(statistics.median(v)),
    "SM": lambda *v: int(str(sum(v))[-1]),
}


def independent(tokens: tuple[str, ...]) -> int:
    """The expression as a Python call: [MAX 2 [MIN 4 7 ] ] is MAX(2,MIN(4,7,),)."""
    call = "".join(f"{t[1:]}(" if t.startswith("[") else ")," if t == "]" else f"{t}," for t in tokens)
    return eval(call.rstrip(","), {"__builtins__": {}}, NAMES)  # noqa: S307  # our own text, no builtins


@pytest.fixture(scope="module")
def drawn():
    return [make_expression(split="test", seed=0, index=index) for index in range(600)]


def test_ten_thousand_expressions_have_the_value_that_an_independent_evaluator_gives():
    import random

    rng = random.Random(11)
    for _ in range(10_000):
        tokens: list[str] = []
        value = listops._grow(rng.random, 5, tokens)  # up to five operators deep: many small trees
        assert independent(tuple(tokens)) == value == evaluate(" ".join(tokens))


def test_expressions_of_full_length_have_the_value_that_an_independent_evaluator_gives(drawn):
    for expression in drawn:
        assert independent(expression.tokens) == expression.value == evaluate(" ".join(expression.tokens))


def test_both_forms_have_the_same_value_and_tokens(drawn):
    for expression in drawn[:50]:
        source = to_source(expression.tokens)
        assert source.count("(") == source.count(")") > 0
        assert evaluate(source) == expression.value
        assert read_source(source) == expression.tokens
    assert to_source(("[MAX", "3", "4", "]")) == "( ( ( [MAX 3 ) 4 ) ] )"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("( 7 )", 7),
        ("[MED 1 2 ]", 1),
        ("[MED 8 9 ]", 8),
        ("[MED 9 0 0 9 5 ]", 5),
        ("[SM 9 9 9 9 9 9 9 9 9 9 ]", 0),
        ("[SM 3]", 3),
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[MAX 2 9 [MIN 4 7 X 0 X", 9),
        ("( ( ( ( ( [MAX 2 ) 9 ) ( ( ( [MIN 4 ) 7 ) ] ) ) 0 ) ] )", 9),
        ("[MIN[MAX 1 2]3]", 2),
        ("[SM " * 5_000 + "4" + " 1 ]" * 5_000, 4),
        ("[MED " + "0 9 " * 1_000 + "]", 4),
    ],
)
def test_extremes_and_loose_blanks(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("( )", "empty"),
        ("[MAX ]", "no argument"),
        ("[MAX 1 2", "1 operators open"),
        ("1 ]", "comes after the end"),
        ("]", "none is open"),
        ("[FIRST 1 2 ]", r'"\[FIRST"'),
        ("[MAX 12 3 ]", '"12"'),
        ("[MAX -1 ]", '"-1"'),
        ("[MAX ² ]", '"²"'),
        ("[max 1 ]", r'"\[max"'),
        ("( [MAX 1 ]", "1 round brackets open"),
        ("[MAX 1 ] )", 'no "\\(" before'),
        ("[ 5 ]", r'is "\['),
        ("1 2", "comes after the end"),
    ],
)
def test_a_malformed_expression_says_what_is_wrong(text, says):
    with pytest.raises(ListOpsError, match=says):
        evaluate(text)


def test_the_generator_keeps_to_the_papers_ranges(drawn):
    lengths = [len(expression.tokens) for expression in drawn]
    assert min(lengths) > 500
    assert max(lengths) < 2000
    # 4,000 trees of the released script: mean 1038, quartiles 700 and 1313.
    assert abs(statistics.mean(lengths) - 1038) < 4 * 400 / 600**0.5
    assert 650 < statistics.quantiles(lengths, n=4)[0] < 750
    for expression in drawn:
        depth = deepest = 0
        arguments: list[int] = []
        for token in expression.tokens:
            if token == "]":
                depth -= 1
                assert 2 <= arguments.pop() <= 10
            if arguments and not token.startswith("["):
                arguments[-1] += 1
            if token.startswith("["):
                depth += 1
                arguments.append(0)
            deepest = max(deepest, depth)
        assert deepest == 9


def test_operators_are_even_and_targets_are_not(drawn):
    operators = collections.Counter(t for e in drawn for t in e.tokens if t.startswith("["))
    total = sum(operators.values())
    assert all(abs(count / total - 0.25) < 0.01 for count in operators.values())
    targets = collections.Counter(e.value for e in drawn)
    assert set(targets) == set(range(10))
    assert abs(targets[0] / 600 - listops.CHANCE) < 4 * (0.175 * 0.825 / 600) ** 0.5


def test_an_expression_is_a_function_of_split_seed_and_index(drawn):
    assert make_expression(split="test", seed=0, index=3) == drawn[3]
    others = [make_expression(split=split, seed=seed, index=3) for split, seed in (("train", 0), ("test", 1))]
    assert drawn[3] not in others
    assert len({e.tokens for e in drawn}) == 600
    with pytest.raises(KeyError, match="no split"):
        make_expression(split="dev", seed=0, index=0)


def test_ids_leave_zero_for_padding_and_fifteen_tokens(drawn):
    ids = {number for expression in drawn[:100] for number in encode(expression.tokens)}
    assert ids == set(range(1, 16))


def test_the_module_needs_the_standard_library_alone():
    path = Path(listops.__file__)
    code = f"import sys, runpy; runpy.run_path({str(path)!r}); print(sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.check_output([sys.executable, "-I", "-S", "-c", code], text=True)
    assert not {"numpy", "torch", "longboard_tasks"} & set(eval(loaded))  # noqa: S307  # a list that our child printed
