"""Recall without a sentence around it: tables, phone books, keys and values asked together, strings, copies."""

from __future__ import annotations

import random

from longboard_tasks.zoo.background import Background
from longboard_tasks.zoo.stretch import COPY, RECALL, REST, Stretch
from longboard_tasks.zoo.words import LETTERS

COPIED, FOLLOWING = 26, 12  # items of an answer
STRINGS = (
    "Here are some items:", "Items, one after the other:", "Read this row:", "The row:", "Signs to remember:", "Sequence:",
)  # fmt: skip
COPIES = (
    "\n\nSay the row again, from its start.\n\nThe row again:", "\n\nOnce more from the beginning:", "\nAgain:",
    "\n\nWrite the items down a second time:", "\n\nThe same row, starting with its first item:",
)  # fmt: skip
CONTINUATIONS = (
    "\n\nWhat comes next in the row after{gram}? Next:", "\n\nGo on as the row does:{gram} :", "\n\nAfter{gram} comes:",
    "\n\nGive what stands behind{gram} in the row.\n\nBehind{gram}:", "\nContinue{gram}:",
)  # fmt: skip
BEFORE = ("Look for what comes after{gram} in this row.", "The question will be what stands behind{gram}.")
AFTERWARDS = ("\n\nSay what comes after.\n\nAfter it comes:", "\n\nThe items behind it:", "\n\nWhat stood behind it:")
BOOKS = ("Directory:\n\n", "Telephone list\n", "Numbers of the members:\n\n", "People and their lines:\n", "")
BOOK_QUESTIONS = ("\nSay each number as listed.\n\n", "\nNow the numbers of these members.\n", "\n", "\n\nAsked:\n")
PAIR_QUESTIONS = (
    "\n\nWhat stands beside {keys}?\n\nBeside {keys}:", "\n\nLook up {keys}:", "\n\n{keys}?", "\nNumbers for {keys}:",
    "\n\nSay what belongs to {keys}.\nWhat belongs to {keys}:",
)  # fmt: skip


def tables(background: Background, rng: random.Random, length: int) -> Stretch:
    """Key-value lines; every other line repeats a key that was there, and its value has to be recalled."""
    words, encode = background.words, background.encode
    between, end = rng.choice((": ", " = ", " -> ", " is ", ", ", " ")), rng.choice(("\n", "; ", ". ", "\n\n"))
    most, wide = rng.randint(2, 32), rng.randint(1, 7)
    numbers = rng.random() < 0.7
    keys = words.keys(rng, most)
    values: dict[str, str] = {}
    whole = Stretch()
    while len(whole) < length:
        known = bool(values) and (len(values) == len(keys) or rng.random() < 0.5)
        key = rng.choice(list(values)) if known else keys[len(values)]
        if not known:
            values[key] = "".join(rng.choices("0123456789", k=wide)) if numbers else words.word(rng)
        whole.add(encode(key + between.rstrip()))
        value = encode((" " if between.endswith(" ") else "") + values[key])
        whole.add(value, RECALL if known else REST).add(encode(end))
    return whole


def phone_books(background: Background, rng: random.Random, length: int) -> Stretch:
    """A list of names with numbers, then some of the names again, each with its number to recall."""
    words, encode = background.words, background.encode
    head, question = encode(rng.choice(BOOKS)), encode(rng.choice(BOOK_QUESTIONS))
    width, kind = rng.choice((10, 10, 10, 7, 5)), rng.choice((words.full_name, words.full_name, words.made_up))
    asked = rng.randint(1, 4)
    budget = length - len(head) - len(question)
    book: dict[str, str] = {}
    lines: list[list[int]] = []
    while True:
        name, number = kind(rng), "".join(rng.choices("0123456789", k=width))
        line = encode(f"{name}: {number}\n")
        if budget - len(line) < (asked + 1) * (len(line) + 6):
            break
        if name not in book:
            book[name] = number
            lines.append(line)
            budget -= len(line)
    whole = Stretch().add(head).add([token for line in lines for token in line]).add(question)
    for name in rng.sample(list(book), min(asked, len(book))):
        whole.join(background.ask(f"{name}:", book[name], end="\n"))
    return whole


def key_values(background: Background, rng: random.Random, length: int) -> Stretch:
    """A block of short keys and values within prose; several keys are asked for in one question."""
    words, encode = background.words, background.encode
    size, width = rng.choice((3, 4, 4, 5)), rng.choice((3, 4, 4, 5))
    count = rng.randint(4, max(4, min(128, (length - 60) // 20)))
    keys = words.different(rng, lambda rng: "".join(rng.choices(LETTERS, k=size)), count)
    values = ["".join(rng.choices("0123456789", k=width)) for _ in keys]
    between, end = rng.choice((": ", ": ", " = ", " ")), rng.choice(("\n", "\n", "; "))
    block = encode("\n\n" + "".join(f"{k}{between}{v}{end}" for k, v in zip(keys, values, strict=True)) + "\n")
    asked = rng.sample(range(count), rng.randint(1, 4))
    question = rng.choice(PAIR_QUESTIONS).format(keys=", ".join(keys[at] for at in asked))
    ask = background.ask(question, " ".join(values[at] for at in asked))
    room = length - len(block) - len(ask)
    if room < 0:
        return tables(background, rng, length)
    return background.spread(rng, room, [(rng.random(), Stretch().add(block)), (2.0, ask)])


def strings(background: Background, rng: random.Random, length: int) -> Stretch:
    """A row of letters, digits or words that fills the context: say its beginning again, or what follows some of it."""
    words, encode = background.words, background.encode
    kind = rng.random()
    pool = list(LETTERS) if kind < 0.6 else list(LETTERS.upper()) if kind < 0.7 else list("0123456789")
    pool = words.different(rng, words.word, 40) if kind > 0.8 else pool
    size = rng.randint(5, 9)
    cost = 2 if kind > 0.8 else 1
    count = (length - 80 - 3 * size * cost) // cost
    if count < FOLLOWING + size:
        return copies(background, rng, length)
    row = rng.choices(pool, k=rng.randint(max(FOLLOWING + size, count // 2), count))
    head = rng.choice(STRINGS)
    if rng.random() < 0.4:
        question, answer = rng.choice(COPIES), row[:COPIED]
    else:
        at = rng.choice((0, rng.randrange(len(row) - size - 1), len(row) - size - FOLLOWING))
        gram = "".join(f" {item}" for item in row[at : at + size])
        answer = row[at + size : at + size + FOLLOWING]
        if rng.random() < 0.4:
            head, question = rng.choice(BEFORE).format(gram=gram) + "\n\n" + head, rng.choice(AFTERWARDS)
        else:
            question = rng.choice(CONTINUATIONS).format(gram=gram)
    ask = background.ask(question, " ".join(answer))
    body = encode(head + "".join(f" {item}" for item in row))
    return Stretch().add(body).join(ask) if len(body) + len(ask) <= length else copies(background, rng, length)


def copies(background: Background, rng: random.Random, length: int) -> Stretch:
    """A stretch of prose or of random tokens, something else, and the stretch again; as often as it fits."""
    encode, whole = background.encode, Stretch()
    while len(whole) < length:
        size = rng.randint(8, max(9, min(256, length // 2)))
        original = background.excerpt(rng, size) if rng.random() < 0.5 else background.random_tokens(rng, size)
        whole.add(original).add(background.excerpt(rng, rng.randint(0, 64))).add(encode("\n"))
        # The first two tokens cannot be known; they say which stretch returns.
        whole.add(original[:2]).add(original[2:], COPY).add(encode("\n"))
    return whole
