"""Submissions that name a method and a budget, run by the real engine, handed in, and read on the method's page."""

from __future__ import annotations

import re

import pytest
from django.utils import timezone
from tests import factories
from tests.factories import NOW
from tests.pages.reading import parsed, text
from tests.services.test_results import Worker

from longboard.boards.models import Cell
from longboard.errors import BadRequest
from longboard.registry.models import Method, System
from longboard.results.models import Bundle
from longboard.submissions.requests import SubmissionRequest
from longboard.submissions.services import submit
from longboard_tasks.contract import ModelRef, SystemSpec
from longboard_tasks.evaluate import evaluate, open_system
from longboard_tasks.intervals import paired_interval
from longboard_tasks.suites.kv.compare import switch_method

pytestmark = pytest.mark.django_db
SAMPLES = 4


@pytest.fixture
def ada():
    factories.make_suite("kv")
    factories.make_pool()
    return factories.make_user("ada")


def ask(**fields):
    defaults = {
        "model": "llama-3m", "suites": ("kv", "efficiency"), "tasks": ("kv/needle", "kv/pairs"), "context_lengths": (512,),
        "pools": ("local-cpu",), "samples": SAMPLES,
    }  # fmt: skip
    return SubmissionRequest(**(defaults | fields))


def rows_of(response):
    table = parsed(response).xpath("//section[@aria-labelledby='budgets']//table")[0]
    heads = [text(cell) for cell in table.xpath("./thead//th")]
    return [
        dict(zip(heads, [text(cell) for cell in row.xpath("./th|./td")], strict=True))
        for row in table.xpath("./tbody/tr")
    ]


def test_methods_run_end_to_end_and_stand_beside_the_full_cache(client, ada, tmp_path, django_assert_max_num_queries):
    method = {"method": "streaming_llm", "budget": 0.25}
    for fields in ({}, method, method | {"settings": {"question_aware": True}}):
        submit(author=ada, request=ask(**fields), now=NOW)
    worker, scores = Worker(now=timezone.now()), {}  # an evaluation says when it began
    loaded = open_system(SystemSpec(model=ModelRef(source="zoo", id="llama-3m")))
    for number in range(6):
        ticket = worker.take()
        loaded = switch_method(loaded, ticket.run.system)
        bundle = evaluate(
            ticket.run, work_dir=tmp_path / str(number), system=loaded, attempt_id=ticket.attempt_id, fence=ticket.fence
        )
        assert worker.hand_in(ticket, bundle).state == Bundle.State.ACCEPTED, Bundle.objects.last().reason
        if bundle.samples:
            scores[ticket.run.system.digest] = {(s.task, s.index): s.score for s in bundle.samples}
    held = {
        c.system.method.name: c.value
        for c in Cell.objects.filter(metric="cache_bytes").select_related("system__method").order_by("pk")
    }
    token = 2 * 6 * 6 * 32 * 4  # both, six layers and heads, 32 channels, fp32
    assert held["none"] == 512 * token
    # 511 tokens compressed, the last read after that; a mark of four bytes for each slot and head.
    assert held["streaming_llm"] == (127 + 1) * (token + 6 * 6 * 4)

    with django_assert_max_num_queries(12):
        response = client.get("/methods/streaming_llm/")
    full, agnostic, aware = rows_of(response)
    svg, key = ("//svg[contains(@class, 'wide')]//a[@class]/path[@class='mark']", "//tbody//svg/path[@class='mark']")
    shapes = [
        [(path.getparent().get("class").split()[1], path.get("d")) for path in parsed(response).xpath(at)]
        for at in (svg, key)
    ]
    assert sorted(shapes[0]) == sorted(shapes[1]), "a system has one look in the chart and in the table"
    assert full["Budget"] == "full cache"
    assert agnostic["Budget"] == "0.25"
    assert "question seen" in aware["Budget"]
    assert agnostic["Share held"] == f"{held['streaming_llm'] / held['none']:.3f}"
    by_label = {system.label: system.digest for system in System.objects.select_related("model", "method")}
    first = scores[by_label["Llama 3M (float32)"]]
    second = scores[by_label["Llama 3M + StreamingLLM 0.25 (float32)"]]
    assert by_label["Llama 3M + StreamingLLM 0.25, question seen (float32)"] in scores
    keys = sorted(first)
    value, low, high = paired_interval([first[k] for k in keys], [second[k] for k in keys])
    said = agnostic["Accuracy, all tasks"].replace("−", "-")
    assert f"n={2 * SAMPLES}" in said
    told = said.partition(f"n={2 * SAMPLES}")[2].replace("±", "")
    numbers = [float(x) for x in re.findall(r"[-+]?\d\.\d+", told)]
    assert numbers == pytest.approx([value, low, high], abs=0.006)
    assert {"Accuracy, retrieval", "Accuracy, recall"} <= set(full)
    assert "n_sink" in text(parsed(response))
    with django_assert_max_num_queries(12):
        everything = client.get("/methods/")
    assert [row["Budget"] for row in rows_of(everything)][:2] == ["full cache", "StreamingLLM 0.25"]
    board = client.get(parsed(everything).xpath("//a[text()='The board of this suite, length and hardware']/@href")[0])
    assert "StreamingLLM 0.25" in text(parsed(board))  # accuracy against measured bytes
    assert parsed(client.get("/methods/streaming_llm/?length=99&model=x")).xpath("//h1")
    Cell.objects.filter(
        system__settings={"question_aware": True}, suite__name="kv", metric="accuracy", task="pairs"
    ).delete()
    *_, partial = rows_of(client.get("/methods/streaming_llm/"))
    assert "question seen" in partial["Budget"]
    assert partial["Accuracy, all tasks"] == "not measured"  # some tasks are no whole
    assert "n=" in partial["Accuracy, retrieval"]

    Cell.objects.filter(suite__kind="efficiency").delete()
    bare = client.get("/methods/streaming_llm/")
    assert "Share held" not in rows_of(bare)[0]  # what nobody measured is said once, not in a column of its own
    assert not any("not measured" in row["Accuracy, retrieval"] for row in rows_of(bare))
    assert "Accuracy alone was measured here" in text(parsed(bare))


