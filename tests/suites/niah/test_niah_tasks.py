"""Every task of niah@1: as long as it may be, its facts where the plan says, and an answer that stands nowhere else."""

import json
import re
from collections import Counter
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer
from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.suites.niah import documents, plan, pools
from longboard_tasks.suites.niah.grid import KEY, say
from longboard_tasks.suites.niah.layout import prose
from longboard_tasks.suites.niah.needles import NEEDLE, NOISE
from longboard_tasks.suites.niah.suite import TASKS, least_length, make_sample, new_tokens, score
from longboard_tasks.suites.niah.words import FEWEST, count_words
from longboard_tasks.suites.segments import frame

EXACT = {
    "single", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multivalue", "niah_multiquery",
    "grid", "passkey", "streamed",
}  # fmt: skip
# The others end with a whole unit: the largest one in bytes, and for word lists what one more word adds.
LARGEST_UNIT = {
    "niah_single_1": len(NOISE) + 1, "niah_multikey_2": 90, "niah_multikey_3": 130, "vt": len(NOISE) + 1, "cwe": 3 * 17,
    "fwe": 8 * 7, "qa_1": 600, "qa_2": 600,
}  # fmt: skip
PROSE_TASKS = sorted(task for task, knobs in plan.KNOBS.items() if knobs.haystack == "prose")
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds, indexes = st.integers(0, 2**31), st.integers(0, 500)


@cache
def tokenizer():
    return build_byte_tokenizer()


@cache
def least(task):
    return least_length(task, tokenizer())


def make(task, length=8_192, seed=0, index=0, by=None):
    return make_sample(task=task, context_length=length, seed=seed, index=index, tokenizer=by or tokenizer())


def text_of(sample, start=0, stop=None):
    return bytes(token for token in sample.ids[start:stop] if token < 256).decode(
        "latin-1"
    )  # a cut may be inside a letter


def references(sample):
    return json.loads(sample.target) if sample.target.startswith("[") else [sample.target]


def test_the_task_names_are_those_of_the_plan_and_slugs():
    assert TASKS == plan.TASKS
    assert len(set(TASKS)) == 17
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", task) for task in TASKS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(TASKS), st.floats(0, 1), seeds, indexes, st.booleans())
def test_a_prompt_never_exceeds_its_length_and_leaves_less_than_one_unit(chat, task, share, seed, index, is_chat):
    low = least(task) + 40  # the chat template's tokens
    length = int(low + share * (11_000 - low))
    if task == "cwe" and 4_096 <= length < 8_192:
        length = 8_192  # by bytes the long lists do not fit 4,096
    sample = make(task, length, seed, index, chat if is_chat else None)
    assert len(sample.ids) <= length
    assert 0 < sample.context < len(sample.ids)
    assert length - len(sample.ids) < (1 if task in EXACT else LARGEST_UNIT[task])
    assert sample.new_tokens == new_tokens(task)
    text = text_of(sample)
    assert all(reference in text for reference in references(sample))
    told = plan.expected(task, context_length=length, seed=seed, index=index)
    assert (told.target, told.depth) == (sample.target, sample.depth)
    assert sample == make(task, length, seed, index, chat if is_chat else None)


