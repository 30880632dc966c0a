"""Answers a bAbI question from its sentences alone. Shares no code and no word list with the generator.

It reads English by pattern: whoever moves is where they moved to, whatever is held goes with its holder.
"""

import re
from itertools import permutations

MOVE = re.compile(r"(?P<who>.+?) (?:travelled to|went to|journeyed to|moved to|went back to) the (?P<room>\w+)")
GET = re.compile(r"(\w+) (?:grabbed|picked up|got|took) the (\w+)(?: there)?")
DROP = re.compile(r"(\w+) (?:dropped|put down|left|discarded) the (\w+)(?: there)?")
GIVE = re.compile(r"(\w+) (?:gave|handed|passed) the (\w+) to (\w+)")
WHEN = {"yesterday": 0, "this morning": 1, "this afternoon": 2, "this evening": 3}
NUMBERS = ("none", "one", "two", "three")


def solve(facts, question):
    for pattern, answer in ANSWERS:
        if found := re.fullmatch(pattern, question):
            return answer([fact.rstrip(".") for fact in facts], *found.groups())
    raise AssertionError(f"no rule reads: {question}")


def walk(facts):
    """Reads people and things in order: (who is where, who holds what in order, rooms of each thing, gifts)."""
    room, held, trail, gifts, last = {}, {}, {}, [], ()
    for fact in facts:
        if found := GIVE.fullmatch(fact):
            giver, thing, receiver = found.groups()
            held.setdefault(giver, []).remove(thing)
            held.setdefault(receiver, []).append(thing)
            gifts.append(found.groups())
        elif found := GET.fullmatch(fact):
            who, thing = found.groups()
            held.setdefault(who, []).append(thing)
            if who in room and trail.setdefault(thing, [])[-1:] != [room[who]]:
                trail[thing].append(room[who])
        elif found := DROP.fullmatch(fact):
            held[found[1]].remove(found[2])
        elif found := MOVE.fullmatch(fact):
            who = re.sub(r"^(?:Then|After that|Afterwards|Following that) ", "", found["who"])
            last = last if who in ("he", "she", "they") else who.split(" and ")
            for person in last:
                room[person] = found["room"]
                for thing in held.get(person, []):
                    if trail.setdefault(thing, [])[-1:] != [found["room"]]:
                        trail[thing].append(found["room"])
        elif found := re.fullmatch(r"(\w+) is in the (\w+)", fact):
            room[found[1]] = found[2]
        else:
            raise AssertionError(f"no rule reads: {fact}")
    return room, held, trail, gifts


def where_is(facts, who):
    return walk(facts)[0][who]


def where_thing(facts, thing):
    return walk(facts)[2][thing][-1]


def thing_before(facts, thing, place):
    rooms = walk(facts)[2][thing]
    return rooms[len(rooms) - 1 - rooms[::-1].index(place) - 1]


def is_there(facts, who, place):
    for fact in reversed(facts):
        if found := re.fullmatch(rf"{who} is either in the (\w+) or the (\w+)", fact):
            return "maybe" if place in found.groups() else "no"
        if found := re.fullmatch(rf"{who} is (?:not|no longer) in the (\w+)", fact):
            assert found[1] == place, "the story leaves it open"
            return "no"
        if found := re.fullmatch(rf"{who} (?:is in|.* to) the (\w+)", fact):
            if GIVE.fullmatch(fact):
                continue
            return "yes" if found[1] == place else "no"
    raise AssertionError("never mentioned")


def carried(facts, who):
    return ",".join(walk(facts)[1].get(who, [])) or "nothing"


def count(facts, who):
    return NUMBERS[len(walk(facts)[1].get(who, []))]


def gift(want, **known):
    def answer(facts, *values):
        given = dict(zip(known.values(), values, strict=True))
        for event in reversed(walk(facts)[3]):
            event = dict(zip(("giver", "thing", "receiver"), event, strict=True))
            if all(event[key] == value for key, value in given.items()):
                return event[want]
        raise AssertionError("no such gift")

    return answer


def before(facts, who, place):
    day = {}
    for fact in facts:
        for when, hour in WHEN.items():
            rest = re.sub(rf" {when}$|^{when.capitalize()} ", "", fact)
            if rest != fact and (found := MOVE.fullmatch(rest)) and found["who"] == who:
                day[hour] = found["room"]
    rooms = [day[hour] for hour in sorted(day)]
    assert rooms.count(place) == 1
    return rooms[rooms.index(place) - 1]


def ways(facts):
    """Edges of the map: (a, b) -> first letter of the way from a to b."""
    back, edges = {"n": "s", "s": "n", "e": "w", "w": "e"}, {}
    for fact in facts:
        one, way, two = re.fullmatch(r"The (\w+) is (\w+) of the (\w+)", fact).groups()
        edges[two, one], edges[one, two] = way[0], back[way[0]]
    return edges


