"""The report form: the same request class as the API, with the numbers as lines of comma-separated values."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Any

from django import forms
from django.db.models import Q
from pydantic import ValidationError

from longboard.accounts.models import User
from longboard.registry.models import Method, Model
from longboard.reports.requests import MAX_NUMBERS, NumberIn, ReportRequest
from longboard.submissions.forms import DTYPES

COLUMNS = ("suite", "task", "metric", "context_length", "value", "ci_low", "ci_high", "n")
EXAMPLE = "niah,single,accuracy,4096,0.84,0.76,0.90,100\nefficiency,generate,ttft_ms,4096,212,208,217,5"
MAX_TEXT = 100_000


class ReportForm(forms.Form):
    model = forms.ChoiceField(help_text="Yours: registered by you, or submitted here by you.")
    method = forms.ChoiceField(initial="none", required=False)
    budget = forms.FloatField(initial=1.0, min_value=0.0, max_value=1.0, required=False)
    dtype = forms.ChoiceField(label="Precision", choices=[(d, d) for d in DTYPES], initial="bfloat16", required=False)
    hardware = forms.CharField(
        min_length=2,
        max_length=160,
        help_text="As it is called. Speeds and sizes stand on a board only where this is a name of a hardware listed here.",
    )
    source = forms.CharField(
        label="Source",
        max_length=300,
        help_text="The web address of a paper, a repository or a log that readers can look at.",
    )
    numbers = forms.CharField(
        max_length=MAX_TEXT,
        strip=False,  # lines are counted
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "code"}),
        help_text=f"One a line, at most {MAX_NUMBERS}: {', '.join(COLUMNS)}. Shares run from 0 to 1; the interval is at 95 %.",
    )
    note = forms.CharField(max_length=300, required=False)
    idempotency_key = forms.CharField(max_length=100, required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **({"label_suffix": ""} | kwargs))
        self.fields["idempotency_key"].initial = uuid.uuid4().hex
        self.fields["numbers"].widget.attrs["placeholder"] = EXAMPLE
        models = Model.objects.order_by("title")
        if not user.is_staff:
            models = models.filter(Q(owner=user) | Q(systems__submissions__author=user)).distinct()
        self._choices("model", [(m.slug, f"{m.title} ({m.slug})") for m in models])
        self._choices("method", [(m.name, m.title) for m in Method.objects.all()] or [("none", "Full cache")])

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]  # stubs: any field

    def clean_numbers(self) -> tuple[NumberIn, ...]:
        """Raises ValidationError that names the line."""
        found, lines = [], csv.reader(io.StringIO(self.cleaned_data["numbers"]), skipinitialspace=True)
        for fields in lines:
            if not any(field.strip() for field in fields) or fields[0].strip() == COLUMNS[0]:
                continue
            where = f"Line {lines.line_num}: "
            if len(fields) != len(COLUMNS):
                raise forms.ValidationError(f"{where}there are {len(fields)} values, not {len(COLUMNS)}.")
            try:
                found.append(NumberIn.model_validate_strings(dict(zip(COLUMNS, map(str.strip, fields), strict=True))))
            except ValidationError as error:
                first = error.errors()[0]
                name = f"{first['loc'][0]}: " if first["loc"] else ""
                raise forms.ValidationError(f"{where}{name}{first['msg'].removeprefix('Value error, ')}") from error
        if not 1 <= len(found) <= MAX_NUMBERS:
            raise forms.ValidationError(f"Give 1 to {MAX_NUMBERS} numbers, not {len(found)}.")
        return tuple(found)

    def as_request(self) -> ReportRequest:
        """Raises pydantic's ValidationError for what the contract refuses."""
        given = self.cleaned_data
        return ReportRequest(
            model=given["model"],
            method=given["method"] or "none",
            budget=1.0 if given["budget"] is None else given["budget"],
            dtype=given["dtype"] or "bfloat16",
            hardware=given["hardware"],
            source=given["source"],
            numbers=given["numbers"],
            note=given["note"],
            idempotency_key=given["idempotency_key"],
        )
