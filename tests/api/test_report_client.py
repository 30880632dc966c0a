"""The client and the command line post self-reported results, and take them back."""

from __future__ import annotations

import pytest
from django.utils import timezone
from tests import factories

from longboard.accounts.services import make_token
from longboard.reports.models import Report
from longboard_worker.api import Longboard
from longboard_worker.api.calls import ApiError
from longboard_worker.cli import main

pytestmark = pytest.mark.django_db(transaction=True)

LINES = """suite,task,metric,context_length,value,ci_low,ci_high,n
niah,single,accuracy,1024,0.84,0.76,0.90,100
efficiency,generate,ttft_ms,1024,212,208,217,5
"""


@pytest.fixture
def author(live_server):
    factories.make_suite()
    user = factories.make_user("ada")
    factories.make_model("mine", owner=user)
    user.secret = make_token(user=user, name="t", scope="report", days=1, now=timezone.now())[1]
    return user


def test_a_script_reports_reads_and_withdraws(live_server, author):
    site = Longboard(live_server.url, token=author.secret)
    numbers = [
        {
            "suite": "niah",
            "task": "single",
            "metric": "accuracy",
            "context_length": 1024,
            "value": 0.5,
            "n": 2,
            "scores": [1, 0],
        }
    ]
    asked = {"model": "mine", "hardware": "Eight GPUs", "source": "https://example.org/paper", "numbers": numbers}
    made = site.report(**asked, idempotency_key="k")
    assert site.report(**asked, idempotency_key="k").id == made.id
    assert (made.trust, made.numbers[0].ci_low < 0.5 < made.numbers[0].ci_high) == ("self-reported", True)
    assert site.withdraw_report(made.id, because="A bug.").withdrawn_at is not None
    for _ in range(25):
        site.report(**asked) if Report.objects.count() < 20 else None
    assert [r.id for r in site.reports(author="ada")] == list(
        Report.objects.order_by("pk").values_list("pk", flat=True)
    )
    with pytest.raises(ApiError) as refused:
        site.report(**(asked | {"model": "nope"}))
    assert (refused.value.status, refused.value.field) == (404, "model")


def test_the_command_line_reports_a_csv_file(live_server, author, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LONGBOARD_TOKEN", author.secret)
    file = tmp_path / "numbers.csv"
    file.write_text(LINES)
    asked = ["--model", "mine", "--hardware", "x1", "--source", "https://example.org/paper"]
    assert main(["site", "--site", live_server.url, "report", str(file), *asked]) == 0
    assert "2 numbers, self-reported" in capsys.readouterr().out
    report = Report.objects.get()
    assert main(["site", "--site", live_server.url, "withdraw", str(report.pk)]) == 0
    report.refresh_from_db()
    assert report.withdrawn_at is not None
    for bad, says in ((LINES.replace("0.84", "much"), "line 2"), ("a,b\n1,2\n", "first line must name")):
        file.write_text(bad)
        assert main(["site", "--site", live_server.url, "report", str(file), *asked]) == 1
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["/api/v1/nope", "/api/v1/runs/nonsense", "/api/v1/reports/-1", "/api/v1/reports/99999999999999999999"]
)
def test_what_is_not_there_is_said_in_the_one_error_format(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert set(answer.json()["error"]) == {"code", "message", "field"}
    assert "There is no such page" in client.get("/nope").content.decode()
