"""Architectures on the platform: asked for, refused, priced, trained by the real trainer, handed in, and on the board."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone
from tests import factories
from tests.factories import NOW
from tests.pages.reading import parsed, text
from tests.services.test_results import Worker

from longboard.boards.metrics import MEAN
from longboard.boards.models import Cell, Column, FrontEntry
from longboard.boards.summaries import write_cells, write_means
from longboard.errors import BadRequest, NotFound
from longboard.registry.models import Model, Suite, System
from longboard.registry.services import architecture_model, sync_catalogue
from longboard.reports.requests import ReportRequest
from longboard.reports.services import post_report
from longboard.results.models import Bundle, Measurement, Sample
from longboard.submissions.models import Run
from longboard.submissions.quotes import quote
from longboard.submissions.requests import SubmissionRequest
from longboard.submissions.services import submit
from longboard_tasks.baselines import FOLDER, read_baselines
from longboard_tasks.contract import ModelRef, canonical_json
from longboard_tasks.evaluate import evaluate

pytestmark = pytest.mark.django_db
SIX = ["image", "listops", "pathfinder", "pathx", "retrieval", "text"]


@pytest.fixture
def ada():
    factories.make_suite("lra")
    factories.make_pool()
    return factories.make_user("ada", is_staff=True)  # no quota: six trainings on a CPU would take years


def ask(**fields) -> SubmissionRequest:
    return SubmissionRequest(**({"model": "lra-softmax", "suites": ("lra",), "pools": ("local-cpu",)} | fields))


def smoke(ada, worker: Worker, folder, **fields):
    """One tiny training from request to bundle: (Run, its bundle's row, the bundle as handed in)."""
    submission, _ = submit(
        author=ada, request=ask(**({"tasks": ("lra/listops_smoke",), "samples": 1} | fields)), now=NOW
    )
    ticket = worker.take()
    bundle = evaluate(ticket.run, work_dir=folder, models_dir=folder, attempt_id=ticket.attempt_id, fence=ticket.fence)
    row = worker.hand_in(ticket, bundle)
    return submission.runs.get(), row, bundle


# --- requests --------------------------------------------------------------------------------------------------------


def test_an_architecture_alone_asks_for_the_six_tasks_each_at_its_own_length(ada):
    submission, _ = submit(author=ada, request=ask(), now=NOW)
    runs = list(submission.runs.order_by("context_length"))
    assert sorted(task for run in runs for task in run.tasks) == SIX
    assert {run.tasks[0]: run.context_length for run in runs} == {
        "image": 1_024, "pathfinder": 1_024, "listops": 2_000, "text": 4_000, "retrieval": 4_000, "pathx": 16_384,
    }  # fmt: skip
    assert {run.samples for run in runs} == {3}


def test_context_lengths_choose_among_the_tasks_and_tasks_may_be_named(ada):
    by_length, _ = submit(author=ada, request=ask(context_lengths=(1_024,)), now=NOW)
    assert sorted(run.tasks[0] for run in by_length.runs.all()) == ["image", "pathfinder"]
    clock, _ = submit(author=ada, request=ask(tasks=("lra/speed",), context_lengths=(1_024, 4_096)), now=NOW)
    assert sorted((run.tasks[0], run.context_length) for run in clock.runs.all()) == [
        ("speed", 1_024),
        ("speed", 4_096),
    ]


def test_a_configuration_makes_a_model_of_its_own_once_however_it_is_written(ada):
    first, _ = submit(author=ada, request=ask(model="lra-local", configuration={"causal": True, "window": 32}), now=NOW)
    again, _ = submit(author=ada, request=ask(model="lra-local", configuration={"window": 32, "causal": True}), now=NOW)
    plain, _ = submit(
        author=ada, request=ask(model="lra-local", configuration={"causal": False, "window": 64}), now=NOW
    )
    assert first.system == again.system != plain.system
    assert first.system.model.slug == "lra-local-causal-window-32"
    assert first.system.model.title == "Local window, causal, window 32"
    assert plain.system.model.slug == "lra-local"
    spec = first.system.as_spec()
    assert spec.model == ModelRef(source="architecture", id="local", configuration={"causal": True, "window": 32})
    assert spec.digest == first.system.digest
    # Its own slug can be asked for like any other.
    variant, _ = submit(author=ada, request=ask(model="lra-local-causal-window-32"), now=NOW)
    assert variant.system == first.system


def test_bundles_from_before_there_were_configurations_keep_their_bytes_and_digests():
    baseline = next(read_baselines(FOLDER / "xeon-2-cores"))
    assert canonical_json(baseline.bundle) == baseline.signed.payload.encode()
    assert canonical_json(baseline.bundle.run.system).decode() in baseline.signed.payload


def test_only_an_architecture_takes_a_configuration():
    with pytest.raises(ValueError, match="only an architecture takes a configuration"):
        ModelRef(source="zoo", id="llama-3m", configuration={"causal": True})


@pytest.mark.parametrize(
    "fields, field, says",
    [
        ({"model": "llama-3m"}, "model", "trains architectures from scratch, and .llama-3m. has weights"),
        ({"suites": ("niah",), "context_lengths": (512,)}, "suites", "without weights: it is trained by lra"),
        ({"suites": ("lra", "efficiency")}, "suites", "cannot run efficiency@1"),
        ({"configuration": {"window": 64}}, "configuration", 'no option "window". It has: causal'),
        (
            {"model": "lra-local", "configuration": {"window": 63}},
            "configuration",
            "window 16, 32, 64, 128, 256; not 63",
        ),
        ({"model": "lra-linformer", "configuration": {"causal": True}}, "configuration", "bidirectional only"),
        ({"configuration": {"causal": 3}}, "configuration", "true or false"),
        ({"model": "lra-linformer"}, "configuration", r"parameters on lra/image, \+41% of those with softmax"),
        ({"model": "lra-mamba2", "configuration": {"states": 128}}, "configuration", "lra/pathfinder"),
        (
            {"context_lengths": (8_192,)},
            "context_lengths",
            "have 1024, 2000, 4000, 16384 tokens; nothing is asked at 8192",
        ),
        ({"tasks": ("lra/listops",), "context_lengths": (4_096,)}, "context_lengths", "have 2000 tokens"),
        ({"tasks": ("lra/chess",)}, "tasks", "lra/listops"),
        ({"samples": 11}, "samples", "at most 10, not 11"),
        ({"method": "snapkv", "budget": 0.5}, "method", "has no method"),
        ({"kernels": "longboard"}, "kernels", "has no kernels"),
        ({"dtype": "float16"}, "dtype", "float16 would overflow"),
    ],
)
def test_a_request_that_no_node_could_train_is_refused_with_the_field_and_stores_nothing(ada, fields, field, says):
    models = Model.objects.count()
    with pytest.raises(BadRequest, match=says) as refused:
        submit(author=ada, request=ask(**fields), now=NOW)
    assert refused.value.field == field
    assert (Run.objects.count(), System.objects.count(), Model.objects.count()) == (0, 0, models)


def test_an_unknown_mixer_is_no_model_and_the_registry_names_those_that_there_are(ada):
    with pytest.raises(NotFound, match="not registered"):
        submit(author=ada, request=ask(model="lra-hyena"), now=NOW)
    with pytest.raises(BadRequest, match=r'no mixer "hyena"\. There are: softmax, local'):
        architecture_model("hyena", {})


def test_linformer_is_taken_for_the_task_that_it_fits(ada):
    submission, _ = submit(author=ada, request=ask(model="lra-linformer", tasks=("lra/listops",)), now=NOW)
    assert submission.runs.get().tasks == ["listops"]


def test_a_quote_tells_time_and_memory_of_each_training_and_stores_nothing(ada):
    models = Model.objects.count()
    quoted = quote(author=ada, request=ask(configuration={"causal": True}))
    assert [line.suite for line in quoted.lines] == [
        "lra@1/image", "lra@1/pathfinder", "lra@1/listops", "lra@1/text", "lra@1/retrieval", "lra@1/pathx",
    ]  # fmt: skip
    assert all("3 x" in line.says or "GiB" in line.says for line in quoted.lines)
    # Two cores would need months for the shortest: the site ends a run long before.
    assert {line.verdict for line in quoted.lines} == {"may not fit"}
    assert all(
        "longer than this site lets a run take, 24 h" in line.says for line in quoted.lines if "3 x" in line.says
    )
    (toy,) = quote(author=ada, request=ask(tasks=("lra/listops_smoke",))).lines
    assert (toy.verdict, toy.prompts) == ("fits", 3)
    assert quoted.total
    assert Model.objects.count() == models


def test_the_form_asks_for_an_architecture_as_the_api_does(client, ada):
    client.force_login(ada)
    page = parsed(client.get("/submit/?model=lra-s4d"))
    assert page.xpath("//input[@name='suites'][@checked]/@value") == ["lra"]
    assert "lra/listops_short" in page.xpath("//input[@name='training_tasks']/@value")
    given = {
        "model": "lra-s4d", "configuration": "causal, states=32", "suites": "lra", "training_tasks": "lra/listops",
        "pools": "local-cpu", "samples": "2", "budget": "1",
    }  # fmt: skip
    answer = client.post("/submit/", given)
    assert answer.status_code == 302, text(parsed(answer))
    run = Run.objects.get()
    assert (run.tasks, run.samples, run.system.model.slug) == (["listops"], 2, "lra-s4d-causal-states-32")
    shown = text(parsed(client.get(answer["Location"])))
    assert "S4D, causal, states 32" in shown
    refused = client.post("/submit/", given | {"configuration": "sideways"})
    assert refused.status_code == 422
    assert "neither" in text(parsed(refused))


def test_syncing_twice_changes_nothing(ada):
    before = set(Model.objects.values_list("slug", "title", "family"))
    sync_catalogue()
    assert set(Model.objects.values_list("slug", "title", "family")) == before
    assert Model.objects.filter(source="architecture").count() == 21


# --- a training, handed in -------------------------------------------------------------------------------------------


def test_a_training_goes_from_request_to_numbers_and_never_ranks_where_it_should_not(ada, client, tmp_path):
    worker = Worker()
    run, row, bundle = smoke(ada, worker, tmp_path, samples=2)
    assert row.state == Bundle.State.ACCEPTED, row.reason
    run.refresh_from_db()
    assert run.state == Run.State.ACCEPTED
    rows = {m.metric: m for m in Measurement.objects.filter(run=run)}
    assert set(rows) == {"accuracy", "train_tokens_per_s", "train_peak_memory_bytes", "forward_tokens_per_s"}
    accuracy = rows["accuracy"]
    assert (accuracy.n, accuracy.context_length) == (16, 2_000)
    assert accuracy.value == pytest.approx(sum(curve.accuracy for curve in bundle.curves) / 2)
    cell = Cell.objects.get(task="listops_smoke", metric="accuracy")
    assert (cell.value, cell.ci_low, cell.ci_high) == (accuracy.value, accuracy.ci_low, accuracy.ci_high)
    assert Sample.objects.filter(run=run).count() == 32
    assert [curve.seed for curve in bundle.curves] == [0, 1]
    # Four steps of a toy: on its Run's page, and on no board.
    board = client.get("/boards/lra/")
    assert board.status_code == 200
    assert "listops_smoke" not in board.content.decode()
    assert not FrontEntry.objects.exists()
    page = parsed(client.get(f"/runs/{run.pk}/"))
    assert "lra@1/listops_smoke at 2,000 tokens" in text(page)
    assert len(page.xpath("//section[@aria-labelledby='curves']//details")) == 2
    steps = page.xpath("//section[@aria-labelledby='curves']//tbody/tr/td[1]/text()")
    assert steps == ["2", "4", "2", "4"]
    losses = [float(cell) for cell in page.xpath("//section[@aria-labelledby='curves']//tbody/tr/td[2]/text()")]
    assert losses == pytest.approx([point.loss for curve in bundle.curves for point in curve.points], abs=1e-4)
    model = text(parsed(client.get("/models/lra-softmax/")))
    assert "ListOps, four steps of a toy (never ranked)" in model
    suite = text(parsed(client.get("/suites/lra/")))
    assert "Nowhere yet" in suite
    assert "Generated stand-in for text (never ranked)" in suite


@pytest.mark.parametrize(
    "tamper, says",
    [
        (lambda d: d["curves"][0].update(accuracy=1.0), "does not fit its samples"),
        (lambda d: d["measurements"][0].update(value=1.0, ci_high=1.0), "its trainings give"),
        (lambda d: d["measurements"][0].update(n=15), "the test split has 16"),
        (lambda d: d["samples"].pop(), "numbered on"),
        (lambda d: d["samples"][0].update(target="3" if d["samples"][0]["target"] != "3" else "4"), "target is not"),
        (lambda d: d["samples"][0].update(score=1 - d["samples"][0]["score"]), "does not follow from the answer"),
        (lambda d: d["curves"].clear(), "one for each of the 1 trainings"),
        (lambda d: d["manifest"]["settings"].update(stand_in=True), "not trained on its own data"),
    ],
)
def test_numbers_that_do_not_follow_from_the_samples_are_rejected(ada, tmp_path, tamper, says):
    worker = Worker()
    submit(author=ada, request=ask(tasks=("lra/listops_smoke",), samples=1), now=NOW)
    ticket = worker.take()
    honest = evaluate(
        ticket.run, work_dir=tmp_path, models_dir=tmp_path, attempt_id=ticket.attempt_id, fence=ticket.fence
    )
    changed = json.loads(canonical_json(honest))
    tamper(changed)
    row = worker.hand_in(ticket, type(honest).model_validate(changed))
    assert row.state == Bundle.State.REJECTED
    assert says in row.reason


# --- the board -------------------------------------------------------------------------------------------------------

CHANCES = {"listops": 0.175, "text": 0.5, "retrieval": 0.5, "image": 0.1, "pathfinder": 0.5, "pathx": 0.5}


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
    assert client.get(f"/compare/?system={softmax.slug}&system={s4d.slug}").status_code == 200
    suite = parsed(client.get("/suites/lra/"))
    links = suite.xpath("//section[@aria-labelledby='places']//td/a/@href")
    assert len(links) == 2
    assert all(client.get(link).status_code == 200 for link in links)
    hardware = parsed(client.get("/hardware/local-cpu/"))
    assert "Long Range Arena: Byte-level text" in text(hardware)
    assert "Byte-level text" in text(parsed(client.get("/models/lra-s4d/")))
    assert "Training rate" in text(parsed(client.get(f"/systems/{s4d.slug}/")))


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
    assert [text(cell) for cell in speed[0].xpath("./td")] == ["50,000 tok/s", "20,000 tok/s"]


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
