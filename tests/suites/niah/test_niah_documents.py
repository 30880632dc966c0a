"""The questions of niah@1 on documents (qa_1, qa_2): the answer stands in its own document, each name in one fact."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.suites.niah.making import few, indexes, make, seeds, text_of

from longboard_tasks.suites.niah import documents, plan, pools


@few
@given(st.sampled_from(["qa_1", "qa_2"]), st.integers(1_300, 20_000), seeds, indexes)
def test_the_answer_stands_in_its_own_document_alone_and_the_documents_are_numbered(task, length, seed, index):
    sample = make(task, length, seed, index)
    text = text_of(sample, 0, sample.context)
    assert text.count(sample.target) == 1
    made = plan.plan_question(task, context_length=length, seed=seed, index=index)
    parts = re.split(
        r"Document (\d+):\n", text.partition("given documents.\n\n")[2].partition("documents.\n\n")[2] or text
    )
    numbers = [int(number) for number in re.findall(r"^Document (\d+):$", text, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert parts
    for number in made.gold:
        assert text.count(documents.document(task, number)) == 1
    if task == "qa_1":
        before = text[: text.index(documents.document(task, made.gold[0]))]
        assert before.count("Document ") - 1 == int(made.share * len(numbers))
    else:  # what links the two documents stands in these two alone
        founder = re.search(r"was founded by (\w+),", documents.document(task, made.gold[0]))[1]
        assert all(founder in document for document in map(documents.document, [task] * 2, made.gold))
        assert text.count(f"{founder} was born in the village of {sample.target},") == 1


@pytest.mark.parametrize("task", ["qa_1", "qa_2"])
def test_generated_documents_are_distinct_and_names_belong_to_one_fact(task):
    texts = [documents.document(task, number) for number in range(2_000)]
    assert len(set(texts)) == 2_000
    facts = [documents.one_hop(n) if task == "qa_1" else documents.two_hop(n) for n in range(1_000)]
    assert len({fact.answer for fact in facts}) == len({fact.question for fact in facts}) == 1_000
    assert len({pools.name(serial) for serial in range(100_000)}) == 100_000
