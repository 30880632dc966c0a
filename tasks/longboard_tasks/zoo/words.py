"""The words that training facts are made of: drawn from the training prose, put together from syllables, or listed here.

None of them is a word that a suite plants or asks for (`HELD_OUT`); tests/zoo/test_data.py holds the facts to that.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable

from longboard_tasks.suites.babilong import relations, vocabulary
from longboard_tasks.suites.niah import pools
from longboard_tasks.suites.niah.plan import CITIES
from longboard_tasks.suites.recall import names
from longboard_tasks.zoo.prose import CITY

PHRASES = ("{noun}", "{adj} {noun}", "{adj} {noun}", "{adj} {adj2} {noun}", "{adj} {other} {noun}")
NOUNS = (
    "number", "code", "count", "price", "weight", "total", "figure", "value", "sum", "amount", "serial number", "account",
    "password", "address", "distance", "population", "budget", "index", "key", "reading", "record", "lot number",
    "telephone number", "ticket", "balance", "identifier", "reference", "score", "combination", "quota", "magnitude",
)  # fmt: skip
ONSETS = (
    "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "qu", "r", "s", "t", "v", "w", "z", "br", "ch",
    "cl", "cr", "dr", "fl", "gr", "kr", "pl", "pr", "sh", "sl", "st", "th", "tr", "bl", "gl", "vl",
)  # fmt: skip
VOWELS = ("a", "a", "e", "e", "i", "i", "o", "o", "u", "ai", "ea", "ie", "oo", "ou", "y")
CODAS = ("", "", "", "n", "r", "l", "s", "t", "m", "k", "d", "ng", "nd", "rt", "st", "x", "th", "ck")
TOWNS = ("Port", "New", "Fort", "Saint", "Lake", "North", "Upper", "Old", "Mount", "East")
ENDINGS = ("City", "Hill", "Bay", "Falls", "Grove", "Station", "Bridge", "House")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def held_out() -> frozenset[str]:
    """Every word, in lower case, that the suites put into a fact: keys, cities, people, rooms, things, colours, names."""
    lists: Iterable[Iterable[str]] = (
        *(CITIES, pools.ADJECTIVES, pools.NOUNS, pools.ACTIVITIES, pools.FOODS, pools.VENUES, pools.PLACES),
        *(vocabulary.PEOPLE, vocabulary.GIVERS, vocabulary.GUESSED, vocabulary.MOODY),
        *(vocabulary.ROOMS, vocabulary.TOWN, vocabulary.OBJECTS),
        *(vocabulary.MOODS, (thing for _, thing in vocabulary.MOODS.values()), names.GIVEN, names.SURNAMES),
        *(relations.SHAPES, relations.KINDS, relations.KINDS.values(), relations.AFRAID, relations.ANIMALS),
        *(relations.COLOURS, relations.NAMED, relations.BOXES),
        ("special", "magic", "grass", "green", "sky", "blue", "sun", "yellow"),
        # Of the solved examples in the prompts of babilong.
        ("charlie", "judith", "alan", "rouse", "balcony", "garage", "beach", "shop", "bottle", "screw", "driver"),
    )
    return frozenset(word.lower() for words in lists for entry in words for word in re.findall(r"[A-Za-z]+", entry))


HELD_OUT = held_out()


class Words:
    """Names, phrases and keys at random. Same `rng`, same words."""

    def __init__(self, texts: list[str]) -> None:
        counts = Counter(re.findall(r"[A-Za-z]{3,10}", " ".join(texts)))
        common = [word for word, count in counts.items() if count >= 5 and word.lower() not in HELD_OUT]
        self.common = [word for word in common if word.islower()]
        self.known_names = [word for word in common if word.istitle() and word.lower() not in counts]
        self.kinds = (self.made_up, self.two_words, self.known, self.letters, self.joined)

    def phrase(self, rng: random.Random) -> str:
        adjective, second, other = rng.choices(self.common, k=3)
        return rng.choice(PHRASES).format(adj=adjective, adj2=second, other=other, noun=rng.choice(NOUNS))

    def keys(self, rng: random.Random, count: int) -> list[str]:
        """Different names, all of one kind or of any; none of them a word that a suite asks for."""
        kind = rng.choice((self.made_up, self.made_up, self.joined, self.two_words, self.known, self.letters, self.any))
        return self.different(rng, kind, count)

    def people(self, rng: random.Random, count: int) -> list[str]:
        return self.different(rng, rng.choice((self.made_up, self.made_up, self.name)), count)

    def different(self, rng: random.Random, kind: Callable[[random.Random], str], count: int) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < count:
            key = kind(rng)
            if not CITY.search(key) and key.lower() not in HELD_OUT:
                found[key] = None
        return list(found)

    def any(self, rng: random.Random) -> str:
        return rng.choice(self.kinds)(rng)

    def made_up(self, rng: random.Random) -> str:
        syllables = (rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))
        name = "".join(syllables)
        return (name[1:] if rng.random() < 0.2 and len(name) > 4 else name).capitalize()

    def two_words(self, rng: random.Random) -> str:
        if rng.random() < 0.5:
            return f"{rng.choice(TOWNS)} {self.made_up(rng)}"
        return f"{rng.choice((self.made_up(rng), self.name(rng)))} {rng.choice(ENDINGS)}"

    def name(self, rng: random.Random) -> str:
        return rng.choice(self.known_names)

    def known(self, rng: random.Random) -> str:
        return rng.choice(self.known_names if rng.random() < 0.5 else self.common)

    def word(self, rng: random.Random) -> str:
        return rng.choice(self.common)

    def joined(self, rng: random.Random) -> str:
        return f"{self.word(rng)}-{self.word(rng)}"

    def letters(self, rng: random.Random) -> str:
        letters = LETTERS if rng.random() < 0.5 else LETTERS.upper()
        return "".join(rng.choices(letters, k=rng.randint(2, 7)))

    def full_name(self, rng: random.Random) -> str:
        return f"{rng.choice((self.made_up, self.name))(rng)} {self.made_up(rng)}"

    def value(self, rng: random.Random) -> str:
        """Mostly 7 digits; else fewer or more, groups of hexadecimal digits, or a word."""
        kind = rng.random()
        if kind < 0.85:
            return "".join(rng.choices("0123456789", k=7 if kind < 0.6 else rng.randint(2, 10)))
        if kind < 0.95:
            groups = rng.choice(((8, 4, 4, 4, 12), (8,), (4, 4), (6, 6)))
            return "-".join("".join(rng.choices("0123456789abcdef", k=size)) for size in groups)
        return self.word(rng)
