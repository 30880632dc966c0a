"""The zoo's tokenizer: nothing is lost, and a number is as many tokens as it has digits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longboard_tasks.prose import load_prose
from longboard_tasks.zoo.tokenizer import VOCABULARY, load_tokenizer, train_tokenizer

TOKENIZER = load_tokenizer()


@given(st.text())
def test_any_text_comes_back_as_it_was(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids) == text


def test_the_haystack_comes_back_as_it_was():
    text = load_prose().text
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


@given(st.from_regex(r"[0-9]{1,12}", fullmatch=True))
def test_every_digit_is_a_token(number):
    assert TOKENIZER.tokenize(number) == list(number)
    assert TOKENIZER.tokenize(f" is: {number}.")[2:] == ["Ġ", *number, "."]


def test_a_prompt_starts_with_bos_unless_special_tokens_are_off():
    assert TOKENIZER.encode("a")[0] == TOKENIZER.bos_token_id == 1
    assert TOKENIZER.bos_token_id not in TOKENIZER.encode("a", add_special_tokens=False)
    assert (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id, len(TOKENIZER)) == (0, 2, VOCABULARY)


@pytest.mark.slow
def test_training_it_again_gives_the_vocabulary_that_ships():
    from longboard_tasks.zoo.prose import training_prose

    assert train_tokenizer(training_prose()).get_vocab() == TOKENIZER.get_vocab()