@few
@given(st.sampled_from(PROSE_TASKS), st.integers(800, 9_000), seeds, indexes)
def test_needles_in_prose_stand_before_the_planned_sentences_and_the_prose_is_whole(task, length, seed, index):
    sample = make(task, length, seed, index)
    made = plan.plan_needles(task, context_length=length, seed=seed, index=index)
    kind = plan.KNOBS[task].value
    texts = [f" {NEEDLE.format(kind=kind, key=key, value=value)}" for key, value in made.needles]
    body = text_of(sample, 0, sample.context).partition("afterwards.\n")[2]
    bare, places = body.encode("latin-1"), []
    for text in texts:
        assert body.count(text) == 1
    for text in reversed(texts):  # the last one first: places before it do not move
        places.insert(0, bare.index(text.encode()))
        bare = bare.replace(text.encode(), b"")
    places = [place - sum(len(text.encode()) for text in texts[:i]) for i, place in enumerate(places)]
    haystack = prose(tokenizer())
    assert list(bare) == haystack.take(len(bare))
    count = haystack.count_sentences(len(bare))
    assert places == [haystack.start(count * depth // 100, len(bare)) for depth in made.depths]


@few
@given(
    st.sampled_from(["niah_single_1", "niah_multikey_2", "niah_multikey_3"]), st.integers(700, 9_000), seeds, indexes
)
def test_a_needle_among_lines_stands_at_its_share_of_them_and_no_other_line_has_its_key_or_value(
    task, length, seed, index
):
    sample = make(task, length, seed, index)
    made = plan.plan_needles(task, context_length=length, seed=seed, index=index)
    ((key, value),) = made.needles
    lines = text_of(sample, 0, sample.context).splitlines()[1:]
    needle = NEEDLE.format(kind=plan.KNOBS[task].value, key=key, value=value)
    assert lines.index(needle) == int(made.share * (len(lines) - 1))
    others = [line for line in lines if line != needle]
    assert len(others) == len(lines) - 1
    assert not any(key in line or value in line for line in others)
    if task == "niah_single_1":
        assert set(others) == {NOISE}
    else:
        assert all(re.fullmatch(r"One of the special magic \w+ for \S+ is: \S+\.", line) for line in others)


def test_the_singular_is_asked_with_one_answer_and_the_plural_with_several():
    one, several = text_of(make("niah_multikey_1")), text_of(make("niah_multiquery"))
    assert one.startswith("A special magic number is hidden within the following text. Make sure to memorize it.")
    assert re.search(
        r"What is the special magic number for \S+ mentioned in the provided text\? The special magic number ", one
    )
    assert one.endswith(" mentioned in the provided text is")
    assert several.startswith("Some special magic numbers are hidden")
    asked = re.search(r"What are all the special magic numbers for (\S+), (\S+), (\S+), and (\S+) mentioned", several)
    planted = dict(re.findall(r"One of the special magic numbers for (\S+) is: (\d{7})\.", several))
    assert [planted[key] for key in asked.groups()] == json.loads(make("niah_multiquery").target)


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


@few
@given(st.sampled_from(["qa_1", "qa_2"]), st.integers(1_300, 20_000), seeds, indexes)
def test_the_answer_stands_in_its_own_document_alone_and_the_documents_are_numbered(task, length, seed, index):
    sample = make(task, length, seed, index)
    text = text_of(sample, 0, sample.context)
    assert text.count(sample.target) == 1
    made = plan.plan_question(task, context_length=length, seed=seed, index=index)
    parts = re.split(
        r"Document (\d+):\n", text.partition("given documents.\n\n")[2].partition("documents.\n\n")[2] or text
    )
    numbers = [int(number) for number in re.findall(r"^Document (\d+):$", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert parts
    for number in made.gold:
        assert text.count(documents.document(task, number)) == 1
    if task == "qa_1":
        before = text[: text.index(documents.document(task, made.gold[0]))]
        assert before.count("Document ") - 1 == int(made.share * len(numbers))
    else:  # what links the two documents stands in these two alone
        founder = re.search(r"was founded by (\w+),", documents.document(task, made.gold[0]))[1]
        assert all(founder in document for document in map(documents.document, [task] * 2, made.gold))
        assert text.count(f"{founder} was born in the village of {sample.target},") == 1


@pytest.mark.parametrize("task", ["qa_1", "qa_2"])
def test_generated_documents_are_distinct_and_names_belong_to_one_fact(task):
    texts = [documents.document(task, number) for number in range(2_000)]
    assert len(set(texts)) == 2_000
    facts = [documents.one_hop(n) if task == "qa_1" else documents.two_hop(n) for n in range(1_000)]
    assert len({fact.answer for fact in facts}) == len({fact.question for fact in facts}) == 1_000
    assert len({pools.name(serial) for serial in range(100_000)}) == 100_000


@few
@given(st.integers(400, 9_000), seeds, indexes)
def test_the_grids_sentence_stands_just_after_a_full_stop_at_its_depth(length, seed, index):
    sample = make("grid", length, seed, index)
    fact = plan.plan_grid(context_length=length, seed=seed, index=index)
    body = bytes(sample.ids[: sample.context]).partition(b"a question.\n\n")[2]
    needle = say(fact).encode()
    assert body.count(needle) == 1
    place, room = body.index(needle), len(body) - len(needle)
    haystack = prose(tokenizer())
    asked = int(room * fact.depth)
    assert place == (room if fact.depth == 1 else haystack.start_before(asked))
    assert place == 0 or fact.depth == 1 or re.search(rb"[.!?][^\w\s]*$", body[:place])
    assert list(body.replace(needle, b"")) == haystack.take(room)


@few
@given(st.integers(300, 9_000), seeds, indexes)
def test_the_pass_key_is_said_twice_at_its_depth(length, seed, index):
    sample = make("passkey", length, seed, index)
    body = bytes(sample.ids[: sample.context]).partition(b"asked for.\n\n")[2]
    needle = KEY.format(key=sample.target).encode()
    assert body.count(sample.target.encode()) == 2
    assert body.index(needle) == int((len(body) - len(needle)) * sample.depth)


def test_first_samples_cover_the_depths():
    for task, depths in (
        ("grid", plan.GRID_DEPTHS),
        ("passkey", plan.PASSKEY_DEPTHS),
        ("streamed", plan.STREAM_DEPTHS),
    ):
        told = [plan.expected(task, context_length=4_096, seed=0, index=i).depth for i in range(len(depths))]
        assert sorted(told) == sorted(depths)
        assert max(told[:4]) - min(told[:4]) >= 0.5


def test_streamed_prompts_of_all_lengths_and_questions_share_one_trunk():
    samples = [make("streamed", length, 3, index) for length in (8_192, 16_384, 20_000) for index in range(9)]
    longest = max(samples, key=lambda sample: sample.context)
    for sample in samples:
        assert sample.ids[: sample.context] == longest.ids[: sample.context]
    assert len({sample.ids for sample in samples}) == len(samples)
    other = make("streamed", 8_192, 3, 9)
    assert other.ids[: other.context] != longest.ids[: other.context]


@few
@given(st.sampled_from([8_192, 16_384, 32_768]), seeds, st.integers(0, 40))
def test_a_streamed_question_is_about_a_needle_at_its_depth_and_each_place_has_one(length, seed, index):
    sample = make("streamed", length, seed, index)
    fact = plan.plan_streamed(context_length=length, seed=seed, index=index).fact
    text = bytes(sample.ids[: sample.context])
    needle = say(fact).encode()
    assert text.count(needle) == 1
    names = re.findall(rb"best thing to do in (\w+) is to", text)
    assert len(names) == len(set(names)) >= 12
    end = text.index(needle) + len(needle)
    longest_sentence = 1_600
    assert end <= fact.depth * length or fact.depth == 0
    assert end >= fact.depth * length - 350 - longest_sentence


def test_planned_ends_hold_every_eighth_of_every_power_of_two():
    for power in range(10, 25):
        ends = plan.stream_ends(2**power)
        assert ends == sorted(set(ends))
        assert {eighth * 2**power // 8 for eighth in range(9)} <= set(ends)
        assert all(plan.stream_end(end) == end for end in ends)
    assert len({plan.stream_fact(seed=0, trunk=0, end=end).place for end in plan.stream_ends(2**24)}) == len(ends)


def test_keywords_of_the_grid_stand_neither_in_the_prose_nor_inside_one_another():
    words = [*pools.ACTIVITIES, *pools.FOODS, *pools.VENUES]
    text = bytes(prose(tokenizer()).ids).decode().lower()
    assert not [word for word in words if word in text]
    assert not [(a, b) for a in words for b in words if a != b and a in b]


def test_no_list_word_is_inside_another_and_coined_words_are_distinct():
    words = pools.list_words()
    assert len(words) == len(set(words)) == 4_096
    parts = {
        word[i:j] for word in words for i in range(len(word)) for j in range(i + 4, len(word) + 1) if j - i < len(word)
    }
    assert not parts & set(words)


@pytest.mark.parametrize("task", TASKS)
def test_null_and_echo_score_nothing_the_oracle_everything_and_a_cut_context_at_most_its_first_needles(task):
    length, scores = 8_192, {"null": [], "question": [], "context": [], "possible": []}
    for index in range(22):
        sample = make(task, length, 5, index)
        told = references(sample)
        assert score(task, " ".join(told), sample.target) == 1
        assert score(task, f"\n{told[0]}.\t{', '.join(told)}", sample.target) == 1
        # An answer has at most new_tokens tokens: whoever echoes the context gets that far.
        head = text_of(sample, 0, sample.new_tokens)
        scores["null"].append(score(task, "", sample.target))
        scores["question"].append(score(task, text_of(sample, sample.context)[: sample.new_tokens], sample.target))
        scores["context"].append(score(task, head, sample.target))
        scores["possible"].append(sum(reference in head for reference in told) / len(told))
    assert sum(scores["null"]) == sum(scores["question"]) == 0
    assert scores["context"] == scores["possible"]
    # By bytes only `grid` and `passkey` have a needle that early, at depth 0: one depth of 11 and of 10.
    assert sum(scores["context"]) <= 3


@pytest.mark.parametrize("task", TASKS)
def test_too_short_says_the_least_length_and_that_one_works(task):
    with pytest.raises(SuiteError, match="Ask for at least") as caught:
        make(task, 60)
    told = int(re.search(r"at least (\d+)", str(caught.value))[1])
    assert told == least(task)
    assert all(len(make(task, told, seed, index).ids) <= told for seed in (0, 7) for index in range(12))


def test_long_word_lists_that_do_not_fit_say_where_they_would():
    with pytest.raises(SuiteError, match="Ask for at least") as caught:
        make("cwe", 4_096)
    told = int(re.search(r"at least (\d+)", str(caught.value))[1])
    assert told > 4_096
    assert all(len(make("cwe", told, 1, index).ids) <= told for index in range(10))


def test_an_unknown_task_is_refused_with_the_known_ones():
    for call in (lambda: make("niah"), lambda: new_tokens("niah"), lambda: least_length("niah", tokenizer())):
        with pytest.raises(SuiteError, match="It has: single, niah_single_1"):
            call()
    with pytest.raises(plan.UnknownTask, match="It has: single"):
        plan.expected("niah", context_length=1, seed=0, index=0)


def test_the_answers_start_belongs_to_the_assistants_turn(chat):
    for task in TASKS:
        sample = make(task, 8_192, by=chat)
        tail = text_of(sample, sample.context)
        assert tail.count("[assistant]") == 1, task
        assert sample.ids[0] == frame(chat).before[0] == 256


def test_half_a_million_tokens_repeat_the_prose_and_go_on_with_its_first_sentence():
    haystack = prose(tokenizer())
    size = len(haystack.ids)
    room = 2 * size + 1_000
    assert haystack.take(room)[size : size + 1_000] == haystack.take(1_000)
    assert haystack.count_sentences(room) == 2 * len(haystack.starts) + haystack.count_sentences(1_000)
    assert haystack.start(len(haystack.starts), room) == size
    assert haystack.start_before(size + 1) == size
    assert len(make("niah_multiquery", 1_400_000).ids) == 1_400_000


@given(st.integers(1_024, 2**24))
def test_the_eighths_of_any_length_have_nine_needles_of_their_own(length):
    ends = [plan.stream_end(int(depth * length)) for depth in plan.STREAM_DEPTHS]
    assert len(set(ends)) == 9
    assert all(0 <= depth * length - end <= length / 8 for depth, end in zip(plan.STREAM_DEPTHS, ends, strict=True))


def test_a_list_that_outgrows_the_pool_goes_on_with_coined_words():
    sample = make("cwe", 300_000)
    body = text_of(sample).split("Below is a numbered list")[2].split("\nQuestion")[0]
    counts = Counter(re.findall(r"\d+\. (\w+)", body))
    coined = set(counts) - set(pools.list_words())
    assert len(counts) > 4_096
    assert len(coined) > 1_000
    assert {word for word, count in counts.items() if count == 30} == set(json.loads(sample.target))
    assert not any(word in other for word in json.loads(sample.target) for other in coined)
