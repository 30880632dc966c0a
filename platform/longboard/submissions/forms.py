"""The submission form: the same request class as the API, filled in by hand."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms

from longboard.fleet.models import Pool
from longboard.quantities import length_label
from longboard.registry.model_lists import model_groups, position_text
from longboard.registry.models import Method, Model, Suite
from longboard.registry.suites import suite_info
from longboard.submissions.requests import SubmissionRequest
from longboard_tasks.contract import MAX_SAMPLES

LENGTHS = tuple(2**power for power in range(9, 21))  # 512 to 1M tokens
DTYPES = ("float32", "bfloat16", "float16")


class SubmissionForm(forms.Form):
    model = forms.ChoiceField(help_text="Its position limit is the longest context that it can be asked for.")
    method = forms.ChoiceField(initial="none", required=False)
    budget = forms.FloatField(
        initial=1.0,
        min_value=0.0,
        max_value=1.0,
        required=False,
        help_text="Share of the cache's bytes that the method keeps. Leave 1 for the full cache.",
    )
    question_aware = forms.BooleanField(
        label="Compress with the question in view",
        required=False,
        help_text="Of a method: what it keeps then depends on what is asked, and the row says so.",
    )
    dtype = forms.ChoiceField(label="Precision", choices=[(d, d) for d in DTYPES], initial="float32", required=False)
    kernels = forms.ChoiceField(
        choices=[("stock", "stock"), ("longboard", "ours, where they fit")],
        initial="stock",
        required=False,
        help_text="Ours are held to the stock model's logits on load; a run that they do not fit fails and says why.",
    )
    suites = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one suite."},
        help_text="A front needs both: an accuracy suite and efficiency.",
    )
    context_lengths = forms.TypedMultipleChoiceField(
        label="Context lengths",
        coerce=int,
        required=False,
        choices=[(n, length_label(n)) for n in LENGTHS],
        widget=forms.CheckboxSelectMultiple,
        help_text="Tokens of the whole prompt. Each length is a run of its own. Tasks of the Long Range Arena have theirs: "
        "choose none.",
    )
    configuration = forms.CharField(
        required=False,
        max_length=200,
        help_text="Of an architecture (lra): causal, and options of its mixer, as in: causal, states=32.",
    )
    training_tasks = forms.MultipleChoiceField(
        label="Tasks of the Long Range Arena",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="What an architecture is trained on. None chosen: the six tasks that make the mean.",
    )
    pools = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one pool."},
        help_text="Where it runs.",
    )
    samples = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_SAMPLES,
        help_text="Prompts for each task and length; of lra, trainings from different seeds. Left out: the suite's own number. "
        "100 prompts give about ± 0.08.",
    )
    seed = forms.IntegerField(initial=0, min_value=0, max_value=2**63 - 1, required=False)
    note = forms.CharField(max_length=300, required=False, help_text="Shown on the submission's page.")
    # Made with the page, so that pressing the button twice makes one submission.
    idempotency_key = forms.CharField(max_length=100, required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **({"label_suffix": ""} | kwargs))
        self.fields["idempotency_key"].initial = uuid.uuid4().hex
        self.fields["model"].choices = [  # type: ignore[attr-defined]  # stubs: any field
            (group, [(m.slug, f"{m.title} ({m.slug}), {position_text(m.max_positions)}") for m in found])
            for group, found in model_groups(Model.objects.all())
        ]
        self._choices("method", [(m.name, m.title) for m in Method.objects.all()] or [("none", "Full cache")])
        self._choices(
            "suites",
            [
                (s.name, f"{s.title} ({s.label})")
                for s in Suite.objects.filter(is_current=True).order_by("kind", "name")
            ],
        )
        self._choices(
            "training_tasks",
            [
                (f"{suite.name}/{task.name}", task.title)
                for suite in map(suite_info, Suite.objects.filter(is_current=True).order_by("name"))
                if suite.trains
                for task in suite.tasks
            ],
        )
        pools = usable_pools(user)
        self._choices("pools", [(p.slug, f"{p.title} ({p.slug}), {p.hardware.title}") for p in pools])
        # What most people want: a point on the front, from the only pool there is.
        self.fields["suites"].initial = ["niah", "efficiency"]  # both axes of a front; more suites take hours more
        if not pools:
            self.fields["pools"].help_text = (
                "No pool takes your runs here yet: ask who runs this site for one to lend a machine to. "
                "longboard-worker evaluate needs no site."
            )
        self.fields["pools"].initial = [pools[0].slug] if len(pools) == 1 else []

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]  # stubs: any field

    def clean_configuration(self) -> dict[str, bool | int]:
        """ "causal, states=32" as the request has it."""
        found: dict[str, bool | int] = {}
        for part in filter(None, (part.strip() for part in self.cleaned_data["configuration"].split(","))):
            name, _, value = (word.strip() for word in part.partition("="))
            if name == "causal" and not value:
                found[name] = True
            elif value.isascii() and value.isdecimal() and len(value) <= 9:
                found[name] = int(value)
            else:
                raise forms.ValidationError(f'"{part[:40]}" is neither "causal" nor an option with a whole number.')
        return found

    def as_request(self) -> SubmissionRequest:
        """Raises pydantic's ValidationError for what the contract refuses."""
        given = self.cleaned_data
        return SubmissionRequest(
            model=given["model"],
            configuration=given["configuration"],
            method=given["method"] or "none",
            budget=1.0 if given["budget"] is None else given["budget"],
            settings={"question_aware": True} if given["question_aware"] else {},
            dtype=given["dtype"] or "float32",
            kernels=given["kernels"] or "stock",
            suites=tuple(given["suites"]),
            tasks=tuple(given["training_tasks"]),
            context_lengths=tuple(given["context_lengths"]),
            pools=tuple(given["pools"]),
            samples=given["samples"],
            seed=given["seed"] or 0,
            note=given["note"],
            idempotency_key=given["idempotency_key"],
        )


def usable_pools(user: Any) -> list[Pool]:
    """Pools that take this person's runs."""
    pools = Pool.objects.select_related("hardware")
    return [p for p in pools if p.accepts_public_runs or user.is_staff or p.owner_id == user.pk]