def lies(facts, way, place):
    (answer,) = [two for (one, two), letter in ways(facts).items() if one == place and letter == way[0]]
    return answer


def lies_of(facts, place, way):
    (answer,) = [one for (one, two), letter in ways(facts).items() if two == place and letter == way[0]]
    return answer


def path(facts, start, end):
    edges = ways(facts)
    rooms = {room for edge in edges for room in edge}
    (answer,) = [f"{edges[start, m]},{edges[m, end]}" for m in rooms if (start, m) in edges and (m, end) in edges]
    return answer


def fears(facts, name):
    singular = {"mice": "mouse", "wolves": "wolf", "cats": "cat", "sheep": "sheep"}
    kind = {found[1].lower(): found[2] for fact in facts if (found := re.fullmatch(r"(\w+) is a (\w+)", fact))}
    fear = {
        singular[found[1].lower()]: singular[found[2]]
        for fact in facts
        if (found := re.fullmatch(r"(\w+) are afraid of (\w+)", fact))
    }
    return fear[kind[name]]


def colour(facts, name):
    kind = {found[1]: found[2] for fact in facts if (found := re.fullmatch(r"(\w+) is a (\w+)", fact))}
    colours = {found[1]: found[2] for fact in facts if (found := re.fullmatch(r"(\w+) is (\w+)", fact))}
    (answer,) = {colours[other] for other in colours if kind[other] == kind[name]}
    return answer


def beside(facts, one, side, two):
    steps = {"above": (0, 1), "below": (0, -1), "to the right of": (1, 0), "to the left of": (-1, 0)}
    sides = "|".join(steps)
    known = {}
    for fact in facts:
        a, way, b = re.fullmatch(rf"The (.+) is ({sides}) the (.+)", fact).groups()
        x, y = steps[way]
        known[a, b], known[b, a] = (x, y), (-x, -y)
    shapes = {shape for pair in known for shape in pair}
    for a, b, c in permutations(shapes, 3):
        if (a, b) in known and (b, c) in known:
            known[a, c] = tuple(p + q for p, q in zip(known[a, b], known[b, c], strict=True))
    return "yes" if sum(p * q for p, q in zip(known[one, two], steps[side], strict=True)) > 0 else "no"


def fits(facts, inner, outer):
    larger = set()
    for fact in facts:
        if found := re.fullmatch(r"The (.+) fits inside the (.+)", fact):
            larger.add((found[1], found[2]))
        else:
            found = re.fullmatch(r"The (.+) is bigger than the (.+)", fact)
            larger.add((found[2], found[1]))
    while more := {(a, d) for a, b in larger for c, d in larger if b == c} - larger:
        larger |= more
    assert ((inner, outer) in larger) != ((outer, inner) in larger), "the story leaves it open"
    return "yes" if (inner, outer) in larger else "no"


def mood(facts, name):
    (answer,) = [
        found[2] for fact in facts if (found := re.fullmatch(r"(\w+) is (\w+)", fact)) and found[1].lower() == name
    ]
    return answer


def will_go(facts, name):
    return {"tired": "bedroom", "bored": "garden", "hungry": "kitchen", "thirsty": "kitchen"}[mood(facts, name)]


ANSWERS = (
    (r"Where is the (\w+)\?", where_thing),
    (r"Where is (\w+)\?", where_is),
    (r"Where was the (\w+) before the (\w+)\?", thing_before),
    (r"Where was (\w+) before the (\w+)\?", before),
    (r"What is (\w+) of the (\w+)\?", lies),
    (r"What is the (\w+) (\w+) of\?", lies_of),
    (r"What did (\w+) give to (\w+)\?", gift("thing", a="giver", b="receiver")),
    (r"Who gave the (\w+)\?", gift("giver", a="thing")),
    (r"Who did (\w+) give the (\w+) to\?", gift("receiver", a="giver", b="thing")),
    (r"Who gave the (\w+) to (\w+)\?", gift("giver", a="thing", b="receiver")),
    (r"Who received the (\w+)\?", gift("receiver", a="thing")),
    (r"Is (\w+) in the (\w+)\?", is_there),
    (r"How many objects is (\w+) carrying\?", count),
    (r"What is (\w+) carrying\?", carried),
    (r"What is (\w+) afraid of\?", fears),
    (r"What color is (\w+)\?", colour),
    (r"Is the (.+) (above|below|to the left of|to the right of) the (.+)\?", beside),
    (r"Does the (.+) fit in the (.+)\?", fits),
    (r"Is the (.+) bigger than the (.+)\?", lambda facts, outer, inner: fits(facts, inner, outer)),
    (r"How do you go from the (\w+) to the (\w+)\?", path),
    (r"Where will (\w+) go\?", will_go),
    (r"Why did (\w+) go to the \w+\?", mood),
    (r"Why did (\w+) get the \w+\?", mood),
)
