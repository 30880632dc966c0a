"""What the zoo trains on: never what a suite asks, and the same batch for the same number."""

import random
import re

import numpy as np
import pytest

from longboard_tasks.suites.babilong import prompts, vocabulary
from longboard_tasks.suites.babilong.plan import TASKS as BABILONG
from longboard_tasks.suites.niah import needles as niah_needles
from longboard_tasks.suites.niah import pools, tracking
from longboard_tasks.suites.niah.plan import CITIES, QUESTION
from longboard_tasks.suites.recall import names
from longboard_tasks.suites.recall.suite import WORDING
from longboard_tasks.zoo import stories
from longboard_tasks.zoo.batches import batch_length, training_source
from longboard_tasks.zoo.data import MAKERS, MIXTURES, make_batch
from longboard_tasks.zoo.prose import CITY, training_prose
from longboard_tasks.zoo.recipes import RECIPES
from longboard_tasks.zoo.stretch import REST, TARGET
from longboard_tasks.zoo.tokenizer import load_tokenizer
from longboard_tasks.zoo.words import HELD_OUT

TOKENIZER = load_tokenizer()


@pytest.fixture(scope="module")
def source():
    return training_source()


def wordings():
    """Every run of five words in what the suites write around their facts, as far as no blank is filled in."""
    texts = [
        niah_needles.INSTRUCTION,
        niah_needles.QUESTION,
        niah_needles.PREFIX,
        niah_needles.NEEDLE,
        niah_needles.NOISE,
    ]
    texts += [tracking.INSTRUCTION, tracking.QUESTION, tracking.PREFIX, QUESTION]
    texts += [part for parts in WORDING.values() for part in parts]
    texts += [prompts.before_context(task) for task in BABILONG]
    found = set()
    for text in texts:
        for piece in re.split(r"\{\w+\}|\n", text):
            words = re.findall(r"[A-Za-z’']+", piece.lower())
            found |= {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_a_thousand_sequences_of_each_kind_name_no_city_and_share_no_five_words_with_a_suite(source, name):
    theirs, make = wordings(), MAKERS[name]
    assert len(theirs) > 500
    for number in range(1_000):
        text = TOKENIZER.decode(make(source.background, random.Random(f"disjoint:{number}"), 250).ids)
        assert not CITY.search(text), text
        words = re.findall(r"[A-Za-z’']+", text.lower())
        assert not theirs & {tuple(words[at : at + 5]) for at in range(len(words) - 4)}, text


def test_names_keys_and_words_of_facts_are_none_that_a_suite_asks_for(source):
    words = source.background.words
    for number in range(2_000):
        rng = random.Random(number)
        drawn = [*words.keys(rng, 4), *words.people(rng, 4), words.word(rng), words.name(rng)]
        assert not {key.lower() for key in drawn} & HELD_OUT, drawn
        assert not set(words.joined(rng).lower().split("-")) & HELD_OUT
    assert not {*stories.PLACES, *stories.THINGS} & HELD_OUT
    theirs = {*vocabulary.MOVES, *vocabulary.GETS, *vocabulary.DROPS, *vocabulary.GIVES}
    assert not {*stories.MOVES, *stories.GETS, *stories.DROPS, *stories.GIVES} & theirs
    planted = {
        *pools.ADJECTIVES,
        *pools.NOUNS,
        *vocabulary.ROOMS,
        *vocabulary.OBJECTS,
        *map(str.lower, (*names.SURNAMES, *CITIES)),
    }
    assert {word for word in planted if " " not in word} <= HELD_OUT


def test_the_training_prose_is_not_the_haystack():
    text = " ".join(training_prose())
    assert "Ishmael" not in text
    assert not any(f" {city} " in text for city in CITIES)


@pytest.mark.parametrize(("length", "mixture"), [(128, "whole"), (256, "first"), (256, "whole"), (2_048, "whole")])
def test_every_sequence_has_its_length_starts_with_bos_and_weighs_answers_above_prose(source, length, mixture):
    answers = 0
    for number in range(50):
        sequence = source.sequence(random.Random(f"length:{number}"), length, mixture)
        assert len(sequence.ids) == len(sequence.weights) == length
        assert sequence.ids[0] == TOKENIZER.bos_token_id
        answers += sum(weight > REST for weight in sequence.weights)
    assert answers > 50


def test_the_shares_of_a_mixture_are_those_of_known_kinds_and_make_a_whole():
    for shares in MIXTURES.values():
        assert shares.keys() <= MAKERS.keys()
        assert sum(shares.values()) == pytest.approx(1.0)


def answers_of(sequence):
    """(text before it, answer) of every answer in a sequence."""
    start = None
    for at, weight in enumerate([*sequence.weights, REST]):
        if weight == TARGET and start is None:
            start = at
        if start is not None and (weight != TARGET or sequence.ids[at - 1] == TOKENIZER.eos_token_id) and at > start:
            yield (
                TOKENIZER.decode(sequence.ids[:start]),
                TOKENIZER.decode(sequence.ids[start:at], skip_special_tokens=True),
            )
            start = at if weight == TARGET else None


@pytest.mark.parametrize("name", ["facts", "needle_lists", "chains", "phone_books", "key_values", "strings"])
def test_all_that_is_asked_for_stands_earlier_in_the_text(source, name):
    asked = 0
    for number in range(100):
        sequence = MAKERS[name](source.background, random.Random(f"facts:{number}"), 400)
        for before, answer in answers_of(sequence):
            asked += 1
            assert all(part in before for part in re.split(r",? ", answer.strip())), (answer, before)
    assert asked > 50


def test_a_story_is_answered_by_its_latest_word(source):
    """Who was said to move last to where, worked out from the text alone."""
    for number in range(200):
        rng = random.Random(f"story:{number}")
        facts, question, answer = stories.where_people(source.background, rng, 8)
        person = question.removeprefix("Where is ").removesuffix("?")
        latest = [fact for fact in facts if fact.startswith(f"{person} ")][-1]
        assert latest.removesuffix(".").endswith(f" the {answer}")


def test_every_answer_ends_the_text_so_that_greedy_decoding_stops(source):
    ask = source.background.ask("\n\nWhere?", "here")
    assert (ask.ids[-1], ask.weights[-1]) == (TOKENIZER.eos_token_id, TARGET)


def test_a_batch_follows_from_seed_and_step_alone_and_looks_at_every_answer(source):
    ask = {"seed": 3, "step": 7, "length": 320, "tokens": 4_096, "mixture": "whole"}
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
    assert len(set(lengths[3_000:])) == 31
    assert all(length % 64 == 0 for length in lengths)
