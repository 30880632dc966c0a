"""Which Systems a board shows, in which order, with what rank and place on the front. Arrays in, arrays out.

Everything about 10,000 Systems is worked out here in a few milliseconds; rows with words are made for one page of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from longboard.boards.board_view import BoardView
from longboard.boards.columns import TRUSTS, Numbers
from longboard.boards.metrics import METRICS
from longboard.boards.paired import rank_ranges
from longboard.boards.ranking import DRAWS, front_of, sizes_of
from longboard.boards.sources import Held, union
from longboard.boards.systems import SIZES, Catalogue

FEW = 60  # Systems: up to here a front that is worked out on the spot gets all its draws
ON_THE_SPOT_DRAWS = 64

Ints = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Arrays over the shown Systems, in the order of the table. Gains and costs are NaN where there is no number."""

    systems: Ints
    gains: Numbers
    costs: Numbers
    best: Ints  # rank ranges; 0 without a gain
    worst: Ints
    on_front: Mask
    probability: np.ndarray
    everyone: int  # before the filters
    facets: Mapping[
        str, Mapping[str, int]
    ]  # control -> option -> Systems that it leads to, the other filters as they are

    @property
    def has_gain(self) -> Mask:
        return ~np.isnan(self.gains["value"])

    @property
    def has_both(self) -> Mask:
        return self.has_gain & ~np.isnan(self.costs["value"])

    def __len__(self) -> int:
        return len(self.systems)


def select(
    view: BoardView,
    held: Held,
    known: Catalogue,
    extra: Ints,
    stored: Mapping[int, tuple[bool, float]] | None,
) -> Selection:
    """`extra`: Systems without any number in this metric, shown for the reason why. `stored`: the front as kept, if fresh."""
    systems = held.gains.systems
    if len(held.elsewhere) or len(extra):
        systems = union(systems, held.elsewhere, extra)
    if not (there := known.known(systems)).all():
        systems = systems[there]
    gains, costs = held.gains.at(systems), held.costs.at(systems)
    has_gain = ~np.isnan(gains["value"])
    at = known.places(systems)
    masks = masks_of(view, known, at, trusted=~has_gain | (gains["trust"] >= TRUSTS.index(view.trust)))
    shown = np.logical_and.reduce(list(masks.values()))
    facets = facets_of(known, at, masks)

    best, worst = np.zeros(len(systems), np.int64), np.zeros(len(systems), np.int64)
    ranked = shown & has_gain
    whole = bool((ranked == has_gain).all())
    if whole and held.ranked:
        best[ranked], worst[ranked] = gains["best"][ranked], gains["worst"][ranked]
    elif ranked.any():
        best[ranked], worst[ranked] = rank_ranges(gains["value"][ranked], sizes_of(gains[ranked]))
    on, chance = np.zeros(len(systems), bool), np.zeros(len(systems))
    both = ranked & ~np.isnan(costs["value"])
    if whole and stored is not None:
        ids = np.fromiter(stored, np.int64, len(stored))
        place = np.minimum(np.searchsorted(systems, ids), max(0, len(systems) - 1))
        found = systems[place] == ids if len(systems) else np.zeros(len(ids), bool)
        on[place[found]] = np.array([is_on for is_on, _ in stored.values()], bool)[found]
        chance[place[found]] = np.array([probability for _, probability in stored.values()], float)[found]
    elif both.any():
        draws = DRAWS if both.sum() <= FEW else ON_THE_SPOT_DRAWS
        on[both], chance[both] = front_of(gains[both], costs[both], view.cost, draws=draws)
    rows = np.flatnonzero(shown)
    if len(rows) == len(systems):  # no copies of what is shown whole
        order = _order(view, gains, costs, on, chance, both, known.label_order[at])
    else:
        order = rows[
            _order(
                view,
                gains.take(rows),
                costs.take(rows),
                on[rows],
                chance[rows],
                both[rows],
                known.label_order[at[rows]],
            )
        ]
    return Selection(
        systems=systems[order],
        gains=gains.take(order),  # of records twenty times as fast as an index
        costs=costs.take(order),
        best=best[order],
        worst=worst[order],
        on_front=on[order],
        probability=chance[order],
        everyone=len(systems),
        facets=facets,
    )


def checked(view: BoardView, known: Catalogue) -> BoardView:
    """The view without filters that name nothing here; the page says so."""
    if view.family and view.family not in known.families:
        view = view.with_notice(f'There is no family "{view.family[:40]}" here; showing all.', family="")
    if view.method and view.method not in known.methods:
        view = view.with_notice(f'There is no method "{view.method[:40]}" here; showing all.', method="")
    return view


def masks_of(view: BoardView, known: Catalogue, at: Ints, *, trusted: Mask) -> dict[str, Mask]:
    """What each filter of the view lets through, over the Systems at these places of the catalogue."""
    everybody = np.ones(len(at), bool)
    masks = {
        "family": known.family_of[at] == known.families.index(view.family) if view.family else everybody,
        "method": known.method_of[at] == known.methods.index(view.method) if view.method else everybody,
        "size": known.size_of[at] == [n for n, *_ in SIZES].index(view.size) if view.size else everybody,
        "trust": trusted,
        "search": everybody,
    }
    if view.search:
        needle = view.search.casefold()
        masks["search"] = np.array([needle in known.searched[place] for place in at], bool)
    return masks


def facets_of(known: Catalogue, at: Ints, masks: Mapping[str, Mask]) -> dict[str, dict[str, int]]:
    """control -> option -> how many Systems it leads to while the other filters stay."""

    def count(control: str, codes: Ints, names: tuple[str, ...]) -> dict[str, int]:
        others = np.logical_and.reduce([mask for name, mask in masks.items() if name != control])
        valid = codes >= 0
        totals = np.bincount(codes[valid & others], minlength=len(names))
        offered = np.bincount(codes[valid], minlength=len(names)) > 0
        return {name: int(n) for name, n, is_there in zip(names, totals, offered, strict=True) if is_there}

    return {
        "family": count("family", known.family_of[at], known.families),
        "method": count("method", known.method_of[at], known.methods),
        "size": count("size", known.size_of[at], tuple(name for name, *_ in SIZES)),
    }


def _order(
    view: BoardView, gains: Numbers, costs: Numbers, on: Mask, chance: np.ndarray, both: Mask, label: Ints
) -> Ints:
    """By the chosen column; rows without its number come last, whatever the column, and labels break ties."""
    sign = -1.0 if METRICS[view.cost].higher_is_better else 1.0
    gain, cost = -gains["value"], sign * costs["value"]  # NaN sorts behind every number
    keys: tuple[Any, ...]
    if view.sort == "cost":
        keys = (label, gain, cost)
    elif view.sort == "front":
        keys = (label, gain, -chance, ~on, ~both)
    else:
        keys = (label, cost, gain)
    return np.lexsort(keys)  # the last key is the first to decide


def part(selection: Selection, rows: slice | Ints) -> Selection:
    """A page of it."""
    names = ("systems", "gains", "costs", "best", "worst", "on_front", "probability")
    return replace(selection, **{name: getattr(selection, name)[rows] for name in names})
