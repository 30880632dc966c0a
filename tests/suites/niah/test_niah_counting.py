"""The tasks of niah@1 that are followed or counted: chains of assignments (vt), common and frequent words (cwe, fwe)."""

import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.suites.niah.making import few, indexes, make, seeds, text_of

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.niah import pools
from longboard_tasks.suites.niah.needles import NOISE
from longboard_tasks.suites.niah.words import FEWEST, count_words


@few
@given(st.integers(2_000, 9_000), seeds, indexes)
def test_following_the_assignments_finds_the_five_variables(length, seed, index):
    sample = make("vt", length, seed, index)
    example, body = text_of(sample).split("Memorize and track")[1:]
    for part, size, told in ((example, 3, None), (body, 5, sample.target)):
        value = re.search(r"assigned the value (\d{5}) in", part)[1]
        (current,) = re.findall(rf"VAR ([A-Z]{{{size}}}) = {value}\n", part)
        found = [current]
        while following := re.findall(rf"VAR ([A-Z]{{{size}}}) = VAR {current} \n", part):
            (current,) = following
            found.append(current)
        assert len(found) == 5
        assert found == (part.split("they are: ")[1].split() if told is None else json.loads(told))
    chain = [line for line in body.splitlines() if line.startswith("VAR ")]
    assert len(chain) == 5 == len(set(chain))
    lines = body.splitlines()[2:-1]
    assert set(lines) - set(chain) == {NOISE}


@few
@given(st.integers(1_900, 12_000), seeds, indexes)
def test_counting_the_list_finds_the_ten_common_words(length, seed, index):
    length = 8_192 if 4_096 <= length < 8_192 else length
    sample = make("cwe", length, seed, index)
    often, seldom = (30, 3) if length >= 4_096 else (6, 1)
    shown = Counter[str]()
    example, body = text_of(sample).split("Below is a numbered list")[1:]
    for part, (many, few_times) in ((example, (10, 3) if length >= 4_096 else (3, 1)), (body, (often, seldom))):
        entries = re.findall(r"(\d+)\. (\w+)", part.split("\nQuestion")[0].split("most often.\n")[1])
        assert [int(number) for number, _ in entries] == list(range(1, len(entries) + 1))
        counts = Counter(word for _, word in entries)
        common = [word for word, count in counts.items() if count == many]
        assert {count for word, count in counts.items() if word not in common} == {few_times}
        if part is body:
            assert sorted(common) == sorted(json.loads(sample.target))
            assert not set(counts) & set(shown)
        else:
            shown = counts
            assert sorted(common) == sorted(re.findall(r"\d+\. (\w+)", part.split("in the list are:")[1]))


@few
@given(st.integers(1_000, 12_000), seeds, indexes)
def test_counting_the_coded_words_finds_the_three_frequent_ones(length, seed, index):
    sample = make("fwe", length, seed, index)
    words = text_of(sample).partition("coded words. ")[2].partition("\nQuestion")[0].split(" ")
    counts = Counter(words)
    (noise, _), *ranked = counts.most_common()
    assert noise == "..."
    assert [word for word, _ in ranked[:3]] == json.loads(sample.target)
    assert ranked[0][1] > ranked[1][1] > ranked[2][1] > ranked[3][1]
    vocabulary = max(10, (length - 50) // 50)
    assert any(
        [count for count in count_words(n, vocabulary) if count]
        == [counts["..."], *sorted((c for _, c in ranked), reverse=True)]
        for n in range(len(words), 2 * len(words))
    )


def test_ranks_two_to_five_differ_from_the_fewest_words_on():
    for n in range(FEWEST, 5_000):
        first, *rest = count_words(n, 5)
        assert first > rest[0] > rest[1] > rest[2] > rest[3], n
    assert len(set(count_words(FEWEST - 1, 5))) < 5


def test_no_list_word_is_inside_another_and_coined_words_are_distinct():
    words = pools.list_words()
    assert len(words) == len(set(words)) == 4_096
    parts = {
        word[i:j] for word in words for i in range(len(word)) for j in range(i + 4, len(word) + 1) if j - i < len(word)
    }
    assert not parts & set(words)


def test_long_word_lists_that_do_not_fit_say_where_they_would():
    with pytest.raises(SuiteError, match="Ask for at least") as caught:
        make("cwe", 4_096)
    told = int(re.search(r"at least (\d+)", str(caught.value))[1])
    assert told > 4_096
    assert all(len(make("cwe", told, 1, index).ids) <= told for index in range(10))


def test_a_list_that_outgrows_the_pool_goes_on_with_coined_words():
    sample = make("cwe", 300_000)
    body = text_of(sample).split("Below is a numbered list")[2].split("\nQuestion")[0]
    counts = Counter(re.findall(r"\d+\. (\w+)", body))
    coined = set(counts) - set(pools.list_words())
    assert len(counts) > 4_096
    assert len(coined) > 1_000
    assert {word for word, count in counts.items() if count == 30} == set(json.loads(sample.target))
    assert not any(word in other for word in json.loads(sample.target) for other in coined)
