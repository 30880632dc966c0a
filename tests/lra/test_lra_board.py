"""Architectures on the board: the mean of six, a front for each task, the suite's page, and what others report."""

from __future__ import annotations

import pytest
from django.utils import timezone
from tests import factories
from tests.factories import NOW
from tests.lra.asking import SIX
from tests.pages.reading import parsed, text

from longboard.boards.metrics import MEAN
from longboard.boards.models import Cell, Column
from longboard.boards.summaries import write_cells, write_means
from longboard.errors import BadRequest
from longboard.registry.models import Model, Suite, System
from longboard.reports.requests import ReportRequest
from longboard.reports.services import post_report
from longboard.submissions.models import Run

pytestmark = pytest.mark.django_db


def put(system: System, run: Run, task: str, value: float, *, rate: float = 1e4) -> None:
    """What an accepted Run of the task would have left."""
    length = next(t["lengths"][0] for t in run.suite.definition["tasks"] if t["name"] == task)
    common = {
        "system": system, "hardware": run.pool.hardware, "suite": run.suite, "task": task, "context_length": length,
        "trust": "measured", "runs": 1, "last_run": run,
    }  # fmt: skip
    cells = [
        Cell(**common, metric="accuracy", value=value, ci_low=value - 0.02, ci_high=value + 0.02, n=2_000, unit="share")
    ]
    for metric, unit in (
        ("train_tokens_per_s", "tokens/s"), ("train_peak_memory_bytes", "bytes"), ("forward_tokens_per_s", "tokens/s"),
    ):  # fmt: skip
        cells.append(Cell(**common, metric=metric, value=rate, ci_low=rate, ci_high=rate, n=3, unit=unit))
    write_cells(cells, now=NOW)
    write_means(run.suite, system.pk, run.pool.hardware_id, length, now=NOW)


@pytest.fixture
def measured(ada):
    suite = Suite.objects.get(name="lra")
    systems = []
    for name in ("softmax", "s4d"):
        model = Model.objects.get(ref=name, source="architecture")
        system = factories.make_system(model)
        submission = factories.make_submission(ada, system)
        systems.append((system, factories.make_run(submission, suite=suite, state="accepted", tasks=["listops"])))
    return systems


def test_the_mean_is_of_the_six_tasks_or_there_is_none(measured):
    system, run = measured[0]
    for at, task in enumerate(SIX[:-1]):
        put(system, run, task, 0.5 + at / 100)
        put(system, run, "listops_short", 0.9)  # beside them: no part of it
    assert not Cell.objects.filter(task="all").exists()
    put(system, run, SIX[-1], 0.6)
    mean = Cell.objects.get(task="all", metric=MEAN)
    assert mean.value == pytest.approx((0.5 + 0.51 + 0.52 + 0.53 + 0.54 + 0.6) / 6)
    assert mean.context_length == 16_384
    # Independent tasks: their arms add as squares.
    assert mean.ci_high - mean.value == pytest.approx(0.02 / 6**0.5)
    assert mean.n == 6 * 2_000


def test_the_board_of_the_mean_ranks_complete_sets_and_calls_others_partial(measured, client):
    (softmax, first), (s4d, second) = measured
    for task in SIX:
        put(softmax, first, task, 0.6)
    for task in SIX[:4]:
        put(s4d, second, task, 0.9)
    page = client.get("/boards/lra/?task=all")
    shown = text(parsed(page))
    assert "partial: 4 of 6 tasks" in shown
    assert "Softmax attention" in shown
    assert Column.objects.get(task="all", metric=MEAN).size == 1


def test_each_task_has_a_front_of_accuracy_against_its_own_training(measured, client):
    (softmax, first), (s4d, second) = measured
    put(softmax, first, "listops", 0.40, rate=1e4)
    put(s4d, second, "listops", 0.60, rate=3e4)
    put(s4d, second, "text", 0.60, rate=9e9)  # another task's costs do not stand here
    board = client.get("/boards/lra/?cost=train_tokens_per_s")
    shown = text(parsed(board))
    assert "Training rate" in shown
    assert "2 systems, 1 on the front" in shown
    api = client.get("/api/v1/boards/lra?context_length=2000&hardware=local-cpu&task=listops").json()
    assert api["cost_metric"] == "train_tokens_per_s"
    assert [(line["model"], line["cost"], line["on_front"]) for line in api["rows"]] == [
        ("lra-s4d", 3e4, True), ("lra-softmax", 1e4, False),
    ]  # fmt: skip
    for query in ("?cost=ttft_ms", "?task=listops_smoke"):
        assert "There is no" in text(parsed(client.get(f"/boards/lra/{query}")))
    assert client.get("/boards/lra/lengths/").status_code == 200
    at_one_length = text(parsed(client.get("/boards/lra/lengths/?threshold=0.5")))
    assert "S4D holds accuracy of 0.5 or more at 2,000 tokens, the one length measured" in at_one_length
    assert client.get(f"/compare/?system={softmax.slug}&system={s4d.slug}").status_code == 200
    suite = parsed(client.get("/suites/lra/"))
    links = suite.xpath("//section[@aria-labelledby='places']//td/a/@href")
    assert len(links) == 2
    assert all(client.get(link).status_code == 200 for link in links)
    hardware = parsed(client.get("/hardware/local-cpu/"))
    assert "Long Range Arena: Byte-level text" in text(hardware)
    assert "Byte-level text" in text(parsed(client.get("/models/lra-s4d/")))
    assert "Training rate" in text(parsed(client.get(f"/systems/{s4d.slug}/")))


