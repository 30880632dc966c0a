"""Stories of places, kinds, shapes and sizes: qa4 and qa15-19. Standard library only.

Source of the wording and question forms: Weston et al. 2015 (bAbI, arXiv:1502.05698), the released text v1.2 (CC BY 3.0). The
generator is ours. We differ: yes and no are equally likely, the twelve paths of qa19 too, and one kind has one colour (qa16).
"""

from __future__ import annotations

import random

from longboard_tasks.suites.babilong.story import Story
from longboard_tasks.suites.babilong.vocabulary import ROOMS

Cell = tuple[int, int]
COMPASS: dict[str, Cell] = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
SIDES: dict[str, Cell] = {"above": (0, 1), "below": (0, -1), "to the right of": (1, 0), "to the left of": (-1, 0)}
SHAPES = ("red square", "blue square", "yellow square", "pink rectangle", "red sphere", "triangle")
KINDS = {"mouse": "mice", "sheep": "sheep", "wolf": "wolves", "cat": "cats"}
AFRAID = ("Gertrude", "Winona", "Jessica", "Emily")
ANIMALS = ("swan", "lion", "frog", "rhino")
COLOURS = ("gray", "green", "white", "yellow")
NAMED = ("Lily", "Bernhard", "Greg", "Brian", "Julius")
BOXES = ("suitcase", "container", "chest", "box")  # in a new order in each story; the sweets are smaller


def what_is_next_to(rng: random.Random) -> Story:
    """qa4: three rooms in a row, two statements, the question is about the middle one."""
    first, middle, last = rng.sample(ROOMS, 3)
    way = rng.choice(sorted(COMPASS))
    back = OPPOSITE[way]
    facts = [_either(rng, first, way, middle), _either(rng, middle, way, last)]
    rng.shuffle(facts)
    question, answer = rng.choice(
        (
            (f"What is {way} of the {middle}?", first),
            (f"What is {back} of the {middle}?", last),
            (f"What is the {middle} {way} of?", last),
            (f"What is the {middle} {back} of?", first),
        )
    )
    return Story("qa4", tuple(facts), question, answer)


def _either(rng: random.Random, one: str, way: str, two: str) -> str:
    """One relation, said from either end."""
    return f"The {one} is {way} of the {two}." if rng.random() < 0.5 else f"The {two} is {OPPOSITE[way]} of the {one}."


def afraid_of(rng: random.Random) -> Story:
    """qa15: what kind each of four is, and what each kind is afraid of."""
    kind = {name: rng.choice(sorted(KINDS)) for name in AFRAID}
    fear = {one: rng.choice([other for other in sorted(KINDS) if other != one]) for one in sorted(KINDS)}
    facts = [f"{name} is a {kind[name]}." for name in AFRAID]
    facts += [f"{KINDS[one].capitalize()} are afraid of {KINDS[two]}." for one, two in fear.items()]
    rng.shuffle(facts)
    name = rng.choice(AFRAID)
    return Story("qa15", tuple(facts), f"What is {name.lower()} afraid of?", fear[kind[name]])


def what_colour(rng: random.Random) -> Story:
    """qa16: five animals and the colours of four; the fifth has the colour of its kind."""
    kind = {name: rng.choice(ANIMALS) for name in NAMED}
    colour = {animal: rng.choice(COLOURS) for animal in ANIMALS}
    asked = rng.choice([name for name in NAMED if sum(other == kind[name] for other in kind.values()) > 1])
    facts = [f"{name} is a {kind[name]}." for name in NAMED]
    facts += [f"{name} is {colour[kind[name]]}." for name in NAMED if name != asked]
    rng.shuffle(facts)
    return Story("qa16", tuple(facts), f"What color is {asked}?", colour[kind[asked]])


def which_side(rng: random.Random) -> Story:
    """qa17: three shapes on a grid, two statements with one shape in common; the question is about the other two."""
    end, common, start = rng.sample(SHAPES, 3)
    one, two = rng.choice(list(SIDES)), rng.choice(list(SIDES))
    x, y = (SIDES[one][axis] + SIDES[two][axis] for axis in (0, 1))
    if (x, y) == (0, 0):
        return which_side(rng)
    facts = [_side(rng, end, one, common), _side(rng, common, two, start)]
    rng.shuffle(facts)
    axis = rng.choice([axis for axis in (0, 1) if (x, y)[axis]])
    true = next(side for side, step in SIDES.items() if step[axis] * (x, y)[axis] > 0)
    answer = rng.choice(("yes", "no"))
    side = true if answer == "yes" else _turn(true)
    first, second = (end, start) if rng.random() < 0.5 else (start, end)
    side = side if first == end else _turn(side)
    return Story("qa17", tuple(facts), f"Is the {first} {side} the {second}?", answer)


def _turn(side: str) -> str:
    x, y = SIDES[side]
    return next(other for other, step in SIDES.items() if step == (-x, -y))


def _side(rng: random.Random, one: str, side: str, two: str) -> str:
    return f"The {one} is {side} the {two}." if rng.random() < 0.5 else f"The {two} is {_turn(side)} the {one}."


def does_it_fit(rng: random.Random) -> Story:
    """qa18: sizes in pairs; the question needs two statements in a row. Groups of five statements, mostly one group."""
    order = ["chocolate", "box of chocolates", *rng.sample(BOXES, len(BOXES))]  # smallest first
    facts: list[str] = []
    larger: set[tuple[str, str]] = set()
    for _ in range(5 * rng.choices((1, 2, 3), weights=(82, 14, 4))[0]):
        small, big = sorted(rng.sample(order, 2), key=order.index)
        facts.append(
            f"The {small} fits inside the {big}." if rng.random() < 0.5 else f"The {big} is bigger than the {small}."
        )
        larger.add((small, big))
    two_steps = sorted({(a, d) for a, b in larger for c, d in larger if b == c} - larger)
    if not two_steps:
        return does_it_fit(rng)
    small, big = rng.choice(two_steps)
    answer = rng.choice(("yes", "no"))
    inner, outer = (small, big) if answer == "yes" else (big, small)
    question = (
        f"Does the {inner} fit in the {outer}?" if rng.random() < 0.5 else f"Is the {outer} bigger than the {inner}?"
    )
    return Story("qa18", tuple(facts), question, answer)


def how_to_go(rng: random.Random) -> Story:
    """qa19: five relations between six rooms; the way from one to another is two steps, as first letters ("s,w")."""
    paths = [(one, two) for one in sorted(COMPASS) for two in sorted(COMPASS) if two != OPPOSITE[one]]
    path = rng.choice(paths)
    rooms = rng.sample(ROOMS, len(ROOMS))
    cells: dict[Cell, str] = {(0, 0): rooms[0]}
    facts: list[str] = []
    at = (0, 0)
    for way, room in zip(path, rooms[1:3], strict=True):
        here, at = at, (at[0] + COMPASS[way][0], at[1] + COMPASS[way][1])
        cells[at] = room
        facts.append(_either(rng, room, way, cells[here]))
    for room in rooms[3:]:
        free = [
            (here, way, (here[0] + x, here[1] + y))
            for here in cells
            for way, (x, y) in COMPASS.items()
            if (here[0] + x, here[1] + y) not in cells
        ]
        here, way, at = rng.choice(free)
        cells[at] = room
        facts.append(_either(rng, room, way, cells[here]))
    rng.shuffle(facts)
    question = f"How do you go from the {rooms[0]} to the {rooms[2]}?"
    return Story("qa19", tuple(facts), question, ",".join(way[0] for way in path))
