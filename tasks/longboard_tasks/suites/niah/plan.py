"""What `niah@1` asks: which fact, at which depth, for each sample. Standard library only.

A plan needs no tokenizer, so the platform derives every target by itself and re-scores uploaded answers.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from longboard_tasks.suites.niah import documents, pools

SUITE_VERSION = 1
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the haystack before the needle
NEEDLE = "The special magic number for {city} is: {number}."
QUESTION = (
    "\n\nWhat is the special magic number for {city} mentioned in the provided text? "
    "The special magic number for {city} is:"
)
# The zoo never trains on these names, nor on this wording.
CITIES = (
    "Amsterdam", "Athens", "Bangkok", "Berlin", "Bogota", "Brussels", "Budapest", "Cairo", "Chicago", "Copenhagen",
    "Dakar", "Dublin", "Geneva", "Hanoi", "Havana", "Helsinki", "Istanbul", "Jakarta", "Lagos", "Lima", "Lisbon",
    "London", "Madrid", "Manila", "Melbourne", "Mexico City", "Montreal", "Nairobi", "Oslo", "Paris", "Prague",
    "Quito", "Rome", "Santiago", "Seoul", "Singapore", "Stockholm", "Sydney", "Tokyo", "Toronto", "Vienna", "Warsaw",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NeedlePlan:
    index: int
    depth: float
    city: str
    number: str  # 7 digits, the first one not 0

    @property
    def target(self) -> str:
        return self.number

    @property
    def needle(self) -> str:
        return NEEDLE.format(city=self.city, number=self.number)

    @property
    def question(self) -> str:
        return QUESTION.format(city=self.city)


def plan_single(*, context_length: int, seed: int, index: int) -> NeedlePlan:
    """Sample `index` of `niah@1/single`: depths take turns, fact and number follow from the seed string."""
    rng = random.Random(f"niah/single@{SUITE_VERSION}:{context_length}:{seed}:{index}")
    return NeedlePlan(
        index=index,
        depth=DEPTHS[index % len(DEPTHS)],
        city=rng.choice(CITIES),
        number=f"{rng.randrange(10**6, 10**7)}",
    )


# --- the other tasks: what is asked, drawn without a tokenizer -----------------------------------------------------------

TASKS = (
    "single",
    "niah_single_1", "niah_single_2", "niah_single_3",
    "niah_multikey_1", "niah_multikey_2", "niah_multikey_3",
    "niah_multivalue", "niah_multiquery",
    "vt", "cwe", "fwe", "qa_1", "qa_2",
    "grid", "passkey", "streamed",
)  # fmt: skip
RULER_DEPTHS = tuple(round(100 * step / 39) for step in range(40))  # percent of the sentences
GRID_DEPTHS = tuple(step / 10 for step in range(11))
PASSKEY_DEPTHS = tuple(step / 9 for step in range(10))
STREAM_DEPTHS = tuple(step / 8 for step in range(9))
STREAM_LEAST = 1_024  # tokens: the shortest reporting length; a needle ends at an eighth of it
HOPS = 4
LISTED, FREQUENT = 10, 3  # answers of `cwe` and of `fwe`
LONG_LIST_FROM = 4_096  # tokens: shorter contexts have the short lists of `cwe`
CORPUS = 1_024  # generated documents that questions are about


@dataclass(frozen=True, slots=True)
class Expected:
    """What a right answer holds. Several references: `target` is a JSON list of strings.

    depth: share of the haystack before the asked fact; to the nearest quarter where the task draws it at random; None where
    several facts are asked for.
    """

    target: str
    depth: float | None


@dataclass(frozen=True, slots=True)
class Knobs:
    """RULER's settings of a needle task (its synthetic.yaml)."""

    haystack: Literal["noise", "prose", "needles"]
    key: str
    value: str
    keys: int = 1
    values: int = 1
    queries: int = 1


KNOBS = {
    "niah_single_1": Knobs("noise", "words", "numbers"),
    "niah_single_2": Knobs("prose", "words", "numbers"),
    "niah_single_3": Knobs("prose", "words", "uuids"),
    "niah_multikey_1": Knobs("prose", "words", "numbers", keys=4),
    "niah_multikey_2": Knobs("needles", "words", "numbers"),
    "niah_multikey_3": Knobs("needles", "uuids", "uuids"),
    "niah_multivalue": Knobs("prose", "words", "numbers", values=4),
    "niah_multiquery": Knobs("prose", "words", "numbers", keys=4, queries=4),
}


@dataclass(frozen=True, slots=True)
class NeedlesPlan:
    needles: tuple[tuple[str, str], ...]  # (key, value) in the order in which they stand in the context
    depths: tuple[int, ...]  # prose: percent of the sentences before each of them
    share: float  # lines: share of the lines before the needle, in [0, 1)
    queries: tuple[str, ...]
    answers: tuple[str, ...]
    depth: float | None


