"""A small world in which everything said is true: people who move, take, drop and give. Standard library only.

The wording is bAbI's (Weston et al. 2015, arXiv:1502.05698, released text v1.2); the world is ours.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from longboard_tasks.suites.babilong.vocabulary import DROPS, GETS, GIVES, MOVES, OBJECTS, ROOMS


@dataclass(slots=True)
class World:
    """Where everyone and everything really is, what the reader was told, and the sentences that told it."""

    rng: random.Random
    people: Sequence[str]
    there: float = 1.0  # how often a "got" ends with "there"
    needs_place: bool = True  # nobody takes a thing before the reader knows where that person is
    room: dict[str, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)  # people whose room the reader knows
    seen: list[str] = field(default_factory=list)  # people the reader has met, in order
    hands: set[str] = field(default_factory=set)  # people who have held something
    holder: dict[str, str] = field(default_factory=dict)
    lies_in: dict[str, str] = field(default_factory=dict)
    trail: dict[str, list[str]] = field(default_factory=dict)  # rooms an object is known to have been in
    facts: list[str] = field(default_factory=list)
    gift: tuple[str, str, str] | None = None  # giver, object, receiver: the latest

    def __post_init__(self) -> None:
        self.room = {person: self.rng.choice(ROOMS) for person in self.people}
        self.lies_in = {thing: self.rng.choice(ROOMS) for thing in OBJECTS}
        self.trail = {thing: [] for thing in OBJECTS}

    def act(self, *kinds: Callable[[World], bool]) -> None:
        """Say one more thing that is true: kinds are tried in random order until one is possible."""
        while not self.rng.choice(kinds)(self):
            pass

    def say(self, person: str, rest: str) -> bool:
        self.facts.append(f"{person} {rest}.")
        self.meet(person)
        return True

    def meet(self, person: str) -> None:
        if person not in self.seen:
            self.seen.append(person)

    def enter(self, person: str, room: str) -> None:
        self.room[person] = room
        self.told.add(person)
        for thing, holder in self.holder.items():
            if holder == person:
                self.see(thing, room)

    def see(self, thing: str, room: str) -> None:
        if self.trail[thing][-1:] != [room]:
            self.trail[thing].append(room)

    def other_room(self, person: str) -> str:
        return self.rng.choice([room for room in ROOMS if room != self.room[person]])


def move(world: World) -> bool:
    person = world.rng.choice(world.people)
    room = world.other_room(person)
    world.enter(person, room)
    return world.say(person, f"{world.rng.choice(MOVES)} the {room}")


def get(world: World) -> bool:
    free = [
        (person, thing)
        for thing, room in world.lies_in.items()
        for person in world.people
        if world.room[person] == room and (person in world.told or not world.needs_place)
    ]
    if not free:
        return False
    person, thing = world.rng.choice(free)
    del world.lies_in[thing]
    world.holder[thing] = person
    world.hands.add(person)
    if person in world.told:
        world.see(thing, world.room[person])
    there = " there" if world.rng.random() < world.there else ""
    return world.say(person, f"{world.rng.choice(GETS)} the {thing}{there}")


def drop(world: World) -> bool:
    if not world.holder:
        return False
    thing = world.rng.choice(list(world.holder))
    person = world.holder.pop(thing)
    world.lies_in[thing] = world.room[person]
    there = " there" if world.rng.random() < 0.2 else ""
    return world.say(person, f"{world.rng.choice(DROPS)} the {thing}{there}")


def give(world: World) -> bool:
    gifts = [
        (giver, thing, receiver)
        for thing, giver in world.holder.items()
        for receiver in world.people
        if receiver != giver and world.room[receiver] == world.room[giver]
    ]
    if not gifts:
        return False
    world.gift = giver, thing, receiver = world.rng.choice(gifts)
    del world.holder[thing]  # so that it comes last among what the receiver holds
    world.holder[thing] = receiver
    world.hands.add(receiver)
    world.say(giver, f"{world.rng.choice(GIVES)} the {thing} to {receiver}")
    world.meet(receiver)
    return True
