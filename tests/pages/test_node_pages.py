"""The node's page and what its owner can do there; the quota on the profile; a run's whole log."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from tests.factories import NOW, make_attempt, make_node, make_pool, make_run, make_submission, make_user
from tests.pages.reading import parsed, text

from longboard.fleet.models import EnrolmentCode, Node
from longboard.submissions.models import Attempt, GpuSpend, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner():
    return make_user("owner")


@pytest.fixture
def node(owner):
    node = make_node(make_pool("mine", owner=owner), "box", owner=owner, last_seen_at=NOW)
    for number, closed_as in enumerate(("done", "failed", "lost", "")):
        run = make_run(make_submission(owner), pool=node.pool, seed=number)
        make_attempt(
            run, node, closed_as=closed_as, closed_at=NOW if closed_as else None,
            failure_message="It broke." if closed_as == "failed" else "",
        )  # fmt: skip
    return node


def test_a_machine_whose_results_came_as_files_was_never_heard_of(client, node):
    node.last_seen_at = None
    node.save()
    assert "It never called this site: its results came as files." in words(client.get(f"/nodes/{node.pk}/"))
    assert "never" in words(client.get("/nodes/"))


def words(response):
    return text(parsed(response).xpath("//main")[0])


def test_the_page_says_what_the_node_runs_what_it_ran_and_how_that_ended(client, node):
    with CaptureQueriesContext(connection) as queries:
        page = client.get(f"/nodes/{node.pk}/")
    said = words(page)
    assert "1 open" in said
    assert "1 failed" in said
    assert "It broke." in said
    assert "niah@1 at 1" in said
    assert len(queries) <= 5
    assert not parsed(page).xpath("//main//form")  # a stranger steers nothing


@pytest.mark.parametrize(
    "state, buttons",
    [
        (Node.State.PENDING, ["Approve", "End its tokens", "Revoke for good"]),
        (Node.State.ACTIVE, ["Pause", "Drain and stop", "End its tokens", "Revoke for good"]),
        (Node.State.PAUSED, ["Resume", "End its tokens", "Revoke for good"]),
        (Node.State.REVOKED, []),
    ],
)
def test_its_owner_finds_the_buttons_that_make_sense_now(client, node, owner, state, buttons):
    Node.objects.update(state=state)
    client.force_login(owner)
    found = parsed(client.get(f"/nodes/{node.pk}/")).xpath("//main//form//button")
    assert [text(button) for button in found] == buttons


def test_a_button_changes_the_state_and_says_so(client, node, owner):
    client.force_login(owner)
    page = client.post(f"/nodes/{node.pk}/state/", {"state": "paused"}, follow=True)
    assert "The node is paused." in page.content.decode()
    assert Node.objects.get().state == "paused"
    client.post(f"/nodes/{node.pk}/state/", {"state": "end-tokens"})
    assert Node.objects.get().credential_serial == 2
    page = client.post(f"/nodes/{node.pk}/state/", {"state": "nonsense"}, follow=True)
    assert "is not a state to put a node in" in page.content.decode()


def test_pools_with_a_live_node_come_first_and_a_node_that_was_ended_is_not_called_silent(client, node):
    Node.objects.update(state=Node.State.REVOKED)
    make_node(make_pool("zz-busy", title="Busy"), "here", last_seen_at=timezone.now())
    page = parsed(client.get("/nodes/"))
    assert [text(title) for title in page.xpath("//h3")] == ["Busy", node.pool.title]
    assert [text(row.xpath("td")[0]) for row in page.xpath("//tbody/tr")] == ["alive", "ended"]


def test_a_node_is_shown_with_its_accelerator_not_with_its_processor_alone(client, node):
    Node.objects.update(report={"kind": "cuda", "device": "NVIDIA H100", "cpu": "Some CPU", "cores": 32})
    assert "NVIDIA H100; Some CPU, 32 cores" in words(client.get("/nodes/"))


def test_an_unknown_node_is_a_404(client):
    assert client.get("/nodes/00000000-0000-0000-0000-000000000000/").status_code == 404


def test_the_owner_can_ask_to_see_the_machine_first(client, owner):
    make_pool("mine", owner=owner)
    client.force_login(owner)
    assert "longboard-worker enrol" in client.post("/pools/mine/enrol/", {"needs_approval": "1"}).content.decode()
    assert EnrolmentCode.objects.get().needs_approval


def test_the_profile_says_what_was_used_held_and_given_back(client, owner, settings):
    settings.QUOTA_GPU_S = 7_200
    run = make_run(make_submission(owner), held_gpu_s=60)
    from django.utils import timezone

    for number, why in enumerate(("", "lost")):
        attempt = make_attempt(run, closed_as=Attempt.ClosedAs.DONE)
        GpuSpend.objects.create(
            attempt=attempt, user=owner, gpu_s=100 * (number + 1), refunded_for=why, closed_at=timezone.now()
        )
    client.force_login(owner)
    said = words(client.get("/accounts/"))
    for part in ("Allowed2 h 00 min", "Used1 min 40 s", "under way1 min 00 s", "Given back3 min 20 s"):
        assert part in said


def test_a_runs_page_shows_its_last_200_lines_and_links_the_whole_log(client):
    run = make_run(state=Run.State.RUNNING)
    log = "".join(f"line {n}\n" for n in range(400))
    make_attempt(run, log_head="the beginning\n", log_tail=log, log_skipped_bytes=77)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "line 399" in page
    assert "line 200" in page
    assert "line 150\n" not in page
    answer = client.get(f"/api/v1/runs/{run.pk}/log").json()
    assert (answer["head"], answer["tail"], answer["skipped_bytes"]) == ("the beginning\n", log, 77)
    assert f"/api/v1/runs/{run.pk}/log" in page
