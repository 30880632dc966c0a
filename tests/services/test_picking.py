"""Who gets the next Run: priority, then the owner with the least of the pool lately, then age; and never the same node twice."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from tests.factories import NOW, make_attempt, make_node, make_pool, make_run, make_submission, make_user

from longboard.errors import IllegalTransition, QuotaExceeded
from longboard.fleet.models import Node
from longboard.submissions import lease, services
from longboard.submissions.models import Attempt, GpuSpend, Run
from longboard.submissions.picking import queue_place
from longboard.submissions.quota import LEAST_HOLD_S, quota_of
from longboard.submissions.sweep import sweep
from longboard.submissions.transitions import LEGAL, move

pytestmark = pytest.mark.django_db


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def run_of(author, **fields):
    return make_run(make_submission(author), **fields)


def claim(node, at=0, **how):
    attempt = lease.claim(node=node, now=later(at), **how)
    return attempt and attempt.run


def spent(author, seconds, at=0, refunded_for=""):
    run = run_of(author, state=Run.State.ACCEPTED)
    attempt = make_attempt(run, closed_as=Attempt.ClosedAs.DONE)
    return GpuSpend.objects.create(
        attempt=attempt, user=author, gpu_s=seconds, closed_at=later(at), refunded_for=refunded_for
    )


def test_the_owner_with_the_least_gpu_time_of_the_last_day_is_served_first():
    busy, idle = make_user(), make_user()
    old = run_of(busy, queued_at=later(-900))
    new = run_of(idle, queued_at=later(-1))
    spent(busy, 500, at=-3_600)
    assert claim(make_node()) == new
    assert claim(make_node()) == old


def test_time_of_more_than_a_day_ago_and_time_given_back_do_not_count():
    first, second = make_user(), make_user()
    older, newer = run_of(first, queued_at=later(-10)), run_of(second, queued_at=later(-5))
    spent(first, 9_000, at=-25 * 3_600)
    spent(first, 9_000, at=-60, refunded_for="lost")
    assert claim(make_node()) == older
    assert claim(make_node()) == newer


def test_what_runs_now_counts_so_that_two_owners_take_turns():
    many, one = make_user(), make_user()
    mine = [run_of(many, queued_at=later(-100 + n)) for n in range(3)]
    theirs = run_of(one, queued_at=later(-1))
    assert [claim(make_node(), at=n) for n in range(4)] == [mine[0], theirs, mine[1], mine[2]]


def test_priority_goes_before_fairness():
    busy, idle = make_user(), make_user()
    urgent = run_of(busy, priority=1, queued_at=later(-1))
    run_of(idle, queued_at=later(-100))
    spent(busy, 5_000, at=-10)
    assert claim(make_node()) == urgent


def test_short_contexts_of_a_submission_go_first_and_those_of_an_older_one_before_them():
    author = make_user()
    older = run_of(author, context_length=8_192, queued_at=later(-9))
    request = make_submission(author)
    made = {n: make_run(request, context_length=n, queued_at=later(-5)) for n in (4_096, 512, 16_384, 2_048, 1_024)}
    lengths = (512, 1_024, 2_048, 4_096, 16_384)
    assert [queue_place(run, NOW) for run in (older, *(made[n] for n in lengths))] == [1, 2, 3, 4, 5, 6]
    assert [claim(make_node(), at=n) for n in range(6)] == [older, *(made[n] for n in lengths)]


def test_a_short_context_overtakes_neither_a_priority_nor_the_owner_whose_turn_it_is():
    busy, idle = make_user(), make_user()
    short = run_of(busy, context_length=256, queued_at=later(-50))
    urgent = run_of(busy, context_length=65_536, priority=1, queued_at=later(-1))
    long = run_of(idle, context_length=65_536, queued_at=later(-1))
    spent(busy, 500, at=-60)
    assert [claim(make_node(), at=n) for n in range(3)] == [urgent, long, short]


def test_a_run_that_needs_more_memory_than_is_free_is_left_for_a_larger_node():
    author = make_user()
    large = run_of(author, memory_bytes=80 * 2**30, queued_at=later(-10))
    small = run_of(author, memory_bytes=2**30, queued_at=later(-5))
    assert claim(make_node(), free_memory_bytes=16 * 2**30) == small
    assert claim(make_node(), free_memory_bytes=16 * 2**30) is None
    assert claim(make_node(), free_memory_bytes=90 * 2**30) == large


def fail_once(node, run, at=0):
    attempt = lease.claim(node=node, now=later(at))
    assert attempt.run == run
    lease.start(attempt_id=attempt.pk, node=node, fence=attempt.fence, now=later(at))
    lease.fail(
        attempt_id=attempt.pk, node=node, fence=attempt.fence, failure_class="node_error", message="Why.", log_text="",
        now=later(at + 1),
    )  # fmt: skip


def test_a_second_attempt_goes_to_another_node_while_there_is_one():
    first, second = make_node(), make_node()
    run = run_of(make_user())
    fail_once(first, run)
    assert claim(first, at=2) is None
    assert claim(second, at=2) == run


@pytest.mark.parametrize("other", ["silent", "paused", "none", "tried"])
def test_it_goes_to_the_same_node_where_no_other_could_take_it(other):
    first = make_node()
    run = run_of(make_user())
    second = None
    if other != "none":
        second = make_node(last_seen_at=later(-9_000) if other == "silent" else NOW)
        second.state = Node.State.PAUSED if other == "paused" else Node.State.ACTIVE
        second.save()
    if other == "tried":
        fail_once(second, run)
    fail_once(first, run, at=5)
    assert claim(first, at=9) == run


def test_a_new_round_forgets_which_nodes_have_tried():
    author = make_user()
    first, _ = make_node(), make_node()
    run = run_of(author)
    fail_once(first, run)
    Run.objects.filter(pk=run.pk).update(state=Run.State.CANCELLED)
    services.rerun(run=Run.objects.get(pk=run.pk), actor=author, now=later(5))
    assert claim(first, at=6) == run


def test_the_place_in_the_queue_is_the_order_in_which_runs_are_given_out():
    people = [make_user() for _ in range(3)]
    runs = [run_of(people[n % 3], queued_at=later(-50 + n), priority=n % 2) for n in range(6)]
    spent(people[0], 300, at=-5)
    spent(people[1], 100, at=-5)
    places = sorted((queue_place(run, NOW), run.pk) for run in runs)
    assert [place for place, _ in places] == [1, 2, 3, 4, 5, 6]
    assert claim(make_node()).pk == places[0][1]


# --- transitions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", Run.State.values)
@pytest.mark.parametrize("to", Run.State.values)
def test_each_transition_is_legal_or_refused_with_409(start, to):
    run = make_run(state=start)
    fields = {"round": 2} if start in Run.FINAL and to == Run.State.QUEUED else {}
    if to in LEGAL[start]:
        move(run, to, **fields)
        run.refresh_from_db()
        assert run.state == to
    else:
        with pytest.raises(IllegalTransition) as refused:
            move(run, to, **fields)
        assert (refused.value.status, refused.value.code) == (409, "illegal_transition")
        run.refresh_from_db()
        assert run.state == start


def test_a_row_that_has_moved_on_is_not_written():
    run = make_run()
    stale = Run.objects.get(pk=run.pk)
    move(run, Run.State.LEASED, fence=1)
    with pytest.raises(IllegalTransition, match="leased now"):
        move(stale, Run.State.CANCELLED)


@pytest.mark.parametrize("state", Run.FINAL)
def test_an_ended_run_is_left_only_through_a_new_round(state):
    run = make_run(state=state)
    with pytest.raises(IllegalTransition):
        move(run, Run.State.QUEUED)
    move(run, Run.State.QUEUED, round=2)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="the trigger is PostgreSQL's")
@pytest.mark.parametrize("state", Run.FINAL)
@pytest.mark.parametrize("to", Run.State.values)
def test_the_database_itself_keeps_an_ended_run_ended(state, to):
    run = make_run(state=state)
    if to == state:
        return
    with pytest.raises(IntegrityError, match="is an end"), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(state=to)
    if to == Run.State.QUEUED:
        Run.objects.filter(pk=run.pk).update(state=to, round=2)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="the trigger is PostgreSQL's")
def test_the_database_knows_the_same_transitions_as_the_service():
    for start in set(Run.State.values) - set(Run.FINAL):
        for to in set(Run.State.values) - {start}:
            run = make_run(state=start)
            try:
                with transaction.atomic():
                    Run.objects.filter(pk=run.pk).update(state=to)
                allowed = True
            except IntegrityError:
                allowed = False
            assert allowed == (to in LEGAL[start]), (start, to)


# --- rounds ----------------------------------------------------------------------------------------------------------


def test_a_repeat_that_fails_leaves_the_result_of_the_first_round_standing():
    from tests.services.test_results import Worker

    author = make_user()
    run = run_of(author, samples=5)
    worker = Worker()
    ticket = worker.take()
    worker.hand_in(ticket, worker.bundle(ticket))
    services.rerun(run=Run.objects.get(pk=run.pk), actor=author, now=later(5))
    attempt = lease.claim(node=worker.node, now=later(6))
    lease.start(attempt_id=attempt.pk, node=worker.node, fence=attempt.fence, now=later(6))
    lease.fail(
        attempt_id=attempt.pk, node=worker.node, fence=attempt.fence, failure_class="oom", message="Too long.",
        log_text="", now=later(7),
    )  # fmt: skip
    run.refresh_from_db()
    assert (run.state, run.failure_class, run.round) == (Run.State.ACCEPTED, "", 2)
    assert list(run.attempts.values_list("closed_as", flat=True)) == ["done", "failed"]
    assert run.measurements.filter(metric="accuracy").count() == 1


# --- quota -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def author(settings):
    settings.QUOTA_GPU_S = 1_000
    return make_user()


def work(node, run, failure="", seconds=100, at=0):
    attempt = lease.claim(node=node, now=later(at))
    lease.start(attempt_id=attempt.pk, node=node, fence=attempt.fence, now=later(at))
    lease.fail(
        attempt_id=attempt.pk, node=node, fence=attempt.fence, failure_class=failure, message="", log_text="",
        now=later(at + seconds),
    )  # fmt: skip


@pytest.mark.parametrize("failure, counted", [("oom", 100), ("timeout", 100), ("node_error", 0), ("disk_full", 0)])
def test_time_is_given_back_where_the_failure_was_ours(author, failure, counted):
    run = run_of(author, held_gpu_s=60)
    work(make_node(), run, failure)
    quota = quota_of(author, later(200))
    assert (quota.used, quota.refunded) == (counted, 100 - counted)
    assert quota.held == (60 if failure in ("node_error", "disk_full") else 0)


def test_a_lost_attempt_is_given_back(author):
    run_of(author, held_gpu_s=60)
    node = make_node()
    attempt = lease.claim(node=node, now=NOW)
    lease.start(attempt_id=attempt.pk, node=node, fence=1, now=NOW)
    sweep(now=later(200))
    assert (quota_of(author, later(300)).used, GpuSpend.objects.get().refunded_for) == (0, "lost")


def test_a_run_cancelled_before_its_start_costs_nothing_and_frees_what_it_held(author):
    run = run_of(author, held_gpu_s=60)
    assert quota_of(author, NOW).held == 60
    services.cancel_run(run=run, actor=author, now=NOW)
    quota = quota_of(author, NOW)
    assert (quota.used, quota.held, quota.left) == (0, 0, 1_000)


def test_a_leased_run_that_never_started_costs_nothing(author):
    run = run_of(author, held_gpu_s=60)
    node = make_node()
    attempt = lease.claim(node=node, now=NOW)
    services.cancel_run(run=run, actor=author, now=later(50))
    lease.start(attempt_id=attempt.pk, node=node, fence=1, now=later(60))
    assert GpuSpend.objects.get().refunded_for == "not started"
    assert quota_of(author, later(60)).used == 0


def test_time_on_a_pool_of_ones_own_is_not_counted(author):
    pool = make_pool("mine", owner=author)
    work(make_node(pool), run_of(author, pool=pool), "oom")
    assert quota_of(author, later(200)).used == 0


def test_a_request_beyond_the_quota_is_refused_with_the_figures(author):
    from tests.factories import make_model, make_suite

    from longboard.submissions.requests import SubmissionRequest

    make_suite(), make_model("small", parameters=None), make_pool()
    ask = {"model": "small", "suites": ("efficiency",), "pools": ("local-cpu",)}
    services.submit(author=author, request=SubmissionRequest(context_lengths=range(100, 110), **ask), now=NOW)
    assert quota_of(author, NOW).held == 10 * LEAST_HOLD_S
    with pytest.raises(QuotaExceeded, match="of your 1000 in 30 days 0 are used and 600 are held") as refused:
        services.submit(author=author, request=SubmissionRequest(context_lengths=range(200, 210), **ask), now=NOW)
    assert (refused.value.status, refused.value.code) == (403, "quota_exceeded")
    author.gpu_quota_s = 2_000
    author.save()
    services.submit(author=author, request=SubmissionRequest(context_lengths=range(200, 210), **ask), now=NOW)


def test_a_revoked_nodes_run_is_queued_by_the_next_sweep():
    node = make_node()
    run = run_of(make_user())
    lease.claim(node=node, now=NOW)
    Node.objects.filter(pk=node.pk).update(state=Node.State.REVOKED)
    assert sweep(now=later(1)).expired == 1
    run.refresh_from_db()
    assert (run.state, "revoked" in run.failure_message) == (Run.State.QUEUED, True)


def test_an_exported_run_waits_for_days_and_a_cancel_ends_it_at_once(settings):
    author, node = make_user(), make_node()
    run = run_of(author)
    attempt = lease.export(node=node, run_id=run.pk, now=NOW)
    assert attempt.lease_until - NOW == timedelta(seconds=settings.OFFLINE_LEASE_S)
    assert sweep(now=later(3_600)).expired == 0
    services.cancel_run(run=run, actor=author, now=timezone.now())
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED
