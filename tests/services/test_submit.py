import pytest
from tests.factories import NOW, make_model, make_pool, make_run, make_submission, make_suite, make_user

from longboard.errors import BadRequest, Conflict, IllegalTransition, LongboardError, NotAllowed, NotFound
from longboard.registry.models import System
from longboard.submissions import services
from longboard.submissions.models import Run, Submission
from longboard.submissions.requests import SubmissionRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def ask():
    make_suite()
    make_model("small", max_positions=4_096)
    make_pool()

    def build(**fields):
        defaults = {
            "model": "small",
            "suites": ("niah", "efficiency"),
            "context_lengths": (1_024, 512),
            "pools": ("local-cpu",),
        }
        return SubmissionRequest(**(defaults | fields))

    return build


def submit(request, author=None):
    return services.submit(author=author or make_user(), request=request, now=NOW)


def test_a_submission_makes_one_run_for_each_combination_shortest_first(ask):
    submission, created = submit(ask())
    assert created
    runs = list(submission.runs.select_related("suite"))
    assert sorted((r.suite.name, r.context_length) for r in runs) == [
        ("efficiency", 512), ("efficiency", 1_024), ("niah", 512), ("niah", 1_024),
    ]  # fmt: skip
    assert {r.state for r in runs} == {Run.State.QUEUED}
    assert {r.samples for r in runs if r.suite.name == "niah"} == {20}


def test_equal_requests_share_one_system(ask):
    first, _ = submit(ask())
    second, _ = submit(ask(context_lengths=(2_048,)))
    assert first.system == second.system
    assert System.objects.count() == 1


def test_our_kernels_make_another_system_that_says_so(ask):
    stock, _ = submit(ask())
    ours, _ = submit(ask(kernels="longboard"))
    assert ours.system != stock.system
    assert "longboard kernels" in str(ours.system)
    assert ours.system.as_spec().runtime.kernels == "longboard"


def test_a_repeated_length_makes_one_run(ask):
    submission, _ = submit(ask(suites=("niah",), context_lengths=(512, 512, 512)))
    assert submission.runs.count() == 1


def test_the_same_idempotency_key_gives_the_first_submission_back(ask):
    author = make_user()
    first, created = submit(ask(idempotency_key="k"), author)
    again, created_again = submit(ask(idempotency_key="k"), author)
    assert (created, created_again) == (True, False)
    assert first.pk == again.pk
    assert Run.objects.count() == 4


def test_the_same_key_with_another_request_is_a_conflict_that_names_the_first(ask):
    author = make_user()
    first, _ = submit(ask(idempotency_key="k"), author)
    with pytest.raises(Conflict, match=str(first.pk)):
        submit(ask(idempotency_key="k", seed=1), author)


def test_two_people_may_use_the_same_key(ask):
    assert submit(ask(idempotency_key="k"))[0].pk != submit(ask(idempotency_key="k"))[0].pk


@pytest.mark.parametrize(
    "fields, error, says",
    [
        ({"model": "nobody"}, NotFound, 'Model "nobody" is not registered'),
        (
            {"suites": ("niah", "nope")},
            NotFound,
            'Suite "nope" is not known. There are: babilong, efficiency, kv, lra, niah, recall',
        ),
        ({"pools": ("moon",)}, NotFound, 'Pool "moon" is not known'),
        ({"method": "magic"}, BadRequest, 'Method "magic" is not known'),
        ({"budget": 0.5}, BadRequest, "takes no budget"),
        ({"context_lengths": (8_192,)}, BadRequest, "has 4096 positions: context length 8192 exceeds them"),
        ({"context_lengths": (64,)}, BadRequest, "at least 80 tokens, not 64"),
        ({"context_lengths": (512,), "tasks": ("niah/vt",)}, BadRequest, "at least 900 tokens, not 512"),
    ],
)
def test_a_wrong_request_names_what_is_wrong_and_stores_nothing(ask, fields, error, says):
    with pytest.raises(error, match=says):
        submit(ask(**fields))
    assert not Submission.objects.exists()
    assert not Run.objects.exists()


def test_random_weights_cannot_be_scored_for_accuracy(ask):
    make_model("bare", source="config")
    with pytest.raises(BadRequest, match="random weights"):
        submit(ask(model="bare"))
    submission, _ = submit(ask(model="bare", suites=("efficiency",)))
    assert submission.runs.count() == 2


def test_a_closed_pool_takes_runs_from_its_owner_alone(ask):
    owner = make_user()
    make_pool("closed", owner=owner, accepts_public_runs=False)
    with pytest.raises(NotAllowed):
        submit(ask(pools=("closed",)))
    assert submit(ask(pools=("closed",)), owner)[0].runs.count() == 4


def test_too_many_runs_at_once_are_refused(ask):
    for number in range(9):
        make_pool(f"pool-{number}")
    lengths = tuple(range(1_000, 1_030))
    with pytest.raises(BadRequest, match="exceed 200 runs"):
        submit(ask(pools=tuple(f"pool-{n}" for n in range(9)), context_lengths=lengths))


def test_a_queued_run_is_cancelled_at_once_and_can_be_run_again():
    author = make_user()
    run = make_run(make_submission(author))
    assert services.cancel_run(run=run, actor=author, now=NOW).state == Run.State.CANCELLED
    assert services.rerun(run=run, actor=author, now=NOW).state == Run.State.QUEUED


@pytest.mark.parametrize("verb", [services.cancel_run, services.rerun])
def test_a_stranger_can_neither_cancel_nor_repeat(verb):
    run = make_run()
    with pytest.raises(NotAllowed):
        verb(run=run, actor=make_user(), now=NOW)


@pytest.mark.parametrize("state", [Run.State.QUEUED, Run.State.LEASED, Run.State.RUNNING, Run.State.UPLOADED])
def test_a_run_that_has_not_ended_cannot_be_repeated(state):
    author = make_user()
    run = make_run(make_submission(author), state=state)
    with pytest.raises(IllegalTransition, match=f"is {state}"):
        services.rerun(run=run, actor=author, now=NOW)


@pytest.mark.parametrize("state", Run.FINAL)
def test_a_run_can_be_repeated_from_every_end_as_a_new_round(state):
    author = make_user()
    run = make_run(make_submission(author), state=state)
    again = services.rerun(run=run, actor=author, now=NOW)
    assert (again.state, again.round) == (Run.State.QUEUED, 2)


def test_cancelling_an_accepted_run_changes_nothing():
    author = make_user()
    run = make_run(make_submission(author), state=Run.State.ACCEPTED)
    assert services.cancel_run(run=run, actor=author, now=NOW).state == Run.State.ACCEPTED


def test_errors_carry_the_field_that_is_at_fault(ask):
    with pytest.raises(LongboardError) as caught:
        submit(ask(suites=("nope",)))
    assert (caught.value.field, caught.value.code, caught.value.status) == ("suites", "not_found", 404)


def test_a_task_that_the_suites_do_not_have_is_refused_with_those_they_have(ask):
    with pytest.raises(BadRequest, match="There are: niah/"):
        submit(ask(tasks=("niah/nope",)))


def test_naming_a_task_of_one_suite_leaves_the_other_suite_whole(ask):
    submission, _ = submit(ask(tasks=("niah/single",), context_lengths=(512,)))
    tasks = {run.suite.name: run.tasks for run in submission.runs.select_related("suite")}
    assert tasks == {"niah": ["single"], "efficiency": ["generate"]}
