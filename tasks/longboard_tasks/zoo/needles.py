"""Planted facts and questions about them: one, many, several values of a key, several keys, needles among needles.

Everything is disjoint from evaluation: other prose, other names, other wording, phrases of random words. What carries over is
the skill: find the same key earlier, copy what followed it.
"""

from __future__ import annotations

import random
from itertools import pairwise

from longboard_tasks.zoo.background import Background
from longboard_tasks.zoo.stretch import Stretch

# (before the value, after it). The question ends with the first part, or asks in other words.
STATEMENTS = (
    ("The {phrase} for {key} is:", "."), ("The {phrase} for {key} is", "."), ("The {phrase} of {key} is", "."),
    ("The {phrase} of {key} is:", "."), ("The {phrase} at {key} was", "."), ("One {phrase} for {key} is:", "."),
    ("Remember that the {phrase} for {key} is", "."), ("{key} has the {phrase}", "."), ("{key}:", ";"),
    ("My {phrase} from {key} is:", "!"), ("In {key} the {phrase} is:", "."), ("For {key}, the {phrase} equals", ","),
    ("The {phrase} in {key} is =", ";"), ("[{phrase} / {key}]", ""), ("{phrase} ({key}):", ""),
    ("It is known that {key} keeps the {phrase}", "."), ("The {phrase} that belongs to {key} is:", "."),
    ("Note: the {phrase} near {key} is:", "."), ("Its {phrase} with {key} is:", "."), ("{key} -", "."),
)  # fmt: skip
QUESTIONS = (
    "What is the {phrase} for {key}? {statement}", "What was the {phrase} of {key} in the passage above? {statement}",
    "Which {phrase} was given for {key}? Answer: {statement}", "{statement}", "Question: {key}? {statement}",
    "Tell me the {phrase} for {key} that was named earlier. {statement}", "Now complete the sentence. {statement}",
    "What is the {phrase} for {key} according to these pages? {statement}", "Q: what about {key}?\nA: {statement}",
    "What {phrase} did you read for {key} somewhere in this document? {statement}", "Once more: {statement}",
    "Find the {phrase} for {key} within the story before. {statement}", "Recall the {phrase} of {key}. {statement}",
    "What is the {phrase} for {key}? The answer is", "Give the {phrase} for {key}. Answer:", "{key}?",
    "What is the {phrase} for {key}? The {phrase} for {key} in the passage is",
    "Say the {phrase} for {key}. The {phrase} for {key} from the document above is",
)  # fmt: skip
LISTS = (
    "What are all the {phrase}s for {key}? The {phrase}s for {key} in the passage are",
    "Name each {phrase} for {key}. They are", "All of the {phrase}s for {key} above:", "{key}? All of them:",
    "List what was said of the {phrase}s for {key}. The {phrase}s for {key} from these pages are",
)  # fmt: skip
OPENINGS = (
    "", "", "", "Somewhere below there is a {phrase}. Keep it in mind; I shall ask for it.\n",
    "Some {phrase}s are spread over this document. Learn all of them, questions follow.\n",
    "Read on, and remember each {phrase}.\n\n",
)  # fmt: skip
GAPS = (" ", " ", " ", "\n", "\n", "\n\n", "")  # between a planted fact and the prose beside it


