"""The names, places, things and verbs of the people in bAbI's stories, as released (v1.2, CC BY 3.0). Standard library only."""

from __future__ import annotations

PEOPLE = ("John", "Mary", "Sandra", "Daniel")
GIVERS = ("Mary", "Fred", "Bill", "Jeff")  # qa5
GUESSED = ("Fred", "Bill", "Mary", "Julie")  # qa10, qa14
MOODY = ("Yann", "Jason", "Antoine", "Sumit")  # qa20
WOMEN = ("Mary", "Sandra")
ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
TOWN = ("bedroom", "cinema", "kitchen", "office", "park", "school")  # qa10, qa14
OBJECTS = ("apple", "football", "milk")
MOVES = ("travelled to", "went to", "journeyed to", "moved to", "went back to")
GETS = ("grabbed", "picked up", "got", "took")
DROPS = ("dropped", "put down", "left", "discarded")
GIVES = ("gave", "handed", "passed")
LINKS = ("Then", "After that", "Afterwards", "Following that")
TIMES = ("yesterday", "this morning", "this afternoon", "this evening")
COUNTS = ("none", "one", "two", "three")
MOODS = {  # mood: (where it sends a person, what it makes them take)
    "tired": ("bedroom", "pajamas"),
    "hungry": ("kitchen", "apple"),
    "thirsty": ("kitchen", "milk"),
    "bored": ("garden", "football"),
}
