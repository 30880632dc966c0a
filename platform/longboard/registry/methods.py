"""Reads of methods: what there is, and one method with what it gives in return for a smaller cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.urls import reverse

from longboard.registry.budgets import BudgetView, budget_view
from longboard.registry.models import Method
from longboard_tasks.catalogue.methods import METHODS, MethodInfo


@dataclass(frozen=True, slots=True)
class MethodLine:
    url: str
    title: str
    family: str
    phase: str
    needs: str
    summary: str
    systems: int


def method_lines() -> list[MethodLine]:
    """Every method; one statement."""
    rows = Method.objects.annotate(system_count=Count("systems")).order_by("family", "title")
    return [
        MethodLine(
            url=reverse("method", args=[row.name]),
            title=row.title,
            family=row.family,
            phase=info.phase if (info := METHODS.get(row.name)) else "",
            needs=info.needs if info else "",
            summary=row.summary,
            systems=row.system_count,
        )
        for row in rows
        if row.name != "none"
    ]


@dataclass(frozen=True, slots=True)
class MethodPage:
    method: Method
    facts: tuple[tuple[str, str], ...]
    parameters: tuple[tuple[str, str], ...]
    view: BudgetView | None


def method_page(name: str, query: Mapping[str, Any]) -> MethodPage | None:
    """A method on one model, hardware and length: its budgets beside the full cache. Three statements."""
    method = Method.objects.filter(name=name).first()
    if method is None:
        return None
    info = METHODS.get(name)
    return MethodPage(method, _facts(method, info), info.parameters if info else (), budget_view(name, query))


def _facts(method: Method, info: MethodInfo | None) -> tuple[tuple[str, str], ...]:
    if info is None:
        return (("Family", method.family),)
    budgets = ", ".join(f"{b:g}" for b in info.budgets) or "any share"
    facts = (
        ("Family", info.family),
        (
            "Works on",
            {"prefill": "the prompt", "decode": "the answer", "both": "prompt and answer"}.get(info.phase, ""),
        ),
        ("Looks at", "keys and values alone" if info.needs == "nothing" else info.needs),
        ("Budgets", budgets if info.takes_budget else "none"),
        ("Source", info.source),
    )
    return tuple((name, value) for name, value in facts if value)
