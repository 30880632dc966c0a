"""Stories of people who go about, carry and give things, hidden sentence by sentence in prose; questions about where all ended.

The shapes are those of bAbI (Weston et al. 2015, arXiv:1502.05698); people, places, things and verbs are others.
"""

from __future__ import annotations

import random
from itertools import pairwise

from longboard_tasks.zoo.background import Background
from longboard_tasks.zoo.stretch import Stretch

PLACES = (
    "harbour", "courtyard", "cellar", "factory", "hospital", "prison", "theatre", "laundry", "pantry", "veranda", "studio",
    "lobby", "basement", "dock", "farm", "inn", "arena", "abbey", "academy", "bank", "barracks", "clinic", "college", "court",
    "embassy", "foundry", "gallery", "hangar", "hostel", "jetty", "lounge", "nursery", "parlour", "refinery", "stairwell",
    "subway", "vineyard", "warehouse", "depot", "storeroom", "crypt", "dining room",
)  # fmt: skip
THINGS = (
    "letter", "coin", "knife", "hat", "briefcase", "comb", "crate", "handbag", "hose", "jumper", "nail", "newspaper", "pen",
    "phone", "pipe", "purse", "razor", "sack", "soap", "spade", "stamp", "stick", "sword", "towel", "tube", "wallet", "watch",
    "whip", "wire", "wrench", "vest", "tray", "sponge",
)  # fmt: skip
MOVES = (
    "walked to", "ran to", "hurried to", "drove to", "returned to", "strolled to", "rode to", "headed to", "marched to",
    "came back to", "entered", "is now in", "wandered to", "rushed to", "crossed over to",
)  # fmt: skip
GETS = ("seized", "collected", "lifted", "caught", "fetched", "gathered", "pocketed", "received")
DROPS = ("let go of", "laid down", "released", "abandoned", "set down", "threw away")
GIVES = ("lent", "offered", "delivered", "sent", "presented", "brought")
WAYS = {
    "over": "under",
    "under": "over",
    "ahead": "behind",
    "behind": "ahead",
    "inland": "seaward",
    "seaward": "inland",
}
OPENINGS = (
    "", "", "Some sentences below tell of people and things. Answer the question at the end.\n\n",
    "In the pages that follow there is a hidden story; only its sentences count. What was said last is true.\n\n",
)  # fmt: skip
ENDS = ("\n\n{question}", "\n\nQ. {question}", "\n\nNow say: {question}", "\n\n[end]\n\nAsked: {question}")


