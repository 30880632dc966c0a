"""A training of an architecture, from request to numbers by the real trainer; and bundles that do not follow from it."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone
from tests.factories import NOW
from tests.lra.asking import ask
from tests.pages.reading import parsed, text
from tests.services.test_results import Worker

from longboard.boards.models import Cell, FrontEntry
from longboard.results.models import Bundle, Measurement, Sample
from longboard.submissions.models import Run
from longboard.submissions.services import submit
from longboard_tasks.contract import canonical_json
from longboard_tasks.evaluate import evaluate

pytestmark = pytest.mark.django_db


def smoke(ada, worker: Worker, folder, **fields):
    """One tiny training from request to bundle: (Run, its bundle's row, the bundle as handed in)."""
    submission, _ = submit(
        author=ada, request=ask(**({"tasks": ("lra/listops_smoke",), "samples": 1} | fields)), now=NOW
    )
    ticket = worker.take()
    bundle = evaluate(ticket.run, work_dir=folder, models_dir=folder, attempt_id=ticket.attempt_id, fence=ticket.fence)
    row = worker.hand_in(ticket, bundle)
    return submission.runs.get(), row, bundle


def test_a_training_goes_from_request_to_numbers_and_never_ranks_where_it_should_not(ada, client, tmp_path):
    worker = Worker(now=timezone.now())  # a training says when it began
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
    worker = Worker(now=timezone.now())  # a training says when it began
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
