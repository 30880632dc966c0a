"""Few-shot classification, made offline: sentences of six topics, each topic under a made-up label. Standard library only.

After the few-shot category of LongBench (TREC, arXiv:2308.14508): the label of a new text follows from labelled examples alone.
We differ: topics are plain to see and labels mean nothing, so what is measured is whether the examples are still there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

SUITE_VERSION = 1
LABELS = (
    "blick", "dax", "fep", "gorp", "kiki", "lorp", "mib", "nalt", "pesk", "rint", "sarn", "tulver", "vash", "wug", "yalp", "zib",
)  # fmt: skip
# Topic -> who, what they do, to what, when or where: any four make a sentence.
TOPICS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (
        ("A cold rain", "The morning fog", "A sudden storm", "The winter snow", "A warm breeze", "The thick cloud"),
        ("settled over", "moved across", "covered", "cleared from", "drifted towards", "hung above"),
        ("the valley", "the harbour", "the northern hills", "the coast", "the open fields", "the lake"),
        ("before dawn", "all afternoon", "for three days", "until the sun came out", "late in the season", "overnight"),
    ),
    (
        ("The cook", "My grandmother", "A young baker", "The new chef", "Our neighbour", "The kitchen boy"),
        ("stirred", "baked", "seasoned", "peeled", "served", "tasted"),
        ("the onion soup", "a loaf of rye bread", "the roasted carrots", "an apple pie", "the bean stew", "a pan of rice"),
        ("with butter", "on a low flame", "for the guests", "with fresh herbs", "in a copper pot", "without any salt"),
    ),
    (
        ("The violinist", "A jazz trio", "The choir", "A street drummer", "The pianist", "An old guitarist"),
        ("rehearsed", "played", "recorded", "sang", "opened with", "repeated"),
        ("a slow waltz", "the second movement", "an old ballad", "the final chorus", "a lively march", "the new tune"),
        ("in the concert hall", "from memory", "to loud applause", "an octave higher", "by request", "before the interval"),
    ),
    (
        ("The goalkeeper", "Our team captain", "A tall swimmer", "The young sprinter", "The visiting side", "The referee"),
        ("practised", "won", "missed", "stopped", "celebrated", "lost"),
        ("the last penalty", "the relay race", "a close match", "the opening round", "the cup final", "the decisive point"),
        ("in extra time", "by two goals", "in front of a full stadium", "after the whistle", "on the track", "this season"),
    ),
    (
        ("The bank", "A cautious investor", "The treasurer", "The tax office", "A small lender", "The auditor"),
        ("approved", "sold", "reviewed", "refused", "paid back", "recorded"),
        ("the loan", "a bundle of shares", "the yearly budget", "a mortgage", "the unpaid invoice", "the savings account"),
        ("at a lower rate", "before the deadline", "at a loss", "in two payments", "with interest", "this quarter"),
    ),
    (
        ("The train", "A ferry", "The night bus", "Our flight", "The slow tram", "A crowded coach"),
        ("reached", "departed from", "skipped", "waited outside", "returned to", "passed through"),
        ("the central station", "the border town", "the airport", "platform nine", "the old terminal", "the island port"),
        ("an hour late", "with every seat taken", "on schedule", "without stopping", "via the tunnel", "with a new driver"),
    ),
)  # fmt: skip
CHANCE = 1 / len(TOPICS)


@dataclass(frozen=True, slots=True)
class TopicsPlan:
    """`labels[t]` is the label of topic t in this sample; the asked text is of topic `topic`."""

    labels: tuple[str, ...]
    topic: int
    text: str

    @property
    def target(self) -> str:
        return self.labels[self.topic]


def plan_topics(*, context_length: int, seed: int, index: int) -> TopicsPlan:
    """Sample `index`: labels, and the text to be labelled."""
    rng = random.Random(f"kv/few_shot@{SUITE_VERSION}:{context_length}:{seed}:{index}")
    labels = tuple(rng.sample(LABELS, len(TOPICS)))
    topic = rng.randrange(len(TOPICS))
    return TopicsPlan(labels, topic, draw_sentence(rng, topic))


def draw_sentence(rng: random.Random, topic: int) -> str:
    return " ".join(rng.choice(part) for part in TOPICS[topic]) + "."


def draw_examples(plan: TopicsPlan, *, context_length: int, seed: int, index: int) -> Iterator[str]:
    """Labelled texts without end, every topic once in each six, in random order; the asked text is none of them."""
    rng = random.Random(f"kv/few_shot@{SUITE_VERSION}:examples:{context_length}:{seed}:{index}")
    while True:
        for topic in rng.sample(range(len(TOPICS)), len(TOPICS)):
            text = draw_sentence(rng, topic)
            while text == plan.text:
                text = draw_sentence(rng, topic)
            yield f"Text: {text}\nLabel: {plan.labels[topic]}\n\n"
