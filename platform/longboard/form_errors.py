"""A service's refusal, shown beside the field that it is about."""

from __future__ import annotations

from django import forms
from pydantic import ValidationError

from longboard.errors import LongboardError


def show_on(form: forms.Form, error: LongboardError) -> None:
    form.add_error(error.field if error.field in form.fields else None, error.message)


def show_invalid_on(form: forms.Form, error: ValidationError) -> None:
    """The contract's own checks: one line for each field that they refuse."""
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        form.add_error(name if name in form.fields else None, problem["msg"].removeprefix("Value error, "))