@dataclass(frozen=True, slots=True)
class ChainPlan:
    value: str
    variables: tuple[str, ...]  # the answers: each is assigned the one before it
    example_value: str
    example_variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListPlan:
    common: tuple[str, ...]
    example: tuple[str, ...]  # the first LISTED of them are the example's common ones
    others: tuple[str, ...]  # the rest of the pool, in the order in which a longer list takes it
    repeats: tuple[int, int]  # of a common and of any other word
    example_repeats: tuple[int, int]


@dataclass(frozen=True, slots=True)
class FactPlan:
    """`grid` and `streamed`: one sentence, three keywords."""

    place: str
    keywords: tuple[str, str, str]
    depth: float


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """`streamed`: which of the trunk's needles is asked. `ends` are planned places: a needle ends `reserve` tokens before one."""

    trunk: int
    end: int
    fact: FactPlan


@dataclass(frozen=True, slots=True)
class QuestionPlan:
    gold: tuple[int, ...]  # numbers of the documents that hold the answer
    share: float  # share of the documents before the (first) one
    second_share: float
    question: str
    answer: str


def draw(task: str, *, context_length: int, seed: int, index: int, part: str = "") -> random.Random:
    """The only source of chance: a string that names the version and every setting. `part`: placements, fillers."""
    return random.Random(f"niah/{task}@{SUITE_VERSION}:{context_length}:{seed}:{index}{part and ':' + part}")


def expected(task: str, *, context_length: int, seed: int, index: int) -> Expected:
    """Target and depth of a sample. Raises UnknownTask for a task that the suite does not have."""
    ask = {"context_length": context_length, "seed": seed, "index": index}
    if task == "single":
        single = plan_single(**ask)
        return Expected(single.target, single.depth)
    if task in KNOBS:
        needles = plan_needles(task, **ask)
        return Expected(join(needles.answers), needles.depth)
    if task == "vt":
        return Expected(join(plan_chain(**ask).variables), None)
    if task == "cwe":
        return Expected(join(plan_list(**ask).common), None)
    if task == "fwe":
        return Expected(join(plan_vocabulary(**ask)[1 : 1 + FREQUENT]), None)
    if task in ("qa_1", "qa_2"):
        question = plan_question(task, **ask)
        return Expected(question.answer, nearest_quarter(question.share) if task == "qa_1" else None)
    if task == "grid":
        fact = plan_grid(**ask)
        return Expected(join(fact.keywords), fact.depth)
    if task == "passkey":
        key, depth = plan_passkey(**ask)
        return Expected(key, depth)
    if task == "streamed":
        fact = plan_streamed(**ask).fact
        return Expected(join(fact.keywords), fact.depth)
    raise UnknownTask(f'niah@{SUITE_VERSION} has no task "{task}". It has: {", ".join(TASKS)}.')


class UnknownTask(LookupError):
    """A task that niah@1 does not have; the message lists what it has."""


def join(references: Sequence[str]) -> str:
    return references[0] if len(references) == 1 else json.dumps(list(references))


def nearest_quarter(share: float) -> float:
    return round(4 * share) / 4


def plan_needles(task: str, *, context_length: int, seed: int, index: int) -> NeedlesPlan:
    """RULER's needles. We differ: keys and values of a sample are distinct, and the needles' order is drawn for each sample."""
    knobs, rng = KNOBS[task], draw(task, context_length=context_length, seed=seed, index=index)
    keys = pools.draw_distinct(rng, knobs.key, knobs.keys)
    values = pools.draw_distinct(rng, knobs.value, knobs.keys * knobs.values)
    of_key = {key: values[i * knobs.values : (i + 1) * knobs.values] for i, key in enumerate(keys)}
    needles = [(key, value) for key in keys for value in of_key[key]]
    rng.shuffle(needles)
    queries = rng.sample(keys, knobs.queries)
    answers = [value for key in queries for value in of_key[key]]
    depths, share = tuple(sorted(rng.sample(RULER_DEPTHS, len(needles)))), rng.random()
    depth = None
    if len(answers) == 1:
        at = [value for _, value in needles].index(answers[0])
        depth = nearest_quarter(depths[at] / 100 if knobs.haystack == "prose" else share)
    return NeedlesPlan(tuple(needles), depths, share, tuple(queries), tuple(answers), depth)


def plan_chain(*, context_length: int, seed: int, index: int) -> ChainPlan:
    rng = draw("vt", context_length=context_length, seed=seed, index=index)
    value, example_value = (str(number) for number in rng.sample(range(10_000, 99_999), 2))
    return ChainPlan(
        value, _letters(rng, 5, HOPS + 1, upper=True), example_value, _letters(rng, 3, HOPS + 1, upper=True)
    )


def plan_list(*, context_length: int, seed: int, index: int) -> ListPlan:
    """RULER's knobs of `cwe`. We differ: the example's words are not in the list."""
    rng = draw("cwe", context_length=context_length, seed=seed, index=index)
    words = rng.sample(pools.list_words(), len(pools.list_words()))
    is_long = context_length >= LONG_LIST_FROM
    border = LISTED + (40 if is_long else 20)
    return ListPlan(
        common=tuple(words[:LISTED]),
        example=tuple(words[LISTED:border]),
        others=tuple(words[border:]),
        repeats=(30, 3) if is_long else (6, 1),
        example_repeats=(10, 3) if is_long else (3, 1),
    )


