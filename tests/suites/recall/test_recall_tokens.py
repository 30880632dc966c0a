"""The papers' token sequences: labels where they belong, slots as the closed form says."""

import random
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.recall.plan import slot_weights
from longboard_tasks.suites.recall.tokens import (
    BEGIN,
    END,
    FIGURE,
    IGNORE,
    PACKED_LENGTH,
    PAD,
    SEPARATOR,
    STRING_KINDS,
    TEST_MIXTURE,
    TRAIN_MIXTURE,
    draw_slots,
    mqar_accuracy,
    mqar_example,
    pack,
    string_accuracy,
    string_example,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*FIGURE, *(pair for pair, _ in (*TRAIN_MIXTURE, *TEST_MIXTURE))]),
    st.integers(0, 2**31),
    st.booleans(),
    st.sampled_from([0.01, 0.1, 1.0]),
)
def test_mqar_repeats_every_key_once_and_labels_it_with_its_value(setting, seed, noise, alpha):
    length, pairs = setting
    ask = {"length": length, "pairs": pairs, "seed": seed, "index": 0, "random_non_queries": noise, "alpha": alpha}
    example = mqar_example(**ask)
    keys, values = example.ids[: 2 * pairs : 2], example.ids[1 : 2 * pairs : 2]
    assert len(set(keys)) == len(set(values)) == pairs
    assert min(keys) >= 1
    assert max(keys) < 4_096 <= min(values)
    assert max(values) < 8_192
    labelled = [at for at, label in enumerate(example.labels) if label != IGNORE]
    assert len(labelled) == pairs
    assert all(at >= 2 * pairs and at % 2 == 0 for at in labelled)
    answers = dict(zip(keys, values, strict=True))
    assert all(example.labels[at] == answers[example.ids[at]] for at in labelled)
    assert {example.ids[at] for at in labelled} == set(keys)
    if not noise:
        assert {example.ids[at] for at in range(2 * pairs, length) if at not in labelled} <= {0}
    assert len(example.ids) == len(example.labels) == length
    assert example == mqar_example(**ask)


def test_the_first_slot_follows_the_power_law():
    """Chi-square against a j^(a-1), 20 slots; 43.8 is the 0.1 % point for 19 degrees of freedom."""
    rng, slots, n = random.Random("slots"), 20, 20_000
    for alpha in (0.01, 1.0):
        weights = slot_weights(slots, alpha)
        counts = Counter(draw_slots(rng, slots, 3, alpha)[0] for _ in range(n))
        wanted = [n * weight / sum(weights) for weight in weights]
        assert sum((counts[slot] - want) ** 2 / want for slot, want in enumerate(wanted)) < 43.8
    assert slot_weights(4, 0.5) == pytest.approx([0.5, 0.5 / 2**0.5, 0.5 / 3**0.5, 0.25])


def test_slots_are_drawn_one_after_the_other_without_replacement():
    """Every ordered pair of 4 slots has the probability p_i p_j / (1 - p_i); 31.3 is the 0.1 % point for 11 degrees."""
    rng, n, alpha = random.Random("pairs"), 20_000, 0.01
    weights = slot_weights(4, alpha)
    shares = [weight / sum(weights) for weight in weights]
    counts = Counter(tuple(draw_slots(rng, 4, 2, alpha)) for _ in range(n))
    wanted = {(i, j): n * shares[i] * shares[j] / (1 - shares[i]) for i, j in permutations(range(4), 2)}
    assert set(counts) == set(wanted)
    assert sum((counts[pair] - want) ** 2 / want for pair, want in wanted.items()) < 31.3


def test_the_kth_slot_drawn_belongs_to_the_kth_key_so_the_first_key_comes_back_earliest():
    places = {0: 0, 7: 0}
    for index in range(400):
        example = mqar_example(length=128, pairs=8, seed=1, index=index)
        for key in places:
            places[key] += example.ids.index(example.ids[2 * key], 16)
    assert places[0] < 0.8 * places[7]


@pytest.mark.parametrize("wrong", [{"length": 63}, {"pairs": 17}, {"vocabulary": 64}, {"pairs": 0}])
def test_settings_outside_the_paper_are_refused(wrong):
    with pytest.raises(SuiteError, match="expected an even length"):
        mqar_example(**({"length": 64, "pairs": 4, "seed": 0, "index": 0} | wrong))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(STRING_KINDS),
    st.integers(0, 2**31),
    st.integers(6, 40),
    st.integers(1, 3),
    st.sampled_from([None, 2]),
)
def test_strings_are_laid_out_and_labelled_as_in_the_paper(kind, seed, least, ngram, answer_length):
    example = string_example(
        kind, seed=seed, index=0, least=least, most=least + 9, ngram=ngram, answer_length=answer_length
    )
    ids, labels = example.ids, example.labels
    assert ids[0] == BEGIN
    assert ids[-1] == END
    answer = [label for label in labels if label != IGNORE]
    # What is labelled at i is the token at i + 1, up to the end of the row.
    assert all(label in (IGNORE, after) for label, after in zip(labels, ids[1:], strict=False))
    assert answer == ids[-len(answer) :]
    parts = " ".join(map(str, ids[1:-1])).split(str(SEPARATOR))
    first, *rest = [[int(token) for token in part.split()] for part in parts]
    if kind in ("copy", "duplicate_ngram"):
        assert rest == [first]
        assert answer == [*first, END]
        assert least <= len(first) <= least + 9
    if kind == "duplicate_ngram":
        grams = [tuple(first[at : at + ngram]) for at in range(len(first) - ngram + 1)]
        assert len(set(grams)) < len(grams)
    if kind in ("prefix_ngram", "suffix_ngram"):
        string = rest[0] if kind == "prefix_ngram" else first
        gram = first if kind == "prefix_ngram" else rest[0][:ngram]
        at = next(at for at in range(len(string)) if string[at : at + ngram] == gram)
        follows = string[at + ngram :]
        assert answer == [*(follows if answer_length is None else follows[:answer_length]), END]
    assert string_accuracy(labels, labels) == (1, 1)


def test_rows_are_packed_to_one_length_and_the_cut_example_is_not_labelled():
    examples = [string_example("copy", seed=0, index=index) for index in range(60)]
    rows = list(pack(examples))
    assert all(len(row.ids) == len(row.labels) == PACKED_LENGTH for row in rows)
    for row in rows[:-1]:
        last = max(at for at, token in enumerate(row.ids) if token == BEGIN)
        complete = row.ids[last:].count(SEPARATOR) == 1 and row.ids[-1] == END
        assert complete or set(row.labels[last:]) == {IGNORE}
    assert rows[-1].ids[-1] == PAD or len(rows[-1].ids) == PACKED_LENGTH
    with pytest.raises(SuiteError, match="does not fit"):
        list(pack(examples, length=8))


def test_accuracies_count_labelled_positions_alone():
    assert string_accuracy([9, 1, 2, 9], [IGNORE, 1, 3, IGNORE]) == (0, 0.5)
    assert mqar_accuracy([1, 5, 2], [1, IGNORE, 3]) == 0.5


def test_strings_too_short_for_their_ngrams_are_refused():
    with pytest.raises(SuiteError, match="two n-grams"):
        string_example("suffix_ngram", seed=0, index=0, least=5, most=9, ngram=3)
    with pytest.raises(SuiteError, match="expected a kind"):
        string_example("paste", seed=0, index=0)
