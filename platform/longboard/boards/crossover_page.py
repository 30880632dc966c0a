"""Where one System overtakes another: at which context length, by metric."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longboard.boards import figures
from longboard.boards.board_rows import model_url
from longboard.boards.choices import Choice
from longboard.boards.compare import Side, cells_of, choices, chosen_systems, place_of, url_of
from longboard.boards.differences import lead_of
from longboard.boards.figures import LengthSeries
from longboard.boards.marks import mark_of
from longboard.boards.metrics import METRICS
from longboard.boards.models import Cell
from longboard.crossings import Crossing as Place
from longboard.crossings import overtaking
from longboard.quantities import length_label, quantity
from longboard.registry.models import System
from longboard_tasks.catalogue.metrics import MetricInfo


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where the second System overtakes the first in one metric."""

    metric: str
    task: str
    text: str
    interval: str
    chance: str  # that it does
    n: str  # lengths that both have


@dataclass(frozen=True, slots=True)
class CrossoverPage:
    first: Side
    second: Side
    hardware: tuple[Choice, ...]
    suites: tuple[Choice, ...]
    hardware_title: str
    title: str
    crossings: tuple[Crossing, ...]
    wide: dict[str, Any]
    narrow: dict[str, Any]
    chart_title: str
    compare_url: str
    swapped_url: str
    permalink: str


def crossover_page(query: Any) -> CrossoverPage:
    """At which length the second System overtakes the first, by metric. Raises BadRequest unless it is given two."""
    systems = chosen_systems(query, most=2)
    cells = cells_of(systems)
    hardware, suite = place_of(query, cells)
    here = [
        c
        for c in cells
        if hardware and c.hardware_id == hardware.pk and (c.suite.kind == "efficiency" or c.suite == suite)
    ]
    where = {"suite": suite.label if suite else "", "hardware": hardware.slug if hardware else ""}
    groups: dict[tuple[str, str, str], dict[int, dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for c in here:
        groups[c.suite.label, c.task, c.metric][c.context_length][c.system_id] = c
    crossings, drawn = [], None
    for (label, task, metric), by_length in groups.items():
        pairs = [(n, by_length[n]) for n in sorted(by_length) if len(by_length[n]) == 2]
        leads = {n: lead for n, pair in pairs if (lead := lead_of(*(pair[s.pk] for s in systems))) is not None}
        if len(leads) < 2:
            continue
        info = METRICS[metric]
        crossings.append(_crossing(info, f"{label} {task}", leads))
        if drawn is None or (metric == "ttft_ms" and not drawn[1].higher_is_better):
            drawn = (by_length, info)
    slugs = [s.slug for s in systems]
    series = _length_series(drawn[0], systems) if drawn else []
    sides = [Side(s.slug, s.label, model_url(s.model.slug), mark_of(s.pk), "") for s in systems]
    overtaken = [c for c in crossings if c.text != "–"]
    place = f" on {hardware.title}" if hardware else ""
    title = (
        f"{systems[1].label} overtakes {systems[0].label} in {len(overtaken)} of {len(crossings)} metrics{place}"
        + (f", first in {overtaken[0].metric.lower()} at about {overtaken[0].text} tokens" if overtaken else "")
        if crossings
        else f"No metric has both systems at two lengths{place} yet"
    )
    return CrossoverPage(
        first=sides[0],
        second=sides[1],
        hardware=choices({(c.hardware.slug, c.hardware.title) for c in cells}, where["hardware"]),
        suites=choices({(c.suite.label, c.suite.title) for c in cells if c.suite.kind == "accuracy"}, where["suite"]),
        hardware_title=hardware.title if hardware else "",
        title=title,
        crossings=tuple(crossings),
        wide=figures.draw_lengths(series, gain=drawn[1]) if drawn else {},
        narrow=figures.draw_lengths(series, gain=drawn[1], size=figures.NARROW) if drawn else {},
        chart_title=f"{drawn[1].title} by context length" if drawn else "",
        compare_url=url_of("compare", slugs, where),
        swapped_url=url_of("overtaking", slugs[::-1], where),
        permalink=url_of("overtaking", slugs, where),
    )


def _crossing(metric: MetricInfo, task: str, leads: Mapping[int, tuple[float, float, float]]) -> Crossing:
    """`leads`: length, rising -> how far the second is ahead."""
    lengths = list(leads)
    found, chance = overtaking(np.array(lengths), np.array(list(leads.values())))
    ends = (length_label(lengths[0]), length_label(lengths[-1]))
    return Crossing(
        metric=metric.title,
        task=task,
        text=_about(found.length) if found else "–",
        interval=_span(found, *ends) if found else "",
        chance=f"{chance:.0%}",
        n=f"{len(lengths)} ({ends[0]} to {ends[1]})",
    )


def _span(found: Place, shortest: str, longest: str) -> str:
    """An end that these lengths do not settle lies beyond them, or the two do not trade places there at all."""
    low = _about(found.low) if found.low else f"under {shortest}"
    high = _about(found.high) if found.high else f"over {longest}"
    if found.low and found.high and low == high:  # narrower than two digits show; sizes that never varied have none
        low, high = f"{found.low:,.0f}", f"{found.high:,.0f}"
        return f"{low}–{high}" if low != high else ""
    return f"{low}–{high}" if found.low and found.high else f"{low} to {high}"


def _about(tokens: float) -> str:
    """An interpolated length, to two digits: nothing was measured there."""
    digits = 10 ** max(0, len(str(int(tokens))) - 2)
    return f"{round(tokens / digits) * digits:,}"


def _length_series(by_length: Mapping[int, Mapping[int, Cell]], systems: Sequence[System]) -> list[LengthSeries]:
    found = []
    for s in systems:
        points = [
            (n, quantity(c.value, c.ci_low, c.ci_high, n=c.n, unit=c.unit))
            for n in sorted(by_length)
            if (c := by_length[n].get(s.pk)) is not None
        ]
        if points:
            found.append(LengthSeries(s.pk, s.label, tuple(points)))
    return found
