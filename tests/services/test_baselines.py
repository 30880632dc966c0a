"""Bundles that ship with the project, loaded into a fresh site through the checks of any node's bundle."""

import csv
import gzip
import io
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from tests.factories import NOW
from tests.pages.reading import parsed, text
from tests.signing import make_bundle, make_key, sign_bundle

from longboard.boards.models import Cell, Column, FrontEntry
from longboard.boards.ranking import refresh_due
from longboard.embedded.setup import load_shipped_baselines
from longboard.errors import LongboardError
from longboard.fleet.models import Node, Pool
from longboard.registry.services import sync_catalogue
from longboard.results.baselines import BaselineRefused, Loaded, load_baselines
from longboard.results.loading import STALE_S, Loading, loading_now, say_loading
from longboard.results.models import Bundle, Measurement, Sample
from longboard.submissions.models import Run
from longboard_tasks.baselines import FOLDER, machines, public_key, read_baselines
from longboard_tasks.contract import ModelRef, RunSpec, SystemSpec, canonical_json

pytestmark = pytest.mark.django_db


@pytest.fixture
def shipped(tmp_path):
    """A folder of one machine with two bundles of llama-3m, and the key that signed them."""
    sync_catalogue()
    key, public = make_key()
    bundles = []
    for suite, task in (("niah", "single"), ("efficiency", "generate")):
        run = RunSpec(
            run_id=str(uuid4()), system=SystemSpec(model=ModelRef(source="zoo", id="llama-3m")), suite=suite,
            suite_version=1, tasks=(task,), context_length=512, samples=5, seed=70_001,
        )  # fmt: skip
        bundles.append(make_bundle(run, attempt_id=str(uuid4()), fence=1))
    return Machine(tmp_path / "bench-cpu", key, public, bundles)


class Machine:
    def __init__(self, folder, key, public, bundles):
        self.folder, self.key, self.public, self.bundles = folder, key, public, bundles
        folder.mkdir()
        (folder / "public_key").write_text(f"{public}\n")
        self.write(bundles)

    def write(self, bundles, key=None):
        lines = b"".join(canonical_json(sign_bundle(bundle, key or self.key)) + b"\n" for bundle in bundles)
        (self.folder / "llama-3m.jsonl.gz").write_bytes(gzip.compress(lines))

    def load(self):
        return load_baselines(now=NOW, folder=self.folder.parent)


def counts():
    return Run.objects.count(), Bundle.objects.count(), Measurement.objects.count(), Sample.objects.count()


def test_a_fresh_site_gets_runs_measurements_and_board_cells_with_hardware_and_date(shipped):
    assert shipped.load() == Loaded(new=2, known=0, skipped=0)
    assert set(Run.objects.values_list("state", flat=True)) == {"accepted"}
    assert set(Measurement.objects.values_list("trust", flat=True)) == {"measured"}
    assert Sample.objects.count() == 5
    assert Cell.objects.get(metric="accuracy", task="single").value == 1.0
    pool = Pool.objects.get()
    assert "2026-11-24" in pool.title
    assert not pool.accepts_public_runs
    run = Run.objects.order_by("pk").first()
    assert run.started_at == datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert "2026-11-24" in run.submission.note
    assert Node.objects.get().last_seen_at is None  # a machine whose files came was never heard of


def test_boards_are_ranked_once_the_last_bundle_is_in(shipped, monkeypatch):
    ranked = []
    monkeypatch.setattr("longboard.boards.ranking.refresh", lambda **place: ranked.append(Bundle.objects.count()))
    shipped.load()
    assert set(ranked) == {2}
    monkeypatch.undo()
    refresh_due(now=NOW)
    assert not Column.objects.filter(ranked_at=None).exists()
    assert FrontEntry.objects.filter(metric="accuracy", cost_metric="ttft_ms", on_front=True).count() == 1


def test_no_two_bundles_are_of_one_moment_so_a_board_kept_meanwhile_is_seen_to_be_old(shipped):
    shipped.load()
    moments = Cell.objects.values_list("suite__name", "updated_at").distinct()
    assert len(moments) == len({at for _, at in moments}) == 2


def test_the_home_page_says_how_far_the_load_is_until_it_ends(shipped, client, monkeypatch):
    said = []

    def look(done, total):
        say_loading(done, total)
        said.append("results that ship with Longboard are being checked" in client.get("/").content.decode())

    monkeypatch.setattr("longboard.results.baselines.say_loading", look)
    shipped.load()
    assert said[0]
    assert not said[-1]


def test_a_load_that_is_refused_is_over(shipped):
    shipped.write(shipped.bundles, key=make_key()[0])
    say_loading(1, 9)
    with pytest.raises(LongboardError):
        shipped.load()
    assert loading_now() is None


def test_a_load_that_was_killed_is_not_told_of_for_long(monkeypatch):
    say_loading(1, 9)
    assert loading_now() == Loading(1, 9)
    later = time.time() + STALE_S + 1
    monkeypatch.setattr("longboard.results.loading.time.time", lambda: later)
    assert loading_now() is None
    say_loading(9, 9)


def test_loading_again_changes_nothing(shipped):
    shipped.load()
    before = counts()
    assert shipped.load() == Loaded(new=0, known=2, skipped=0)
    assert counts() == before


