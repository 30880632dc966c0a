"""What the zoo trains on: never what niah asks, and the same batch for the same number."""

import random

import numpy as np
import pytest

from longboard_tasks.suites.niah.plan import CITIES
from longboard_tasks.zoo.data import REST, TARGET, make_batch
from longboard_tasks.zoo.prose import CITY, training_prose
from longboard_tasks.zoo.recipes import RECIPES
from longboard_tasks.zoo.tokenizer import load_tokenizer
from longboard_tasks.zoo.train import batch_length, training_source

TOKENIZER = load_tokenizer()


@pytest.fixture(scope="module")
def source():
    return training_source()


def test_ten_thousand_training_sequences_name_no_city_of_niah_and_share_none_of_its_wording(source):
    for number in range(10_000):
        sequence = source.sequence(random.Random(f"disjoint:{number}"), 256)
        text = TOKENIZER.decode(sequence.ids)
        assert not CITY.search(text), text
        assert "special magic number" not in text
        assert "mentioned in the provided text" not in text


def test_the_training_prose_is_not_the_haystack():
    text = " ".join(training_prose())
    assert "Ishmael" not in text
    assert not any(f" {city} " in text for city in CITIES)


@pytest.mark.parametrize("length", [128, 256, 2_048])
def test_every_sequence_has_its_length_starts_with_bos_and_weighs_answers_above_prose(source, length):
    answers = 0
    for number in range(50):
        sequence = source.sequence(random.Random(f"length:{number}"), length)
        assert len(sequence.ids) == len(sequence.weights) == length
        assert sequence.ids[0] == TOKENIZER.bos_token_id
        answers += sum(weight > REST for weight in sequence.weights)
    assert answers > 50


def test_an_answer_in_the_facts_repeats_digits_that_stand_earlier(source):
    for number in range(100):
        sequence = source.facts(random.Random(f"facts:{number}"), 400)
        answers = "".join(
            TOKENIZER.decode([token]) if weight == TARGET else "|"
            for token, weight in zip(sequence.ids, sequence.weights, strict=True)
        )
        for answer in filter(None, answers.split("|")):
            assert TOKENIZER.decode(sequence.ids).count(answer.strip()) >= 2


def test_a_batch_follows_from_seed_and_step_alone_and_looks_at_every_answer(source):
    ask = {"seed": 3, "step": 7, "length": 320, "tokens": 4_096}
    first, again, other = make_batch(source, **ask), make_batch(source, **ask), make_batch(source, **{**ask, "step": 8})
    for name in ("ids", "at", "weight"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.ids, other.ids)
    assert first.ids.shape == (12, 320)
    assert len(set(first.at)) == len(first.at) == first.ids.size // 4
    assert ((first.at + 1) % 320 != 0).all()  # the last place of a sequence predicts nothing


def test_every_stage_mixes_lengths_and_reaches_its_longest():
    recipe = RECIPES["llama-3m"]
    lengths = [batch_length(recipe, step) for step in range(recipe.steps)]
    assert max(lengths[:1_600]) == 256
    assert max(lengths) == 2_048
    assert len(set(lengths[3_300:])) == 31
    assert all(length % 64 == 0 for length in lengths)