def planted_facts(background: Background, rng: random.Random, length: int) -> Stretch:
    """Prose or noise with facts in it; a question for each at the end, or at any place after the fact."""
    words = background.words
    most = max(1, min(10, length // 110))
    count = rng.choice((1, rng.randint(1, most), most))
    shared = (words.phrase(rng), rng.choice(STATEMENTS)) if rng.random() < 0.7 else None
    question = rng.choice(QUESTIONS)
    pieces: list[tuple[float, Stretch]] = []  # (place in the prose, 0 to 1; tokens)
    opening = rng.choice(OPENINGS).format(phrase=shared[0] if shared else "fact")
    pieces.append((-1.0, Stretch().add(background.encode(opening) if opening else [])))
    used = len(pieces[0][1])
    for key in words.keys(rng, count):
        phrase, (before, after) = shared or (words.phrase(rng), rng.choice(STATEMENTS))
        statement, value = before.format(phrase=phrase, key=key), words.value(rng)
        asked = (question if shared else rng.choice(QUESTIONS)).format(phrase=phrase, key=key, statement=statement)
        fact = Stretch().add(background.encode(f"{rng.choice(GAPS)}{statement} {value}{after}{rng.choice(GAPS)}"))
        ask = background.ask(rng.choice(("\n\n", "\n\n", "\n", " ")) + asked, value)
        if used + len(fact) + len(ask) > length - 8:
            break
        used += len(fact) + len(ask)
        place = rng.choice((0.0, 1.0)) if rng.random() < 0.15 else rng.random()
        pieces.append((place, fact))
        # 2 and up: after all prose, in random order
        pieces.append((rng.uniform(place, 1.0) if rng.random() < 0.25 else 2 + rng.random(), ask))
    return background.spread(rng, length - used, pieces)


def needle_lists(background: Background, rng: random.Random, length: int) -> Stretch:
    """Several values of one key, one value of each of several keys, or one needle among others; all asked in one question."""
    words, kind = background.words, rng.choice(("values", "keys", "among"))
    phrase, (before, after) = words.phrase(rng), rng.choice(STATEMENTS)
    wanted = 1 if kind == "among" else rng.randint(2, 5)
    others = max(0, min(40, length // 60 - wanted))
    others = others if kind == "among" else rng.randint(0, min(4, others))
    keys = words.keys(rng, (1 if kind == "values" else wanted) + others)
    asked, rest = (keys[:1], keys[1:]) if kind == "values" else (keys[:wanted], keys[wanted:])
    facts = [(key, words.value(rng)) for key in (asked * wanted if kind == "values" else asked)]
    texts = [(key, value, f"{before.format(phrase=phrase, key=key)} {value}{after}") for key, value in facts]
    texts += [("", "", f"{before.format(phrase=phrase, key=key)} {words.value(rng)}{after}") for key in rest]
    rng.shuffle(texts)
    # Values in the order in which they stand; those of several keys in the order of the question.
    answers = [value for key, value, _ in texts if key] if kind == "values" else [value for _, value in facts]
    named = ", ".join(asked[:-1]) + rng.choice((", and ", " and ")) + asked[-1] if len(asked) > 1 else asked[0]
    question = rng.choice(LISTS if len(answers) > 1 else QUESTIONS).format(
        phrase=phrase, key=named, statement=before.format(phrase=phrase, key=named)
    )
    ask = background.ask(rng.choice(("\n\n", "\n", " ")) + question, ", ".join(answers))
    if kind == "among" or rng.random() < 0.2:
        lines, end = [background.encode(text + "\n") for _, _, text in texts], length - len(ask)
        while lines and sum(map(len, lines)) > end:
            unasked = next((at for at, (key, _, _) in enumerate(texts) if not key), None)
            if unasked is None:
                return planted_facts(background, rng, length)
            del lines[unasked], texts[unasked]
        return Stretch().add([token for line in lines for token in line]).join(ask)
    gap = rng.choice(GAPS)
    pieces = [(rng.random(), Stretch().add(background.encode(f"{gap}{text}{gap}"))) for _, _, text in texts]
    places = sorted(place for place, _ in pieces)  # the texts keep their order
    pieces = [(place, fact) for place, (_, fact) in zip(places, pieces, strict=True)]
    used = sum(len(fact) for _, fact in pieces) + len(ask)
    if used > length - 8:
        return planted_facts(background, rng, length)
    return background.spread(rng, length - used, [*pieces, (2.0, ask)])


def variable_chains(background: Background, rng: random.Random, length: int) -> Stretch:
    """Names that are given a number, or the value of a name before: which names hold it? Others hold another number."""
    words = background.words
    give, pass_on = rng.choice(CHAINS)
    count, decoys = rng.randint(2, 6), rng.choice((0, 0, 1, 2, 3))
    alphabet = rng.choice(("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"))
    size = rng.choice((3, 4, 5, 5, 5, 6))
    drawn = words.different(rng, lambda rng: "".join(rng.choices(alphabet, k=size)), count + decoys)
    numbers = rng.sample(range(10**4, 10**6), 2)
    chains = [(drawn[:count], str(numbers[0])), (drawn[count:], str(numbers[1]))]
    lines: list[tuple[float, str]] = []
    for chain, number in chains:
        places = sorted(rng.random() for _ in chain)
        texts = [pass_on.format(new=new, old=old) for old, new in pairwise(chain)]
        lines += zip(places, [give.format(new=chain[0], value=number), *texts] if chain else [], strict=True)
    question = rng.choice(CHAIN_QUESTIONS).format(value=chains[0][1], count=count)
    ask = background.ask(question, " ".join(chains[0][0]))
    pieces = [(place, Stretch().add(background.encode(f"{text}\n"))) for place, text in lines]
    used = sum(len(fact) for _, fact in pieces) + len(ask)
    if used > length - 8:
        return planted_facts(background, rng, length)
    return background.spread(rng, length - used, [*pieces, (2.0, ask)])


CHAINS = (
    ("LET {new} = {value}", "LET {new} = {old}"), ("set {new} to {value}", "set {new} to {old}"),
    ("{new} := {value}", "{new} := {old}"), ("{new} = {value}", "{new} = {old}"),
    ("Give {new} the number {value}.", "Give {new} what {old} has."), ("name {new} = {value}", "name {new} = name {old}"),
    ("STORE {new} = {value} ", "STORE {new} = STORE {old} "), ("reg {new} <- {value}", "reg {new} <- reg {old}"),
)  # fmt: skip
CHAIN_QUESTIONS = (
    "\nWhich names hold {value}? They are:", "\nQ: which {count} names have the value {value}?\nA:",
    "\nList every name that was given {value}. The {count} names with {value} are:",
    "\nName whatever equals {value}. By the lines above, {count} names equal {value}, these:",
    "\nFollow the lines. Names that hold {value}:",
)  # fmt: skip
