"""Generated paragraphs in place of SQuAD's and HotpotQA's: one unique attribute each. Standard library only.

A document follows from its number. Every name in it is of four syllables and belongs to this document alone (the founder of a
pair to both of its documents), so an answer stands nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from longboard_tasks.suites.niah import pools


@dataclass(frozen=True, slots=True)
class Fact:
    texts: tuple[str, ...]
    question: str
    answer: str


_ONE_HOP = (  # (sentence with the attribute, question); {a} the subject, {b} the attribute
    ("Its lighthouse is kept by {b}, who lights the lamp at dusk.", "Who keeps the lighthouse of {a}?"),
    ("The village school was named after {b}, its first teacher.", "After whom was the village school of {a} named?"),
    ("The ferry that serves it is called the {b}.", "What is the name of the ferry that serves {a}?"),
    ("Every autumn its people hold a fair known as the {b}.", "What is the autumn fair of {a} called?"),
    ("A dialect called {b} is spoken in its older streets.", "Which dialect is spoken in the older streets of {a}?"),
    ("The bridge across its river was designed by {b}.", "Who designed the bridge across the river of {a}?"),
)
_TWO_HOP = (  # (what was founded, {a}; by {b})
    "The {a} Orchestra was founded by {b}, who paid the players in its first winter.",
    "The {a} Printing House was founded by {b}, who set the first pages by hand.",
    "The {a} Garden Society was founded by {b}, who gave it a plot and a well.",
    "The {a} Mountain Club was founded by {b}, who marked its first paths.",
)


def one_hop(number: int) -> Fact:
    """Document `number` of `qa_1`, with its question."""
    rng = Random(f"niah/qa_1/document@1:{number}")
    a, b = pools.name(2 * number), pools.name(2 * number + 1)
    sentence, question = rng.choice(_ONE_HOP)
    sentences = [sentence.format(b=b), *rng.sample(_remarks(rng), 3)]
    rng.shuffle(sentences)
    text = f"{a} is {_a(rng.choice(pools.ADJECTIVES))} town near {_a(rng.choice(pools.NOUNS))} market. " + " ".join(
        sentences
    )
    return Fact((text,), question.format(a=a), b)


def two_hop(number: int) -> Fact:
    """Documents 2 x `number` and 2 x `number` + 1 of `qa_2`: what was founded by whom, and where the founder was born."""
    rng = Random(f"niah/qa_2/document@1:{number}")
    a, b, c = (pools.name(3 * number + i) for i in range(3))
    founded = rng.choice(_TWO_HOP)
    kind = founded[len("The {a} ") : founded.index(" was founded")]
    first = f"{a} {kind}\n{founded.format(a=a, b=b)} " + " ".join(rng.sample(_remarks(rng), 2))
    second = (
        f"{b}\n{b} was born in the village of {c}, the child of {_a(rng.choice(pools.ADJECTIVES))} {rng.choice(pools.NOUNS)} "
        "seller. " + " ".join(rng.sample(_remarks(rng), 2))
    )
    return Fact((first, second), f"In which village was the founder of the {a} {kind} born?", c)


def document(task: str, number: int) -> str:
    return one_hop(number).texts[0] if task == "qa_1" else two_hop(number // 2).texts[number % 2]


def _remarks(rng: Random) -> list[str]:
    """Sentences without any name."""
    adjective, noun = rng.sample(pools.ADJECTIVES, 4), rng.sample(pools.NOUNS, 5)
    return [
        f"{_a(adjective[0]).capitalize()} {noun[0]} stands on the square, and children meet there after school.",
        f"Visitors remember {_a(adjective[1])} museum with {_a(noun[1])} behind glass.",
        f"In wet years the {noun[2]} harvest is late, and prices rise until spring.",
        f"{_a(adjective[2]).capitalize()} song about {_a(noun[3])} is often heard at weddings.",
        f"Old letters speak of {_a(adjective[3])} winter and of {_a(noun[4])} that was lost in it.",
    ]


def _a(word: str) -> str:
    """The word with its indefinite article, right for every word of our pools."""
    sounds_vowel = word[0] in "aeiou" and not word.startswith(("uni", "use", "ewe"))
    return f"an {word}" if sounds_vowel or word.startswith(("hones", "hour")) else f"a {word}"
