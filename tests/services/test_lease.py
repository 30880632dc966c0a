import threading
from datetime import timedelta

import pytest
from django.db import connection
from tests.factories import NOW, make_node, make_pool, make_run, make_submission, make_user

from longboard.errors import Conflict, Gone, NotFound
from longboard.fleet.models import Node
from longboard.submissions import lease, services
from longboard.submissions.models import Attempt, Run
from longboard.submissions.sweep import sweep
from longboard_tasks.contract import Progress

pytestmark = pytest.mark.django_db


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def started(node, now=NOW):
    attempt = lease.claim(node=node, now=now)
    lease.start(attempt_id=attempt.pk, node=node, fence=attempt.fence, now=now)
    attempt.refresh_from_db()
    return attempt


def test_a_claim_leases_the_oldest_run_of_the_nodes_own_pool():
    node = make_node()
    make_run(queued_at=later(5))
    oldest = make_run(queued_at=later(1))
    make_run(pool=make_pool("other"), queued_at=NOW)
    attempt = lease.claim(node=node, now=later(9))
    oldest.refresh_from_db()
    assert attempt.run == oldest
    assert (oldest.state, attempt.number, attempt.fence) == (Run.State.LEASED, 1, 1)
    assert attempt.lease_until == later(9 + 180)


def test_priority_goes_before_age():
    make_run(queued_at=NOW)
    urgent = make_run(queued_at=later(5), priority=1)
    assert lease.claim(node=make_node(), now=later(6)).run == urgent


def test_a_node_whose_claim_reply_was_lost_gets_the_same_attempt_back():
    node = make_node()
    make_run(), make_run()
    first = lease.claim(node=node, now=NOW)
    assert lease.claim(node=node, now=later(3)).pk == first.pk
    assert Run.objects.filter(state=Run.State.QUEUED).count() == 1


@pytest.mark.parametrize("state", [Node.State.PAUSED, Node.State.DRAINING, Node.State.REVOKED])
def test_a_node_that_is_not_active_gets_nothing(state):
    make_run()
    assert lease.claim(node=make_node(state=state), now=NOW) is None


def test_an_empty_queue_gives_nothing():
    assert lease.claim(node=make_node(), now=NOW) is None


def test_start_and_beat_move_the_run_and_its_lease_on():
    node = make_node()
    run = make_run()
    attempt = started(node)
    run.refresh_from_db()
    assert (run.state, run.started_at) == (Run.State.RUNNING, NOW)
    reply = lease.beat(
        attempt_id=attempt.pk, node=node, fence=1, now=later(30), log_text="hello\n",
        progress=Progress(done=3, total=20, tokens=999, eta_s=12.5, note="niah"),
    )  # fmt: skip
    run.refresh_from_db()
    attempt.refresh_from_db()
    assert reply.lease_until == attempt.lease_until == later(210)
    assert (reply.cancel, reply.drain) == (False, False)
    assert (run.done, run.total, run.tokens, run.eta_s) == (3, 20, 999, 12.5)
    assert attempt.log_head == "hello\n"


def test_start_twice_is_one_start():
    node = make_node()
    make_run()
    attempt = started(node)
    lease.start(attempt_id=attempt.pk, node=node, fence=1, now=later(5))
    attempt.refresh_from_db()
    assert attempt.started_at == NOW


def test_another_nodes_attempt_looks_like_none_at_all():
    make_run()
    attempt = started(make_node())
    with pytest.raises(NotFound):
        lease.beat(attempt_id=attempt.pk, node=make_node(), fence=1, now=NOW)


def test_a_wrong_fence_is_a_conflict():
    node = make_node()
    make_run()
    attempt = started(node)
    with pytest.raises(Conflict):
        lease.beat(attempt_id=attempt.pk, node=node, fence=2, now=NOW)


def test_a_lease_that_is_not_renewed_expires_and_the_run_is_queued_again():
    dead, alive = make_node(), make_node()
    run = make_run()
    attempt = started(dead)
    assert sweep(now=later(179)).expired == 0
    assert sweep(now=later(181)).expired == 1
    run.refresh_from_db()
    attempt.refresh_from_db()
    assert (run.state, attempt.closed_as, attempt.failure_class) == (Run.State.QUEUED, Attempt.ClosedAs.LOST, "lost")
    assert lease.claim(node=alive, now=later(182)).number == 2
    with pytest.raises(Gone):
        lease.beat(attempt_id=attempt.pk, node=dead, fence=1, now=later(183))


def test_after_three_lost_attempts_the_run_has_failed_and_a_rerun_gives_three_more():
    author, node = make_user(), make_node()
    run = make_run(make_submission(author))
    for number in range(3):
        lease.claim(node=node, now=later(1_000 * number))
        sweep(now=later(1_000 * number + 200))
    run.refresh_from_db()
    assert (run.state, run.failure_class) == (Run.State.FAILED, "lost")
    assert node.name in run.failure_message
    services.rerun(run=run, actor=author, now=later(4_000))
    lease.claim(node=node, now=later(4_001))
    sweep(now=later(5_000))
    run.refresh_from_db()
    assert (run.state, run.attempts.count()) == (Run.State.QUEUED, 4)