def plan_vocabulary(*, context_length: int, seed: int, index: int) -> tuple[str, ...]:
    """`fwe`: the coded words by rank, most frequent first; rank 0 is noise. Ten at least."""
    rng = draw("fwe", context_length=context_length, seed=seed, index=index)
    words = _letters(rng, 6, max(10, (context_length - 50) // 50), upper=False)
    return ("...", *words[1:])


def plan_question(task: str, *, context_length: int, seed: int, index: int) -> QuestionPlan:
    rng = draw(task, context_length=context_length, seed=seed, index=index)
    shares = rng.random(), rng.random()
    if task == "qa_1":
        number = rng.randrange(CORPUS)
        fact = documents.one_hop(number)
        return QuestionPlan((number,), *shares, fact.question, fact.answer)
    number = rng.randrange(CORPUS // 2)
    pair = documents.two_hop(number)
    return QuestionPlan((2 * number, 2 * number + 1), *shares, pair.question, pair.answer)


def plan_grid(*, context_length: int, seed: int, index: int) -> FactPlan:
    """Depths take turns in an order that covers the range early: 0, 40, 80, 10, 50, 90, 20, 60, 100, 30, 70 percent."""
    rng = draw("grid", context_length=context_length, seed=seed, index=index)
    return _draw_fact(rng, rng.choice(pools.PLACES), GRID_DEPTHS[4 * index % 11])


def plan_passkey(*, context_length: int, seed: int, index: int) -> tuple[str, float]:
    """(7 digits, a leading zero is possible; depth). Depths in the order 0, 3, 6, 9, 2, 5, 8, 1, 4, 7 ninths."""
    rng = draw("passkey", context_length=context_length, seed=seed, index=index)
    return f"{rng.randrange(10**7):07d}", PASSKEY_DEPTHS[3 * index % 10]


def plan_streamed(*, context_length: int, seed: int, index: int) -> StreamPlan:
    """Nine samples share a trunk, one for each depth: sample `index` asks for the last needle that is planned to end there."""
    trunk, turn = divmod(index, len(STREAM_DEPTHS))
    depth = STREAM_DEPTHS[4 * turn % 9]
    end = stream_end(int(depth * context_length))
    return StreamPlan(trunk, end, stream_fact(seed=seed, trunk=trunk, end=end, depth=depth))


def stream_end(place: int) -> int:
    """The last planned end at or before `place`: 0 (the trunk's start), 128, 256, then evenly in each octave (P/2, P].

    So each power of two from STREAM_LEAST on has an end at each eighth of it, and the eighths of any length have nine ends.
    """
    if place < STREAM_LEAST // 4:
        return place // (STREAM_LEAST // 8) * (STREAM_LEAST // 8)
    octave = 1 << (place - 1).bit_length()
    return place // stream_spacing(octave) * stream_spacing(octave)


def stream_ends(context_length: int) -> list[int]:
    """All planned ends up to `context_length`, rising."""
    ends, octave = [0, STREAM_LEAST // 8, STREAM_LEAST // 4], STREAM_LEAST // 2
    while octave // 2 < context_length:
        ends += range(octave // 2 + stream_spacing(octave), octave + 1, stream_spacing(octave))
        octave *= 2
    return [end for end in ends if end <= context_length]


def stream_spacing(octave: int) -> int:
    """Four needles up to STREAM_LEAST, where they would crowd, eight in later octaves."""
    return octave // (8 if octave <= STREAM_LEAST else 16)


def stream_fact(*, seed: int, trunk: int, end: int, depth: float = 0.0) -> FactPlan:
    """A trunk's needle follows from its planned end alone, whatever length is reported. Each has a place name of its own."""
    order = random.Random(f"niah/streamed@{SUITE_VERSION}:{seed}:{trunk}").sample(pools.PLACES, len(pools.PLACES))
    place = order[len(stream_ends(end)) - 1]
    return _draw_fact(random.Random(f"niah/streamed@{SUITE_VERSION}:{seed}:{trunk}:{end}"), place, depth)


def _draw_fact(rng: random.Random, place: str, depth: float) -> FactPlan:
    keywords = rng.choice(pools.ACTIVITIES), rng.choice(pools.FOODS), rng.choice(pools.VENUES)
    return FactPlan(place, keywords, depth)


def _letters(rng: random.Random, length: int, count: int, *, upper: bool) -> tuple[str, ...]:
    """Distinct random strings of one length: none is inside another."""
    alphabet = string.ascii_uppercase if upper else string.ascii_lowercase
    drawn = dict[str, None]()
    while len(drawn) < count:
        drawn["".join(rng.choices(alphabet, k=length))] = None
    return tuple(drawn)
