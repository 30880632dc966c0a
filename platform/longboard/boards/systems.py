"""What is known of every System, held in this process: titles, families, methods, sizes, for filters, facets and search.

10,000 Systems take 60 ms to read and 5 MB to hold, and change seldom. `catalogue(version)` reads them again when the version
that the caller has just seen in the database is another one than ours.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from django.db.models import Subquery

from longboard.boards.columns import places_by_id
from longboard.registry.models import Method, Model, System, system_label

SIZES = (
    ("tiny", "under 10M", 0, 10e6),
    ("small", "10M to 100M", 10e6, 100e6),
    ("medium", "100M to 1B", 100e6, 1e9),
    ("large", "1B to 10B", 1e9, 10e9),
    ("huge", "10B and more", 10e9, float("inf")),
)

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """One System, as far as pages name and filter it."""

    pk: int
    slug: str
    label: str
    model_slug: str
    family: str
    method: str
    method_title: str
    budget: float
    parameters: int | None
    max_positions: int | None

    @property
    def plain_label(self) -> str:
        """Without its runtime, which most readers do not need to tell two Systems apart."""
        return self.label.rsplit(" (", 1)[0]

    @property
    def size(self) -> str:
        if self.parameters is None:
            return ""
        return next(name for name, _, low, high in SIZES if low <= self.parameters < high)


@dataclass(frozen=True, slots=True)
class Catalogue:
    ids: Ints  # rising
    place_of: Ints  # by System id, up to one past the last: its place in `ids`, -1 where there is none
    facts: tuple[SystemFacts, ...]  # in that order
    searched: tuple[str, ...]  # what a search looks through, casefolded
    families: tuple[str, ...]
    methods: tuple[str, ...]
    family_of: Ints  # index into families, by position
    method_of: Ints
    size_of: Ints  # index into SIZES; -1 unknown
    label_order: Ints  # place of each in the order of labels
    method_titles: dict[str, str]

    def places(self, systems: Ints) -> Ints:
        """Positions of these System ids, all known."""
        return self.place_of[systems]

    def known(self, systems: Ints) -> np.ndarray:
        """Which of them this catalogue has."""
        return self.place_of[np.minimum(systems, len(self.place_of) - 1)] >= 0

    def __getitem__(self, system: int) -> SystemFacts:
        return self.facts[self.place_of[system]]


def version_subqueries() -> dict[str, Subquery]:
    """Annotations that together change whenever a title, a family or the set of Systems does."""
    return {
        "systems_version": Subquery(System.objects.order_by("-updated_at").values("updated_at")[:1]),
        "models_version": Subquery(Model.objects.order_by("-updated_at").values("updated_at")[:1]),
        "methods_version": Subquery(Method.objects.order_by("-updated_at").values("updated_at")[:1]),
        "newest_system": Subquery(System.objects.order_by("-pk").values("pk")[:1]),
    }


_held: dict[str, Catalogue] = {}
_lock = threading.Lock()


def catalogue(version: str) -> Catalogue:
    """The Systems as of `version`; one statement when this process has another version, none when it has this one."""
    found = _held.get(version)
    if found is None:
        with _lock:
            found = _held.get(version) or _read()
            _held.clear()
            _held[version] = found
    return found


def version_of(row: Any) -> str:
    """The version that `version_subqueries` put on a row."""
    return f"{row.systems_version}/{row.models_version}/{row.methods_version}/{row.newest_system}"


def current_catalogue() -> Catalogue:
    """For callers that have not asked for the version yet: one more statement."""
    row = next(iter(Method.objects.raw(*_version_statement())), None)
    return catalogue(version_of(row) if row else "")


@cache
def _version_statement() -> tuple[str, tuple[Any, ...]]:
    return Method.objects.annotate(**version_subqueries()).order_by("pk")[:1].query.sql_with_params()


def _read() -> Catalogue:
    rows = System.objects.order_by("pk").values_list(
        "pk", "slug", "model__title", "model__slug", "model__family", "model__parameters", "model__max_positions",
        "method__name", "method__title", "budget", "dtype", "kernels", "settings",
    )  # fmt: skip
    facts = tuple(
        SystemFacts(
            pk=pk,
            slug=slug,
            label=system_label(title, *named),
            model_slug=model_slug,
            family=family,
            method=named[0],
            method_title=named[1],
            budget=named[2],
            parameters=parameters,
            max_positions=positions,
        )
        for pk, slug, title, model_slug, family, parameters, positions, *named in rows
    )
    families, methods = sorted({f.family for f in facts}), sorted({f.method for f in facts})
    sizes = [name for name, *_ in SIZES]
    by_family, by_method = {f: i for i, f in enumerate(families)}, {m: i for i, m in enumerate(methods)}
    order = np.zeros(len(facts), np.int64)
    order[np.array(sorted(range(len(facts)), key=lambda at: (facts[at].label, facts[at].pk)), np.int64)] = np.arange(
        len(facts)
    )
    ids = np.array([f.pk for f in facts], np.int64)
    return Catalogue(
        ids=ids,
        place_of=places_by_id(ids),
        facts=facts,
        searched=tuple(f"{f.label} {f.model_slug} {f.family}".casefold() for f in facts),
        families=tuple(families),
        methods=tuple(methods),
        family_of=np.array([by_family[f.family] for f in facts], np.int64),
        method_of=np.array([by_method[f.method] for f in facts], np.int64),
        size_of=np.array([sizes.index(f.size) if f.size else -1 for f in facts], np.int64),
        label_order=order,
        method_titles={f.method: f.method_title for f in facts},
    )


def short_names(facts: list[SystemFacts]) -> dict[int, str]:
    """Model and method, and the runtime only where two of these differ by nothing else."""
    twice = {name for name, count in Counter(f.plain_label for f in facts).items() if count > 1}
    return {f.pk: f.label if f.plain_label in twice else f.plain_label for f in facts}