@pytest.mark.parametrize(
    "failure, state",
    [
        ("node_error", Run.State.QUEUED),
        ("disk_full", Run.State.QUEUED),
        ("oom", Run.State.FAILED),
        ("bad_input", Run.State.FAILED),
        ("timeout", Run.State.FAILED),
        ("model_error", Run.State.FAILED),
        ("cancelled", Run.State.CANCELLED),
    ],
)
def test_only_a_fault_of_the_machine_is_tried_again(failure, state):
    node = make_node()
    run = make_run()
    attempt = started(node)
    lease.fail(
        attempt_id=attempt.pk, node=node, fence=1, failure_class=failure, message="Why.", log_text="tail", now=NOW
    )
    run.refresh_from_db()
    assert (run.state, run.failure_message) == (state, "Why.")
    assert run.attempts.get().log_head == "tail"


def test_a_failure_told_twice_is_one_failure():
    node = make_node()
    make_run()
    attempt = started(node)
    for _ in range(2):  # the first reply was lost
        lease.fail(
            attempt_id=attempt.pk, node=node, fence=1, failure_class="oom", message="Why.", log_text="t", now=NOW
        )
    attempt.refresh_from_db()
    assert (attempt.closed_as, attempt.log_head) == (Attempt.ClosedAs.FAILED, "t")


def test_cancel_reaches_a_running_node_with_its_next_beat():
    author, node = make_user(), make_node()
    run = make_run(make_submission(author))
    attempt = started(node)
    services.cancel_run(run=run, actor=author, now=NOW)
    assert lease.beat(attempt_id=attempt.pk, node=node, fence=1, now=later(1)).cancel
    lease.fail(
        attempt_id=attempt.pk, node=node, fence=1, failure_class="cancelled", message="", log_text="", now=later(2)
    )
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED


def test_a_run_cancelled_while_leased_never_starts():
    author, node = make_user(), make_node()
    run = make_run(make_submission(author))
    attempt = lease.claim(node=node, now=NOW)
    services.cancel_run(run=run, actor=author, now=NOW)
    assert lease.start(attempt_id=attempt.pk, node=node, fence=1, now=NOW).closed_as == Attempt.ClosedAs.CANCELLED
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED


def test_a_cancelled_run_whose_node_died_is_not_queued_again():
    author, node = make_user(), make_node()
    run = make_run(make_submission(author))
    started(node)
    services.cancel_run(run=run, actor=author, now=NOW)
    sweep(now=later(200))
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED


def test_a_flood_of_log_keeps_head_and_tail_and_counts_the_rest():
    node = make_node()
    make_run()
    attempt = started(node)
    sent = ""
    for part in range(20):
        text = f"<{part}>\n" + ("x" * 99 + "\n") * 200
        sent += text
        lease.beat(attempt_id=attempt.pk, node=node, fence=1, now=NOW, log_text=text)
    attempt.refresh_from_db()
    assert attempt.log_head.startswith("<0>")
    assert "<19>" in attempt.log_tail
    assert len(attempt.log_head) == lease.LOG_HEAD_CHARS
    assert len(attempt.log_tail) == lease.LOG_TAIL_CHARS
    assert attempt.log_head + attempt.log_tail == sent[: lease.LOG_HEAD_CHARS] + sent[-lease.LOG_TAIL_CHARS :]
    assert attempt.log_skipped_bytes == len(sent) - lease.LOG_HEAD_CHARS - lease.LOG_TAIL_CHARS


def test_the_last_200_lines_are_kept_however_long_each_is():
    node = make_node()
    make_run()
    attempt = started(node)
    for part in range(60):
        lines = "".join(f"line {part * 10 + n} {'y' * 5_000} end\n" for n in range(10))
        lease.beat(attempt_id=attempt.pk, node=node, fence=1, now=NOW, log_text=lines)
    attempt.refresh_from_db()
    lines = attempt.log_tail.splitlines()[-200:]
    assert [line.split()[1] for line in lines] == [str(n) for n in range(400, 600)]
    assert all(line.endswith(" end") and "[...]" in line for line in lines)


def test_a_nul_in_a_log_is_kept_as_a_mark():
    node = make_node()
    make_run()
    attempt = started(node)
    lease.beat(attempt_id=attempt.pk, node=node, fence=1, now=NOW, log_text="a\x00b")
    attempt.refresh_from_db()
    assert attempt.log_head == "a\ufffdb"


@pytest.mark.django_db(transaction=True)
def test_of_many_nodes_that_ask_at_once_each_gets_another_run():
    nodes = [make_node() for _ in range(8)]
    runs = {make_run().pk for _ in range(6)}
    got, errors = [], []
    barrier = threading.Barrier(len(nodes))

    def ask(node):
        try:
            barrier.wait()
            attempt = lease.claim(node=node, now=NOW)
            got.append(attempt and attempt.run_id)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(node,)) for node in nodes]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors
    assert sorted(filter(None, got)) == sorted(runs)
    assert got.count(None) == 2