def hidden_stories(background: Background, rng: random.Random, length: int) -> Stretch:
    """A story in prose with one question at the end; sometimes solved examples before it."""
    tell = rng.choice((where_people, where_people, where_people, where_things, is_there, who_gave, beside, where_pairs))
    opening = rng.choice(OPENINGS)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        facts, question, answer = tell(background, rng, rng.randint(2, 4))
        opening += f"[case] {' '.join(facts)} {question}\n{rng.choice(('It is: ', 'Reply: ', ''))}{answer}.\n"
    most = max(2, min(60, (length - 60) // 24))
    facts, question, answer = tell(background, rng, rng.randint(2, rng.choice((6, 12, most)) if most > 6 else most))
    ask = background.ask(rng.choice(ENDS).format(question=question), answer, end=".")
    pieces = [(-1.0, Stretch().add(background.encode(opening) if opening else []))]
    places = sorted(rng.random() for _ in facts)
    pieces += [(at, Stretch().add(background.encode(f" {fact}"))) for at, fact in zip(places, facts, strict=True)]
    pieces.append((2.0, ask))
    used = sum(len(piece) for _, piece in pieces)
    if used > length:
        return hidden_stories(background, rng, length) if length > 120 else Stretch()
    return background.spread(rng, length - used, pieces, by_sentence=True)


Told = tuple[list[str], str, str]  # facts, question, answer


def _cast(background: Background, rng: random.Random) -> tuple[list[str], list[str]]:
    """People and places: places from the list, or any words."""
    count = rng.randint(3, 8)
    places = (
        rng.sample(PLACES, count)
        if rng.random() < 0.6
        else background.words.different(rng, background.words.word, count)
    )
    return background.words.people(rng, rng.randint(2, 6)), places


def where_people(background: Background, rng: random.Random, most: int) -> Told:
    people, places = _cast(background, rng)
    at: dict[str, str] = {}
    facts = []
    for _ in range(most):
        person = rng.choice(people)
        at[person] = rng.choice([place for place in places if place != at.get(person)])
        facts.append(f"{person} {rng.choice(MOVES)} the {at[person]}.")
    person = rng.choice(list(at))
    return facts, f"Where is {person}?", at[person]


def where_pairs(background: Background, rng: random.Random, most: int) -> Told:
    people, places = _cast(background, rng)
    at: dict[str, str] = {}
    facts = []
    for _ in range(most):
        one, two = rng.sample(people, 2)
        at[one] = at[two] = rng.choice(places)
        facts.append(f"{one} and {two} {rng.choice(MOVES)} the {at[one]}.")
    person = rng.choice(list(at))
    return facts, f"Where is {person}?", at[person]


def where_things(background: Background, rng: random.Random, most: int) -> Told:
    """Things are where their holder is, or where they were left."""
    people, places = _cast(background, rng)
    things = rng.sample(THINGS, rng.randint(1, 3))
    person = people[0]
    at, holder, lies = {person: rng.choice(places)}, {things[0]: person}, dict[str, str]()
    facts = [f"{person} {rng.choice(MOVES)} the {at[person]}.", f"{person} {rng.choice(GETS)} the {things[0]}."]
    for _ in range(most - 2):
        person, act = rng.choice(people), rng.random()
        mine = [thing for thing, who in holder.items() if who == person]
        free = [thing for thing in things if thing not in holder and lies.get(thing) in (None, at.get(person))]
        if person not in at or act < 0.5:
            at[person] = rng.choice([place for place in places if place != at.get(person)])
            facts.append(f"{person} {rng.choice(MOVES)} the {at[person]}.")
        elif mine and act < 0.7:
            thing = rng.choice(mine)
            del holder[thing]
            lies[thing] = at[person]
            facts.append(f"{person} {rng.choice(DROPS)} the {thing}.")
        elif free:
            thing = rng.choice(free)
            holder[thing] = person
            facts.append(f"{person} {rng.choice(GETS)} the {thing}.")
    known = [thing for thing in things if thing in holder or thing in lies]
    thing = rng.choice(known)
    return facts, f"Where is the {thing}?", at[holder[thing]] if thing in holder else lies[thing]


def is_there(background: Background, rng: random.Random, most: int) -> Told:
    facts, question, place = where_people(background, rng, most)
    person = question.removeprefix("Where is ").removesuffix("?")
    others = sorted({fact.rsplit(" the ", 1)[1].removesuffix(".") for fact in facts} - {place}) or list(PLACES[:3])
    yes = rng.random() < 0.5
    return facts, f"Is {person} in the {place if yes else rng.choice(others)}?", "yes" if yes else "no"


def who_gave(background: Background, rng: random.Random, most: int) -> Told:
    people, places = _cast(background, rng)
    things = rng.sample(THINGS, rng.randint(2, 4))
    facts, gifts = list[str](), dict[str, tuple[str, str]]()
    while not gifts or len(facts) < most:
        if rng.random() < 0.5:
            facts.append(f"{rng.choice(people)} {rng.choice(MOVES)} the {rng.choice(places)}.")
            continue
        giver, taker = rng.sample(people, 2)
        thing = rng.choice(things)
        gifts[thing] = giver, taker
        facts.append(f"{giver} {rng.choice(GIVES)} the {thing} to {taker}.")
    thing = rng.choice(list(gifts))
    giver, taker = gifts[thing]
    pairs = [pair for pair in gifts.values() if pair == (giver, taker)]
    asks = [(f"Who was the last to part with the {thing}?", giver), (f"Who has the {thing} now?", taker)]
    asks += [(f"What did {giver} give {taker}?", thing)] if len(pairs) == 1 else []
    return facts, *rng.choice(asks)


def beside(background: Background, rng: random.Random, most: int) -> Told:
    """A row of places, told in any order and from either end."""
    _, places = _cast(background, rng)
    way = rng.choice(sorted(WAYS))
    row = places[: max(3, min(most + 1, len(places)))]
    facts = []
    for one, two in pairwise(row):
        first = rng.random() < 0.5
        facts.append(f"The {one} is {way} of the {two}." if first else f"The {two} is {WAYS[way]} of the {one}.")
    rng.shuffle(facts)
    at = rng.randrange(1, len(row) - 1)
    asks = [(f"What is {way} of the {row[at]}?", row[at - 1]), (f"What is the {row[at]} {way} of?", row[at + 1])]
    return facts, *rng.choice(asks)
