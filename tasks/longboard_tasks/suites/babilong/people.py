"""Stories of people who move, carry and give: qa1-3, qa5-14 and qa20. Standard library only.

Source of the wording and question forms: Weston et al. 2015 (bAbI, arXiv:1502.05698), the released text v1.2 (CC BY 3.0),
with the verbs, names and "there" as released. The generator is ours, over `world`. We differ: questions that two answers
would fit are not asked, and yes, no and maybe are equally likely (the release leans).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from longboard_tasks.suites.babilong.story import Story
from longboard_tasks.suites.babilong.vocabulary import (
    COUNTS,
    GETS,
    GIVERS,
    GUESSED,
    LINKS,
    MOODS,
    MOODY,
    MOVES,
    OBJECTS,
    PEOPLE,
    ROOMS,
    TIMES,
    TOWN,
    WOMEN,
)
from longboard_tasks.suites.babilong.world import World, drop, get, give, move


def where_is_person(rng: random.Random) -> Story:
    """qa1: two moves before each question."""
    world = World(rng, PEOPLE)
    for _ in range(2 * _questions(rng)):
        world.act(move)
    person = rng.choice(world.seen)
    return Story("qa1", tuple(world.facts), f"Where is {person}?", world.room[person])


def where_is_thing(rng: random.Random) -> Story:
    """qa2: where a thing is that was carried about."""
    world = World(rng, PEOPLE)
    for _ in range(_questions(rng)):
        _talk(world, lambda: any(world.trail.values()), 2, 0.33, move, get, drop)
    thing = rng.choice([thing for thing in OBJECTS if world.trail[thing]])
    return Story("qa2", tuple(world.facts), f"Where is the {thing}?", world.trail[thing][-1])


def where_was_thing(rng: random.Random) -> Story:
    """qa3: where a thing was before the room that it is in now."""
    world = World(rng, PEOPLE, there=0.2)
    for _ in range(_questions(rng)):
        _talk(world, lambda: any(len(trail) > 1 for trail in world.trail.values()), 4, 0.105, move, get, drop)
    thing = rng.choice([thing for thing in OBJECTS if len(world.trail[thing]) > 1])
    before, now = world.trail[thing][-2:]
    return Story("qa3", tuple(world.facts), f"Where was the {thing} before the {now}?", before)


def who_gave(rng: random.Random) -> Story:
    """qa5: five questions about the latest gift; a few sentences about other things may follow it."""
    world, gift = World(rng, GIVERS, needs_place=False), ("", "", "")
    for number in range(_questions(rng)):
        while world.gift is None:
            world.act(move, get, give)
        gift, world.gift = world.gift, None
        if number or rng.random() < 0.7:  # the shortest stories end with their gift
            for _ in range(rng.randrange(5)):
                world.act(move, move, get)
    giver, thing, receiver = gift
    question, answer = rng.choices(
        (
            (f"What did {giver} give to {receiver}?", thing),
            (f"Who gave the {thing}?", giver),
            (f"Who did {giver} give the {thing} to?", receiver),
            (f"Who gave the {thing} to {receiver}?", giver),
            (f"Who received the {thing}?", receiver),
        ),
        weights=(33, 18, 17, 17, 15),  # as released
    )[0]
    return Story("qa5", tuple(world.facts), question, answer)


def is_person_there(rng: random.Random) -> Story:
    """qa6: is a person in a room, yes or no."""
    world = World(rng, PEOPLE, needs_place=False)
    for _ in range(_questions(rng)):
        _talk(world, lambda: bool(world.told), 2, 0.95, move, move, get, drop)
    person = rng.choice([person for person in world.seen if person in world.told])
    answer = rng.choice(("yes", "no"))
    room = world.room[person] if answer == "yes" else world.other_room(person)
    return Story("qa6", tuple(world.facts), f"Is {person} in the {room}?", answer)


def how_many(rng: random.Random) -> Story:
    """qa7: how many things a person carries, as a word."""
    world, person = _carriers(rng)
    count = sum(holder == person for holder in world.holder.values())
    return Story("qa7", tuple(world.facts), f"How many objects is {person} carrying?", COUNTS[count])


def what_carried(rng: random.Random) -> Story:
    """qa8: what a person carries: names joined by commas in the order they came, or "nothing"."""
    world, person = _carriers(rng)
    things = [thing for thing, holder in world.holder.items() if holder == person]
    return Story("qa8", tuple(world.facts), f"What is {person} carrying?", ",".join(things) or "nothing")


def _carriers(rng: random.Random) -> tuple[World, str]:
    world = World(rng, PEOPLE, needs_place=False)
    for _ in range(_questions(rng)):
        _talk(world, lambda: True, 2, 0.6, move, get, get, drop, give)
    hands = [person for person in world.seen if person in world.hands]
    return world, rng.choice(hands if hands and rng.random() < 0.75 else world.seen)


def is_not_there(rng: random.Random, answer: str = "") -> Story:
    """qa9: "is in", "is not in", "is no longer in" beside the moves; the question is about the latest word on a person."""
    world = World(rng, PEOPLE)
    latest: dict[str, tuple[bool, str]] = {}  # person: (is in, room)
    for _ in range(2 * _questions(rng)):
        person = rng.choice(PEOPLE)
        kind = rng.randrange(4)
        if kind < 2:
            room = world.other_room(person)
            world.enter(person, room)
            world.say(person, f"{rng.choice(MOVES)} the {room}")
            latest[person] = (True, room)
        elif kind == 2:
            world.say(person, f"is in the {world.room[person]}")
            latest[person] = (True, world.room[person])
        else:
            gone = world.room[person]
            world.room[person] = world.other_room(person)
            world.say(person, f"{rng.choice(('is not in', 'is no longer in'))} the {gone}")
            latest[person] = (False, gone)
    answer = answer or rng.choice(("yes", "no"))
    known = [person for person in latest if latest[person][0]]
    if answer == "yes" and not known:
        return is_not_there(rng, answer)
    person = rng.choice(known if answer == "yes" else list(latest))
    is_in, room = latest[person]
    if answer == "no" and is_in:
        room = rng.choice([other for other in ROOMS if other != room])
    return Story("qa9", tuple(world.facts), f"Is {person} in the {room}?", answer)


def is_maybe_there(rng: random.Random, answer: str = "") -> Story:
    """qa10: "is either in A or B" beside the moves: yes, no or maybe by the latest word on a person."""
    facts: list[str] = []
    latest: dict[str, tuple[str, ...]] = {}  # person: the rooms it may be in
    for _ in range(2 * _questions(rng)):
        person, kind = rng.choice(GUESSED), rng.randrange(3)
        room, other = rng.sample([room for room in TOWN if latest.get(person) != (room,)], 2)
        if kind == 0:
            facts.append(f"{person} {rng.choice(MOVES)} the {room}.")
            latest[person] = (room,)
        elif kind == 1:
            room = latest[person][0] if len(latest.get(person, ())) == 1 else room
            facts.append(f"{person} is in the {room}.")
            latest[person] = (room,)
        else:
            facts.append(f"{person} is either in the {room} or the {other}.")
            latest[person] = (room, other)
    answer = answer or rng.choice(("yes", "no", "maybe"))
    fits = [p for p in latest if answer == "no" or len(latest[p]) == (1 if answer == "yes" else 2)]
    if not fits:
        return is_maybe_there(rng, answer)
    person = rng.choice(fits)
    room = rng.choice([room for room in TOWN if (room in latest[person]) == (answer != "no")])
    return Story("qa10", tuple(facts), f"Is {person} in the {room}?", answer)


def where_is_she(rng: random.Random) -> Story:
    """qa11: every second sentence names its person by a pronoun."""
    world = World(rng, PEOPLE)
    for _ in range(_questions(rng)):
        world.act(move)
        person = world.facts[-1].split()[0]
        room = world.other_room(person)
        world.enter(person, room)
        pronoun = "she" if person in WOMEN else "he"
        world.facts.append(f"{rng.choice(LINKS)} {pronoun} {rng.choice(MOVES)} the {room}.")
    person = rng.choice(world.seen)
    return Story("qa11", tuple(world.facts), f"Where is {person}?", world.room[person])


def where_is_pair(rng: random.Random) -> Story:
    """qa12: two people move together."""
    world = World(rng, PEOPLE)
    for _ in range(2 * _questions(rng)):
        _move_pair(world)
    person = rng.choice(world.seen)
    return Story("qa12", tuple(world.facts), f"Where is {person}?", world.room[person])


def where_are_they(rng: random.Random) -> Story:
    """qa13: two people move together, then "they" move on."""
    world = World(rng, PEOPLE)
    for _ in range(_questions(rng)):
        pair = _move_pair(world)
        room = world.other_room(pair[0])
        for person in pair:
            world.enter(person, room)
        world.facts.append(f"{rng.choice(LINKS)} they {rng.choice(MOVES)} the {room}.")
    person = rng.choice(world.seen)
    return Story("qa13", tuple(world.facts), f"Where is {person}?", world.room[person])


def _move_pair(world: World) -> tuple[str, str]:
    one, two = world.rng.sample(PEOPLE, 2)
    room = world.rng.choice([room for room in ROOMS if room not in (world.room[one], world.room[two])])
    for person in (one, two):
        world.enter(person, room)
        world.meet(person)
    world.facts.append(f"{one} and {two} {world.rng.choice(MOVES)} the {room}.")
    return one, two


def where_before(rng: random.Random) -> Story:
    """qa14: times of the day at either end of a sentence, told out of order; where was a person before a place."""
    facts: list[str] = []
    days: dict[str, dict[int, str]] = {person: {} for person in GUESSED}
    for _ in range(_questions(rng)):
        wanted = len(facts) + rng.choice((2, 2, 2, 3))
        while len(facts) < min(wanted, 14) or not any(len(day) > 1 for day in days.values()):
            person = rng.choice([person for person in GUESSED if len(days[person]) < len(TIMES)])
            time = rng.choice([time for time in range(len(TIMES)) if time not in days[person]])
            room = rng.choice([room for room in TOWN if room not in days[person].values()])
            days[person][time] = room
            move, when = f"{rng.choice(MOVES)} the {room}", TIMES[time]
            facts.append(f"{person} {move} {when}." if rng.random() < 0.5 else f"{when.capitalize()} {person} {move}.")
    person = rng.choice([person for person in GUESSED if len(days[person]) > 1])
    in_order = [room for _, room in sorted(days[person].items())]
    at = rng.randrange(1, len(in_order))
    return Story("qa14", tuple(facts), f"Where was {person} before the {in_order[at]}?", in_order[at - 1])


def why_go(rng: random.Random) -> Story:
    """qa20: a mood, then where it leads, then what is taken there; where will they go, why did they go, why did they get."""
    mood = dict(zip(MOODY, rng.sample(sorted(MOODS), len(MOODY)), strict=True))
    told: dict[str, int] = dict.fromkeys(MOODY, 0)  # sentences about a person so far
    asked: dict[str, int] = dict.fromkeys(MOODY, 0)
    facts: list[str] = []
    person, question, answer = "", "", ""
    for _ in range(rng.choices(range(1, 13), weights=range(16, 4, -1))[0]):
        # Whoever's last sentence was not asked about yet is in the next question, so nobody is two sentences ahead.
        person = rng.choice([person for person in MOODY if told[person] < 3 and asked[person] == told[person]])
        place, thing = MOODS[mood[person]]
        facts.append(
            (
                f"{person} is {mood[person]}.",
                f"{person} {rng.choice(MOVES)} the {place}.",
                f"{person} {rng.choice(GETS)} the {thing} there.",
            )[told[person]]
        )
        told[person] += 1
        open_people = [person for person in MOODY if asked[person] < told[person]]
        person = rng.choice(open_people)
        asked[person] = told[person]
        place, thing = MOODS[mood[person]]
        name = person.lower()  # as released
        question, answer = (
            (f"Where will {name} go?", place),
            (f"Why did {name} go to the {place}?", mood[person]),
            (f"Why did {name} get the {thing}?", mood[person]),
        )[told[person] - 1]
    return Story("qa20", tuple(facts), question, answer)


def _questions(rng: random.Random) -> int:
    """Which of a story's five questions this sample ends with; the sentences before it stay."""
    return rng.randrange(1, 6)


def _talk(world: World, may_ask: Callable[[], bool], least: int, stop: float, *kinds: Callable[[World], bool]) -> None:
    """At least `least` sentences, then more with probability 1 - `stop` each, until a question has an answer."""
    for _ in range(least):
        world.act(*kinds)
    while world.rng.random() >= stop or not may_ask():
        world.act(*kinds)
