"""Self-reported results: on no board unless asked for, marked wherever they show, withdrawn at will."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.utils import timezone
from tests import factories
from tests.pages.reading import parsed, table, text

from longboard.accounts.services import make_token
from longboard.boards.models import Cell, Column, FrontEntry
from longboard.errors import BadRequest, Conflict, NotAllowed, QuotaExceeded
from longboard.reports import services
from longboard.reports.models import Report, ReportedNumber
from longboard.reports.requests import ReportRequest
from longboard.reports.services import post_report, withdraw_report

pytestmark = pytest.mark.django_db

NUMBERS = [("apple", 1024, 0.9, 100.0), ("birch", 1024, 0.6, 20.0)]
ACCURACY = {
    "suite": "niah", "task": "single", "metric": "accuracy", "context_length": 1024, "value": 0.99, "n": 400,
    "ci_low": 0.97, "ci_high": 1.0,
}  # fmt: skip
TIME = {
    "suite": "efficiency", "task": "generate", "metric": "ttft_ms", "context_length": 1024, "value": 10.0, "n": 5,
    "ci_low": 9.0, "ci_high": 11.0,
}  # fmt: skip


@pytest.fixture
def author():
    factories.make_board(NUMBERS)
    user = factories.make_user("ada")
    factories.make_model("claimed", owner=user)
    return user


def request(*numbers, **fields) -> ReportRequest:
    body = {"model": "claimed", "hardware": "local-cpu", "source": "https://example.org/paper", "dtype": "float32"}
    return ReportRequest.model_validate({**body, "numbers": numbers or (ACCURACY, TIME), **fields})


def post(user, *numbers, now=None, **fields) -> Report:
    return post_report(author=user, request=request(*numbers, **fields), now=now or timezone.now())[0]


def systems(response) -> list[str]:
    return [row[1].split()[0] for row in table(response, "board")[1:]]


# --- Boards ----------------------------------------------------------------------------------------------------------


def test_no_verified_view_changes_by_a_single_byte_when_somebody_reports(client, author):
    views = ["", "&sort=cost", "&trust=reproduced"]
    paths = ["/boards/niah/?length=1024", "/boards/niah/lengths/?order=name"]
    before = [
        [table(client.get(path + view), name) for view in views]
        for path, name in zip(paths, ("board", "lengths"), strict=True)
    ]
    stored = [list(model.objects.order_by("pk").values()) for model in (Cell, Column, FrontEntry)]
    post(author)
    after = [
        [table(client.get(path + view), name) for view in views]
        for path, name in zip(paths, ("board", "lengths"), strict=True)
    ]
    assert after == before
    assert [list(model.objects.order_by("pk").values()) for model in (Cell, Column, FrontEntry)] == stored


def test_who_asks_for_self_reported_sees_it_marked_ranked_and_linked_to_its_report(client, author):
    report = post(author)
    response = client.get("/boards/niah/?length=1024&trust=self-reported")
    assert systems(response) == ["Claimed", "Apple", "Birch"]
    first = table(response, "board")[1]
    assert (first[0], first[3], first[6]) == ("1–2", "400", "self-reported")
    assert "front" in first[5]
    page = parsed(response)
    assert page.xpath(f"//table[contains(@class, 'board')]//a[@href='/reports/{report.pk}/']")
    assert "Claimed, self-reported" in text(page.get_element_by_id("takeaway"))
    assert any("self-reported" in label for label in page.xpath("//svg[contains(@class, 'wide')]//a/@aria-label"))
    assert any("self-reported" in cell for cell in table(response, "matrix")[1])


def test_a_verified_number_is_never_replaced_by_a_reported_one(client, author):
    model = factories.Model.objects.get(slug="apple")
    factories.make_submission(author, model.systems.get())
    system = model.systems.get()
    report = post(author)
    report.numbers.update(system=system)  # as if it were of the System that has been measured
    rows = table(client.get("/boards/niah/?length=1024&trust=self-reported"), "board")[1:]
    assert [row[2] for row in rows if row[1].startswith("Apple")] == ["0.90 (0.70–0.97)"]


def test_accuracy_stands_on_every_hardware_and_speed_only_on_the_one_that_is_named(client, author):
    post(author, hardware="A cluster of ours")
    row = next(
        r
        for r in table(client.get("/boards/niah/?length=1024&trust=self-reported"), "board")
        if r[1].startswith("Claimed")
    )
    assert row[2].startswith("0.99")
    assert row[4] == "not run"
    assert "front" not in row[5]


def test_a_length_that_was_only_reported_is_offered_to_who_asks(client, author):
    post(author, {**ACCURACY, "context_length": 8192})
    assert "8192" not in client.get("/boards/niah/").content.decode()
    assert systems(client.get("/boards/niah/?length=8192&trust=self-reported")) == ["Claimed", "Apple", "Birch"]


def test_the_later_report_counts_and_a_withdrawn_one_does_not(client, author):
    address, now = "/boards/niah/?length=1024&trust=self-reported", timezone.now()
    post(author, now=now - timedelta(hours=2))
    later = post(author, {**ACCURACY, "value": 0.98}, TIME, now=now - timedelta(hours=1))
    assert table(client.get(address), "board")[1][2].startswith("0.98")
    withdraw_report(report=later, actor=author, because="A bug.", now=now)
    assert table(client.get(address), "board")[1][2].startswith("0.99")


def test_a_board_as_of_then_has_the_reports_of_then(client, author):
    then = factories.NOW + timedelta(days=1)
    report = post(author, now=then)
    withdraw_report(report=report, actor=author, because="", now=then + timedelta(days=2))
    for day, there in (("2026-11-24", False), ("2026-11-25", True), ("2026-11-26", True), ("2026-11-28", False)):
        response = client.get(f"/boards/niah/?length=1024&trust=self-reported&as_of={day}")
        assert ("Claimed" in systems(response)) == there, day


def test_exports_and_the_api_say_what_is_self_reported(client, author):
    post(author)
    response = client.get("/boards/niah/table.csv?length=1024&trust=self-reported")
    rows = {r["model"]: r for r in csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode()))}
    assert (rows["claimed"]["trust"], rows["claimed"]["cost_trust"]) == ("self-reported", "self-reported")
    assert (rows["apple"]["trust"], rows["apple"]["cost_trust"]) == ("measured", "measured")
    query = {"context_length": 1024, "hardware": "local-cpu"}
    assert {r["model"] for r in client.get("/api/v1/boards/niah", query).json()["rows"]} == {"apple", "birch"}
    board = client.get("/api/v1/boards/niah", query | {"trust": "self-reported"}).json()["rows"]
    assert (board[0]["model"], board[0]["trust"], board[0]["rank_best"]) == ("claimed", "self-reported", 1)


def test_a_whole_suite_and_the_full_export_are_of_measured_numbers_alone(client, author):
    post(author)
    assert "Claimed" not in client.get("/boards/niah/?task=all&trust=self-reported&length=1024").content.decode()
    assert b"claimed" not in b"".join(client.get("/export/measurements.csv").streaming_content)


# --- Posting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"suite": "nope"}, 'Suite "nope" is not known'),
        ({"suite": "niah@7"}, 'Suite "niah@7" is not known'),
        ({"task": "nope"}, 'Task "nope" is not in niah@1'),
        ({"task": "all", "metric": "mean_accuracy"}, 'Task "all" is not in niah@1'),
        ({"metric": "accuracy_by_depth"}, "is not one of niah@1 single"),
        ({"metric": "ttft_ms"}, "is not one of niah@1 single"),
        ({"context_length": 20}, "needs 80 tokens at least"),
        ({"context_length": 65_536}, "has 32768 positions"),
        ({"value": 1.2, "ci_high": 1.3}, "run from 0 to 1"),
        ({"ci_low": -0.1}, "run from 0 to 1"),
    ],
)
def test_what_the_catalogue_does_not_have_is_refused_with_the_field(author, change, says):
    with pytest.raises(BadRequest, match=says) as refused:
        post(author, {**ACCURACY, **change})
    assert refused.value.field.startswith("numbers/0")
    assert not Report.objects.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ci_low": None}, "needs its 95 % interval"),
        ({"value": 0.5}, "lies outside its interval"),
        ({"scores": (1.0, 0.0)}, "not both"),
        ({"ci_low": None, "ci_high": None, "scores": (1.0, 0.0), "n": 3}, "2 scores, and n is 3"),
        ({"ci_low": None, "ci_high": None, "scores": (1.0, 0.0), "n": 2}, "have the mean 0.5"),
        ({"value": float("nan")}, "finite"),
        ({"n": 0}, "greater than or equal to 1"),
    ],
)
def test_a_number_without_honest_uncertainty_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        request({**ACCURACY, **change})


@pytest.mark.parametrize(
    "source", ["javascript:alert(1)", "https://", "ftp://example.org/x", "https://a@example.org/", "nonsense", "https://localhost/",
               'https://example.org/"onmouseover=', "data:text/html,x"],
)  # fmt: skip
def test_a_source_is_a_web_address_that_readers_can_open(source):
    with pytest.raises(ValueError, match="web address"):
        request(source=source)


def test_scores_give_wilsons_interval(author):
    from longboard_tasks.intervals import wilson

    scored = {**ACCURACY, "value": 0.75, "n": 4, "scores": (1.0, 1.0, 1.0, 0.0), "ci_low": None, "ci_high": None}
    row = post(author, scored).numbers.get()
    assert (row.ci_low, row.ci_high) == pytest.approx(wilson(0.75, 4))


def test_one_reports_on_ones_own_systems_alone(author):
    other = factories.make_user("bob")
    with pytest.raises(NotAllowed, match="not yours to report on"):
        post(other)
    factories.make_submission(other, factories.make_system(factories.Model.objects.get(slug="claimed")))
    assert post(other).author == other


def test_the_same_key_gives_the_same_report_and_another_request_under_it_is_refused(author):
    first = post(author, idempotency_key="k")
    assert post(author, idempotency_key="k") == first
    with pytest.raises(Conflict, match="another request"):
        post(author, ACCURACY, idempotency_key="k")
    assert Report.objects.count() == 1


def test_quotas_bound_reports_a_day_and_numbers_a_month(author, monkeypatch):
    monkeypatch.setattr(services, "REPORTS_A_DAY", 2)
    now = timezone.now()
    post(author, now=now - timedelta(days=2))
    post(author, now=now)
    post(author, now=now)
    with pytest.raises(QuotaExceeded, match="2 times in 24 hours"):
        post(author, now=now)
    monkeypatch.setattr(services, "REPORTS_A_DAY", 20)
    monkeypatch.setattr(services, "NUMBERS_A_MONTH", 7)
    with pytest.raises(QuotaExceeded, match="6 numbers in 30 days"):
        post(author, now=now)


def test_the_same_number_twice_in_a_report_is_refused(author):
    with pytest.raises(BadRequest, match="there twice"):
        post(author, ACCURACY, {**ACCURACY, "suite": "niah@1"})


def test_only_author_and_staff_withdraw_and_a_second_time_changes_nothing(author):
    report, now = post(author), timezone.now()
    with pytest.raises(NotAllowed):
        withdraw_report(report=report, actor=factories.make_user("bob"), because="", now=now)
    withdraw_report(report=report, actor=factories.make_user("mod", is_staff=True), because="Wrong units.", now=now)
    again = withdraw_report(report=report, actor=author, because="Other.", now=now + timedelta(hours=1))
    assert (again.withdrawn_at, again.withdrawn_because) == (now, "Wrong units.")


# --- Pages and the API -----------------------------------------------------------------------------------------------


def test_the_form_stores_a_report_and_its_page_says_all_of_it(client, author):
    client.force_login(author)
    form = {
        "model": "claimed", "method": "none", "budget": "1", "dtype": "float32", "hardware": "local-cpu",
        "source": "https://example.org/paper", "note": "<script>x</script>",
        "numbers": "suite,task,metric,context_length,value,ci_low,ci_high,n\nniah,single,accuracy,1024,0.84,0.76,0.90,100\n\n",
    }  # fmt: skip
    response = client.post("/reports/new/", form, follow=True)
    assert response.status_code == 200, text(parsed(response))
    assert table(response, "reported")[1][:3] == ["niah@1 single", "Accuracy", "1K"]
    page = response.content.decode()
    assert "self-reported" in page
    assert "<script>x" not in page
    assert 'rel="nofollow ugc noopener noreferrer"' in page
    slug = Report.objects.get().system.slug
    assert "Reported by its own people" in client.get(f"/systems/{slug}/").content.decode()
    assert "self-reported" in client.get("/accounts/").content.decode()


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ("niah,single,accuracy,1024,0.84", "Line 1: there are 5 values, not 8."),
        ("niah,single,accuracy,1024,much,0.7,0.9,10", "Line 1: value:"),
        ("\nniah,single,accuracy,1024,0.84,0.9,0.95,10", "Line 2:"),
        ("niah,nope,accuracy,1024,0.84,0.7,0.95,10", "Task &quot;nope&quot; is not in niah@1"),
        ("\n", "Give 1 to 500 numbers, not 0"),
    ],
)
def test_a_bad_line_is_named_beside_the_field(client, author, numbers, says):
    client.force_login(author)
    form = {"model": "claimed", "hardware": "x1", "source": "https://example.org/p", "numbers": numbers}
    response = client.post("/reports/new/", form)
    assert response.status_code == 422
    assert says in response.content.decode().replace("&#x27;", "'")
    assert "Value error" not in response.content.decode()  # the library's word, not ours


def test_a_source_that_is_no_address_is_told_what_to_give(client, author):
    client.force_login(author)
    form = {
        "model": "claimed",
        "hardware": "x1",
        "source": "foo",
        "numbers": "niah,single,accuracy,1024,0.84,0.76,0.90,100",
    }
    page = client.post("/reports/new/", form).content.decode()
    assert "Give the web address of a paper" in page
    assert "Value error" not in page


def test_the_withdrawal_form_is_the_authors_alone(client, author):
    report = post(author)
    assert "Withdraw it" not in client.get(f"/reports/{report.pk}/").content.decode()
    client.force_login(author)
    assert "Withdraw it" in client.get(f"/reports/{report.pk}/").content.decode()
    response = client.post(f"/reports/{report.pk}/withdraw/", {"because": "A bug."}, follow=True)
    assert "Withdrawn on" in response.content.decode()
    assert "A bug." in response.content.decode()
    assert ReportedNumber.objects.count() == 2


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("report", 201), ("submit", 201)])
def test_a_token_of_the_scope_report_posts_reports_and_nothing_else(client, author, scope, status):
    _, secret = make_token(user=author, name="t", scope=scope, days=1, now=timezone.now())
    how = {"content_type": "application/json", "headers": {"Authorization": f"Bearer {secret}"}}
    answer = client.post("/api/v1/reports", request().model_dump(mode="json"), **how)
    assert answer.status_code == status, answer.content
    other = client.post("/api/v1/models", {"repository": "a/b", "revision": "a" * 40}, **how)
    assert other.status_code == (200 if scope == "submit" else 403)
    if status == 201:
        told = answer.json()
        assert (told["trust"], told["hardware_slug"], len(told["numbers"])) == ("self-reported", "local-cpu", 2)
        assert client.post(f"/api/v1/reports/{told['id']}/withdraw", {"because": "x"}, **how).json()["withdrawn_at"]
        listed = client.get("/api/v1/reports", {"author": "ada"}).json()
        assert [row["id"] for row in listed["items"]] == [told["id"]]


def test_settings_of_a_method_make_another_system_and_odd_ones_are_refused(author):
    with pytest.raises(BadRequest, match="control characters"):
        post(author, ACCURACY, method="snapkv", budget=0.5, settings={"pooling": "a\x00b"})
    plain = post(author, ACCURACY, method="snapkv", budget=0.5)
    aware = post(author, ACCURACY, method="snapkv", budget=0.5, settings={"question_aware": True})
    assert plain.system != aware.system
    assert "question seen" in aware.system.label