def test_an_address_that_names_no_task_opens_one_with_numbers(measured, client):
    (softmax, run), _ = measured
    put(softmax, run, "listops_short", 0.4)
    for path in ("/boards/lra/", "/boards/lra/lengths/"):
        assert client.get(path).headers["Location"].endswith("task=listops_short")
    assert client.get("/boards/lra/lengths/?task=listops").status_code == 200


def test_the_suites_page_has_every_architecture_task_by_task_and_its_speed_by_length(
    measured, client, django_assert_max_num_queries
):
    (softmax, first), (s4d, second) = measured
    for task in SIX:
        put(s4d, second, task, 0.7)
    put(softmax, first, "listops", 0.9)
    put(softmax, first, "listops_smoke", 0.1)
    for length, rate in ((1_024, 5e4), (4_096, 2e4)):
        common = {
            "hardware": first.pool.hardware,
            "suite": first.suite,
            "trust": "measured",
            "runs": 1,
            "last_run": first,
        }
        cell = Cell(
            **common, system=softmax, task="speed", metric="forward_tokens_per_s", context_length=length, value=rate,
            ci_low=rate, ci_high=rate, n=7, unit="tokens/s",
        )  # fmt: skip
        write_cells([cell], now=NOW)
    with django_assert_max_num_queries(8):
        page = parsed(client.get("/suites/lra/"))
    arena = page.xpath("//section[@aria-labelledby='arena']")[0]
    heads = [text(cell) for cell in arena.xpath(".//thead//th")]
    assert heads == [
        "System", "ListOps", "Byte-level text", "Document retrieval", "Pixel-sequence images", "Pathfinder", "Path-X",
        "ListOps, 1,500 steps", "Mean",
    ]  # fmt: skip
    rows = [[text(cell) for cell in row.xpath("./th|./td")] for row in arena.xpath(".//tbody/tr")]
    assert [row[0] for row in rows] == [
        "S4D (float32)",
        "Softmax attention (float32)",
    ]  # a mean goes before a higher part
    assert rows[0][-1].startswith("0.70")
    assert rows[1][-1] == "partial: 1 of 6 tasks"
    assert rows[1][2] == "not measured"
    for url in arena.xpath(".//thead//a/@href"):
        assert client.get(url).status_code == 200
    speed = page.xpath("//section[@aria-labelledby='speed-1']//tbody/tr")
    assert [text(cell) for cell in speed[0].xpath("./td")] == ["0.0500", "0.0200"]  # million tokens/s


def test_a_run_that_failed_is_missing_from_its_own_tasks_board_alone(measured, client):
    (softmax, first), (_, second) = measured
    put(softmax, first, "text", 0.6)
    put(softmax, first, "retrieval", 0.6)
    factories.make_run(
        second.submission, suite=second.suite, tasks=["text"], context_length=4_000, state="failed", failure_class="oom",
        pool=second.pool, samples=3,
    )  # fmt: skip
    assert "out of memory" in text(parsed(client.get("/boards/lra/?task=text")))
    assert "out of memory" not in text(parsed(client.get("/boards/lra/?task=retrieval")))
    factories.make_run(
        second.submission, suite=second.suite, tasks=["speed"], context_length=4_096, state="failed", failure_class="oom",
        pool=second.pool, samples=3,
    )  # fmt: skip
    page = parsed(client.get("/models/lra-s4d/"))
    lines = [text(row) for row in page.xpath("//section[@aria-labelledby='trained-title']//tbody/tr")]
    assert len(lines) == 2
    assert all("failed: out of memory" in line for line in lines)
    assert any("Speed of the text classifier" in line and "4K" in line for line in lines)


def report(ada, model: str, **number) -> None:
    said = {
        "suite": "lra", "task": "listops", "metric": "accuracy", "context_length": 2_000, "value": 0.6, "n": 2_000,
        "ci_low": 0.58, "ci_high": 0.62,
    }  # fmt: skip
    body = {"model": model, "hardware": "local-cpu", "source": "https://example.org/paper", "dtype": "bfloat16"}
    post_report(
        author=ada, request=ReportRequest.model_validate({**body, "numbers": [said | number]}), now=timezone.now()
    )


def test_somebody_elses_numbers_stand_on_its_task_for_who_asks_and_checkpoints_report_nothing_here(
    measured, ada, client
):
    put(*measured[0], "listops", 0.4)
    report(ada, "lra-s4d")
    assert "S4D" not in text(parsed(client.get("/boards/lra/")))
    assert "S4D" in text(parsed(client.get("/boards/lra/?trust=self-reported")))
    with pytest.raises(BadRequest, match='trains architectures from scratch, and "llama-3m" has weights'):
        report(ada, "llama-3m")
    with pytest.raises(BadRequest, match="does not train architectures from scratch"):
        report(ada, "lra-s4d", suite="niah", task="single")
    with pytest.raises(BadRequest, match="has 2000 tokens, not 4000"):
        report(ada, "lra-s4d", context_length=4_000)
