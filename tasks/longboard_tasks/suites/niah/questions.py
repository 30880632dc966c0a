"""RULER's question answering: `qa_1` (one document answers) and `qa_2` (two do), on generated documents or on the real files.

Source: Hsieh et al. 2024 (RULER, arXiv:2404.06654); template and choice of documents after NVIDIA/RULER c3f5e3b, Apache-2.0: the
wording of INSTRUCTION, QUESTION and PREFIX is RULER's. We differ: the documents are generated (documents.py) unless a file is
given, and the answer's place varies; see docs/suites/niah.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, cycle, islice
from pathlib import Path
from typing import Any

from longboard_tasks.engine.errors import SuiteError
from longboard_tasks.engine.samples import Sample
from longboard_tasks.suites.niah import documents
from longboard_tasks.suites.niah.layout import Around, flatten, surround, unit_ids
from longboard_tasks.suites.niah.plan import CORPUS, draw, join, nearest_quarter, plan_question

NEW_TOKENS = 32
ORDER = (
    "Answer the question based on the given documents. Only give me the answer and do not output any other words.\n\n"
)
INSTRUCTION = ORDER + "The following are given documents.\n\n"
QUESTION = ORDER + "Question: {question}"
PREFIX = " Answer:"


@dataclass(frozen=True, slots=True)
class RealQuestion:
    question: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]  # numbers of the documents that go with the question
    near: tuple[int, ...] = ()  # other paragraphs of the same article: taken before any other


@dataclass(frozen=True, slots=True)
class RealQuestions:
    documents: tuple[str, ...]
    questions: tuple[RealQuestion, ...]


def make_sample(*, task: str, context_length: int, seed: int, index: int, tokenizer: Any) -> Sample:
    """A question about generated documents: the answer's, then others until the room is full. Raises TooShort."""
    ask = {"context_length": context_length, "seed": seed, "index": index}
    plan, rng = plan_question(task, **ask), draw(task, **ask, part="documents")
    others = [number for number in range(CORPUS) if number not in plan.gold]
    rng.shuffle(others)

    def text(number: int) -> str:
        return documents.document(task, number)

    made = _build(tokenizer, context_length, text, plan.gold, chain(others, count(CORPUS)), plan.question)
    body = made.body(made.place([plan.share, plan.second_share]))
    depth = nearest_quarter(plan.share) if task == "qa_1" else None
    return made.around.sample(body, task=task, index=index, target=plan.answer, depth=depth, new_tokens=NEW_TOKENS)


def make_real_sample(
    *, task: str, real: RealQuestions, context_length: int, seed: int, index: int, tokenizer: Any
) -> Sample:
    """Question `index` of a real file, with its documents at random places. Its target is known to who has the file alone."""
    if index >= len(real.questions):
        raise SuiteError(f"Question {index} was asked for; the file has {len(real.questions)}. Ask for fewer samples.")
    asked = real.questions[index]
    rng = draw(task, context_length=context_length, seed=seed, index=index, part="documents")
    near = rng.sample(asked.near, len(asked.near))
    rest = [number for number in range(len(real.documents)) if number not in {*asked.gold, *near}]
    rng.shuffle(rest)
    others: Iterable[int] = cycle([*near, *rest]) if near or rest else ()
    made = _build(tokenizer, context_length, real.documents.__getitem__, asked.gold, iter(others), asked.question)
    body = made.body(made.place([rng.random() for _ in asked.gold]))
    return made.around.sample(body, task=task, index=index, target=join(asked.answers), new_tokens=NEW_TOKENS)


def load_squad(path: Path) -> RealQuestions:
    """SQuAD 2.0's JSON (CC BY-SA 4.0, not shipped): answerable questions; documents sorted and distinct, as upstream."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    texts = sorted({paragraph["context"] for article in articles for paragraph in article["paragraphs"]})
    number_of = {text: number for number, text in enumerate(texts)}
    questions = []
    for article in articles:
        article_numbers = list(dict.fromkeys(number_of[paragraph["context"]] for paragraph in article["paragraphs"]))
        for paragraph in article["paragraphs"]:
            gold = number_of[paragraph["context"]]
            near = tuple(number for number in article_numbers if number != gold)
            questions += [
                RealQuestion(qa["question"], tuple(answer["text"] for answer in qa["answers"]), (gold,), near)
                for qa in paragraph["qas"]
                if not qa["is_impossible"]
            ]
    return RealQuestions(tuple(texts), tuple(questions))


def load_hotpotqa(path: Path) -> RealQuestions:
    """HotpotQA's distractor JSON (CC BY-SA 4.0, not shipped): all ten paragraphs of a question go with it, as upstream."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    texts_of = [[f"{title}\n{''.join(sentences)}" for title, sentences in row["context"]] for row in rows]
    texts = sorted({text for texts in texts_of for text in texts})
    number_of = {text: number for number, text in enumerate(texts)}
    questions = [
        RealQuestion(row["question"], (row["answer"],), tuple(dict.fromkeys(number_of[text] for text in mine)))
        for row, mine in zip(rows, texts_of, strict=True)
    ]
    return RealQuestions(tuple(texts), tuple(questions))


@dataclass(frozen=True, slots=True)
class _Built:
    around: Around
    gold: list[list[int]]
    others: list[list[int]]
    headers: list[list[int]]

    def place(self, shares: Sequence[float]) -> list[int]:
        """Where each gold document goes: a distinct place for each share of the documents."""
        total, taken = len(self.gold) + len(self.others), list[int]()
        for _, share in zip(self.gold, shares, strict=False):
            place = int(share * total)
            while place in taken:
                place = (place + 1) % total
            taken.append(place)
        return taken

    def body(self, places: Sequence[int]) -> list[int]:
        order = list[list[int]]()
        gold_at, rest = dict(zip(places, self.gold, strict=True)), iter(self.others)
        for place in range(len(self.gold) + len(self.others)):
            order += [self.headers[place], gold_at[place] if place in gold_at else next(rest)]
        return flatten(order)


def _build(
    tokenizer: Any,
    context_length: int,
    text: Callable[[int], str],
    gold: Sequence[int],
    others: Iterator[int],
    question: str,
) -> _Built:
    """The gold documents and as many others as fit, each with its header; at least one other."""
    first = list(islice(others, 1))
    golden = unit_ids(tokenizer, [f"{text(number)}\n\n" for number in (*gold, *first)])
    headers = unit_ids(tokenizer, [f"Document {place}:\n" for place in range(1, len(golden) + 1)])
    least = sum(map(len, golden)) + sum(map(len, headers))
    around = surround(
        tokenizer,
        context_length,
        opening=INSTRUCTION,
        question=QUESTION.format(question=question),
        prefix=PREFIX,
        least=least,
    )
    chosen, room = golden[len(gold) :], around.room - least
    while True:
        batch = list(islice(others, 64))
        if not batch:
            break
        more = unit_ids(tokenizer, [f"{text(number)}\n\n" for number in batch])
        heads = unit_ids(tokenizer, [f"Document {place}:\n" for place in range(len(headers) + 1, len(headers) + 65)])
        for head, ids in zip(heads, more, strict=False):
            if len(head) + len(ids) > room:
                return _Built(around, golden[: len(gold)], chosen, headers)
            headers.append(head)
            chosen.append(ids)
            room -= len(head) + len(ids)
    return _Built(around, golden[: len(gold)], chosen, headers)
