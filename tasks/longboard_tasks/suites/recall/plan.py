"""What `recall@1` asks: the answer of each sample, and where the context holds it. Standard library only.

A plan needs no tokenizer and no prose, so the platform derives every target by itself and re-scores uploaded answers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from longboard_tasks.suites.recall.names import COUNT, full_name

SUITE_VERSION = 1
TASKS: tuple[str, ...] = ("copy", "ngram_prefix", "ngram_suffix", "phone_book", "mqar")
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
COPIED = 20  # letters to copy: the longest string of the paper's training set
NGRAM = 8  # letters of the n-gram: among a million letters it is still alone
FOLLOWING = 10  # letters to give after the n-gram
PAIRS = (4, 8, 16, 32, 64, 128, 256)
QUERIES = 4  # keys that one mqar sample asks for
ALPHA = 0.01  # of the slot distribution; 1 is uniform


@dataclass(frozen=True, slots=True)
class Expected:
    target: str
    depth: float | None  # share of the string or book before the answer


@dataclass(frozen=True, slots=True)
class StringPlan:
    """`ngram` is empty for copy: there the string begins with the answer."""

    ngram: str
    answer: str
    depth: float | None


@dataclass(frozen=True, slots=True)
class PhonePlan:
    asked: tuple[int, str]  # number of the name, phone number
    examples: tuple[tuple[int, str], tuple[int, str]]
    depth: float


@dataclass(frozen=True, slots=True)
class PairsPlan:
    pairs: tuple[tuple[str, str], ...]
    queries: tuple[int, ...]  # which pairs are asked for, in order
    gap: float  # share of the filler between the pairs and the question, in [0, 1)


def expected(task: str, *, context_length: int, seed: int, index: int) -> Expected:
    """The target of sample `index`. Raises KeyError for a task that does not exist."""
    ask = {"context_length": context_length, "seed": seed, "index": index}
    if task == "phone_book":
        phone = plan_phone_book(**ask)
        return Expected(phone.asked[1], phone.depth)
    if task == "mqar":
        mqar = plan_pairs(**ask)
        return Expected(" ".join(mqar.pairs[query][1] for query in mqar.queries), None)
    string = plan_string(task, **ask)
    return Expected(string.answer, string.depth)


def stream(task: str, part: str, *, context_length: int, seed: int, index: int) -> random.Random:
    """Random numbers for one part of one sample: its seed string names the suite version and every setting."""
    return random.Random(f"recall/{task}@{SUITE_VERSION}:{part}:{context_length}:{seed}:{index}")


def plan_string(task: str, *, context_length: int, seed: int, index: int) -> StringPlan:
    """copy: the first letters of the string. ngram_*: an n-gram and what follows it, at depths in turn."""
    if task not in ("copy", "ngram_prefix", "ngram_suffix"):
        raise KeyError(task)
    rng = stream(task, "plan", context_length=context_length, seed=seed, index=index)
    if task == "copy":
        return StringPlan("", draw_letters(rng, COPIED), None)
    return StringPlan(draw_letters(rng, NGRAM), draw_letters(rng, FOLLOWING), DEPTHS[index % len(DEPTHS)])


def draw_letters(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(LETTERS, k=count))


def plan_phone_book(*, context_length: int, seed: int, index: int) -> PhonePlan:
    """Who is asked for, and the two entries that are shown once more as examples."""
    rng = stream("phone_book", "plan", context_length=context_length, seed=seed, index=index)
    asked, one, two = ((name, draw_phone(rng)) for name in rng.sample(range(COUNT), 3))
    return PhonePlan(asked, (one, two), DEPTHS[index % len(DEPTHS)])


def draw_phone(rng: random.Random) -> str:
    """Ten digits, the first one 6 to 9."""
    return f"{rng.randrange(6, 10)}{rng.randrange(10**9):09d}"


def entry(person: tuple[int, str]) -> str:
    """One line of the book, without its end."""
    return f"{full_name(person[0])}: {person[1]}"


def plan_pairs(*, context_length: int, seed: int, index: int) -> PairsPlan:
    """Distinct keys and values; how far back they lie follows the paper's slot distribution.

    The number of pairs takes turns among those for which the context has 16 tokens a pair beside 256, as the paper's settings
    have 16 positions a pair.
    """
    rng = stream("mqar", "plan", context_length=context_length, seed=seed, index=index)
    counts = [count for count in PAIRS if 16 * count <= context_length - 256] or PAIRS[:1]
    count = counts[index % len(counts)]
    keys = [_letters(number) for number in rng.sample(range(26**4), count)]
    values = [str(number) for number in rng.sample(range(1_000, 10_000), count)]
    slots = max(1, (context_length - 2 * count) // 2)
    slot = rng.choices(range(slots), weights=slot_weights(slots, ALPHA))[0]
    return PairsPlan(tuple(zip(keys, values, strict=True)), tuple(rng.sample(range(count), QUERIES)), slot / slots)


def slot_weights(slots: int, alpha: float) -> list[float]:
    """Of slots 1 to S: alpha * j^(alpha - 1), the paper's power law, not normalised."""
    return [alpha * j ** (alpha - 1) for j in range(1, slots + 1)]


def _letters(number: int) -> str:
    """A number as four letters."""
    return "".join(LETTERS[number // 26**place % 26] for place in (3, 2, 1, 0))