def test_methods_open_with_a_model_whose_accuracy_was_measured(client, ada):
    """Random weights have bytes and times for every method, and would stand first by name."""
    method = Method.objects.get(name="streaming_llm")
    for slug, metrics in (("a-shape", ("cache_bytes",)), ("b-model", ("cache_bytes", "accuracy"))):
        system = factories.make_system(factories.make_model(slug, title=slug.title()), method=method, budget=0.25)
        run = factories.make_accepted_run(system)
        for metric in metrics:
            factories.make_cell(run, metric, 0.5)
    assert "on B-Model" in text(parsed(client.get("/methods/")))
    assert "on A-Shape" in text(parsed(client.get("/methods/?model=a-shape")))


def test_a_method_without_numbers_and_one_that_is_not_there(client, ada):
    page = text(parsed(client.get("/methods/snapkv/")))
    assert "Nothing has been measured with it yet" in page
    assert "arXiv:2404.14469" in page
    assert client.get("/methods/magic/").status_code == 404
    listed = parsed(client.get("/methods/")).xpath("//section[@aria-labelledby='all']//tbody/tr")
    assert len(listed) == 14


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"method": "int4"}, "has the budget 0.25, not 1"),
        ({"method": "snapkv", "budget": 0.5, "settings": {"window": 3}}, 'no setting "window"'),
        ({"settings": {"question_aware": True}}, 'Method "none" has no setting'),
    ],
)
def test_what_a_node_would_refuse_is_refused_at_once(ada, fields, says):
    with pytest.raises(BadRequest, match=re.escape(says)):
        submit(author=ada, request=ask(**fields), now=NOW)
    assert System.objects.count() == 0
