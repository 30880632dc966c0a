"""Architectures asked for on the platform: in one form, refused with the field, priced, and by the page's form."""

from __future__ import annotations

import pytest
from tests.factories import NOW
from tests.lra.asking import SIX, ask
from tests.pages.reading import parsed, text

from longboard.errors import BadRequest, NotFound
from longboard.registry.models import Model, System
from longboard.registry.services import architecture_model, sync_catalogue
from longboard.submissions.models import Run
from longboard.submissions.quotes import quote
from longboard.submissions.services import submit
from longboard_tasks.baselines import FOLDER, read_baselines
from longboard_tasks.contract import ModelRef, canonical_json

pytestmark = pytest.mark.django_db


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
