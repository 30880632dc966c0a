"""Models as lines, in the groups that lists and forms offer them in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Count, Q
from django.urls import reverse

from longboard.quantities import count_text, length_label
from longboard.registry.models import Model

M = TypeVar("M", bound=Model)  # with its annotations, if any
# What a model can be asked for, most useful to a newcomer first: lists and forms keep this order.
MODEL_GROUPS = {
    "Trained weights": (Model.Source.ZOO, Model.Source.HUB, Model.Source.UPLOAD),
    "Random weights: efficiency alone": (Model.Source.CONFIG,),
    "Architectures: trained in a run of the Long Range Arena": (Model.Source.ARCHITECTURE,),
}


@dataclass(frozen=True, slots=True)
class ModelLine:
    url: str
    slug: str
    title: str
    family: str
    parameters: str
    positions: str
    licence: str
    systems: int
    numbers: int


def model_groups(rows: Iterable[M]) -> list[tuple[str, list[M]]]:
    """Models by what they can be asked for, by name within; groups without a model are left out."""
    ordered = sorted(rows, key=lambda row: (row.title, row.slug))
    groups = [(title, [row for row in ordered if row.source in sources]) for title, sources in MODEL_GROUPS.items()]
    return [(title, found) for title, found in groups if found]


def model_lines(search: str = "") -> list[tuple[str, list[ModelLine]]]:
    """Every registered model that matches, by group; one statement."""
    rows = Model.objects.annotate(
        system_count=Count("systems", distinct=True), cell_count=Count("systems__cells", distinct=True)
    )
    if search:
        rows = rows.filter(
            Q(title__icontains=search)
            | Q(slug__icontains=search)
            | Q(family__icontains=search)
            | Q(ref__icontains=search)
        )
    return [
        (
            group,
            [
                ModelLine(
                    url=reverse("model", args=[row.slug]),
                    slug=row.slug,
                    title=row.title,
                    family=row.family,
                    parameters=count_text(row.parameters) if row.parameters else "",
                    positions=position_text(row.max_positions),
                    licence=row.licence,
                    systems=row.system_count,
                    numbers=row.cell_count,
                )
                for row in found
            ],
        )
        for group, found in model_groups(rows)
    ]


def position_text(positions: int | None) -> str:
    return "no limit stated" if positions is None else f"up to {length_label(positions)}"
