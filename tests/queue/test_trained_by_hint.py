"""A hint on each broker wakes a node that trains an architecture from scratch."""

import pytest
from tests.factories import make_pool, make_suite
from tests.workers.conftest import state_of, wait_until
from tests.workers.test_trained_run import train

from longboard.results.models import Measurement
from longboard.submissions.models import Run

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_hint_wakes_a_node_that_trains_an_architecture(transactional_db, make_node_process, broker):
    make_suite("lra")
    url, folder = broker
    node = make_node_process()
    node.enrol(make_pool())
    node.start(LONGBOARD_BROKER_URL=url, LONGBOARD_BROKER_DIR=str(folder))
    wait_until(lambda: "ready" in node.log(), what="the Celery worker")
    run = train()
    wait_until(lambda: state_of(run) in Run.FINAL, timeout_s=120, what="the training")
    assert state_of(run) == Run.State.ACCEPTED
    assert Measurement.objects.get(run=run, metric="accuracy").n == 16