def test_a_raised_score_is_refused_although_the_signature_fits(shipped):
    wrong = make_bundle(shipped.bundles[0].run, attempt_id=str(uuid4()), fence=1, answer=lambda target: "no idea")
    samples = tuple(sample.model_copy(update={"score": 1.0}) for sample in wrong.samples)
    shipped.write([wrong.model_copy(update={"samples": samples})])
    with pytest.raises(BaselineRefused, match="does not follow from the answer"):
        shipped.load()
    assert counts() == (0, 0, 0, 0)


def test_a_bundle_signed_by_another_key_is_refused(shipped):
    shipped.write(shipped.bundles, key=make_key()[0])
    with pytest.raises(LongboardError, match="signed with another key"):
        shipped.load()
    assert counts() == (0, 0, 0, 0)


def test_what_this_site_has_no_model_or_suite_version_for_is_left_out(shipped):
    run = shipped.bundles[0].run
    unknown = run.model_copy(update={"system": SystemSpec(model=ModelRef(source="zoo", id="gone-3m"))})
    newer = run.model_copy(update={"suite_version": 9})
    shipped.write([shipped.bundles[0].model_copy(update={"run": spec}) for spec in (unknown, newer)])
    assert shipped.load() == Loaded(new=0, known=0, skipped=2)


def test_the_machine_can_bring_nothing_else_and_a_site_with_other_time_limits_takes_it_too(shipped, settings):
    settings.RUN_WALL_S = 60
    assert shipped.load().new == 2
    assert Node.objects.get().state == Node.State.REVOKED


@pytest.mark.slow
def test_every_bundle_of_a_zoo_model_in_the_checkout_is_accepted():
    call_command("load_baselines")
    assert not Run.objects.exclude(state="accepted").exists()
    shipped = {
        baseline.bundle.run.run_id
        for machine in machines()
        for baseline in read_baselines(machine)
        if baseline.bundle.run.system.model.source == "zoo"
    }
    assert shipped <= {str(key) for key in Run.objects.values_list("pk", flat=True)}


def test_the_command_says_what_is_wrong(monkeypatch):
    def refuse(**kwargs):
        raise BaselineRefused("bench-cpu: niah: no")

    monkeypatch.setattr("longboard.results.management.commands.load_baselines.load_baselines", refuse)
    with pytest.raises(CommandError, match="bench-cpu: niah: no"):
        call_command("load_baselines")


def test_no_private_key_ships():
    for machine in machines():
        assert len(bytes.fromhex(public_key(machine))) == 32
        assert {path.suffix for path in machine.iterdir()} <= {"", ".gz"}
        assert not any("private" in json.dumps(path.name) for path in FOLDER.rglob("*"))


def test_a_site_comes_up_without_baselines_that_its_checks_refuse(shipped, monkeypatch):
    def refuse(**kwargs):
        raise BaselineRefused("bench-cpu: niah: no")

    monkeypatch.setattr("longboard.embedded.setup.load_baselines", refuse)
    assert load_shipped_baselines() == "Baselines were left out: bench-cpu: niah: no"


def test_a_baseline_is_dated_when_it_was_measured_and_the_board_when_it_came(shipped, client):
    """Measured at noon of 2026-11-24 for 2 s, loaded four weeks later."""
    load_baselines(now=NOW + timedelta(days=28), folder=shipped.folder.parent)
    run = Run.objects.get(suite__name="niah")
    facts = text(parsed(client.get(f"/runs/{run.pk}/")).get_element_by_id("request").getparent())
    assert "Measured2026-11-24 12:00:00 UTCReceived2026-12-22 12:00:00 UTCTook2.0 s" in facts
    assert "Finished" not in facts
    newest = text(parsed(client.get("/")).xpath("//ul[@class='latest']")[0])
    assert "measured 2026-11-24, received 2026-12-22 12:00 UTC" in newest
    page = parsed(client.get(f"/systems/{run.system.slug}/"))
    assert {row[-2:] for row in map(tuple, rows_of(page))} == {("2026-11-24", "2026-12-22 12:00")}
    lines = b"".join(client.get(f"/systems/{run.system.slug}/table.csv").streaming_content).decode()
    assert {(r["measured"][:10], r["since"][:10]) for r in csv.DictReader(io.StringIO(lines))} == {
        ("2026-11-24", "2026-12-22")
    }
    assert "2026-11-24" in text(
        parsed(client.get(f"/models/{run.system.model.slug}/")).xpath("//table[@class='runs']")[0]
    )
    feed = client.get("/feeds/niah/results.atom").content.decode()
    assert "<updated>2026-12-22T12:00:00" in feed
    assert "Measured 2026-11-24 12:00 UTC." in feed
    before, after = (client.get(f"/boards/niah/?as_of={day}") for day in ("2026-12-21", "2026-12-22"))
    assert "Llama" not in text(parsed(before).get_element_by_id("table-title").getparent())
    then = text(parsed(after))
    assert "As this site stood at 2026-12-22: what it had received by then, whenever that was measured." in then


def rows_of(page):
    return [[text(cell) for cell in row.xpath("./th|./td")] for row in page.xpath("//table[@class='dense']/tbody/tr")]
