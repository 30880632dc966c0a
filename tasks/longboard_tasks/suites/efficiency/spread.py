"""Intervals over launches and repeats, and the signs of a noisy cell. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, pstdev

from longboard_tasks.intervals import median_interval
from longboard_tasks.suites.efficiency.report import MAX_VALUES, Cell, Stat

LAUNCH_SPREAD = 0.03  # coefficient of variation of launch medians
DRIFT = 0.02  # between the first and the last third of one launch


def summarise(values: Sequence[float]) -> Stat:
    """Median with its interval; every value is kept up to MAX_VALUES, then evenly chosen ones."""
    middle, low, high = median_interval(values)
    step = max(1, -(-len(values) // MAX_VALUES))
    return Stat(value=middle, low=low, high=high, n=len(values), values=tuple(values[::step]))


def pool_launches(launches: Sequence[Sequence[float]]) -> Stat:
    """Median over launches of their medians, with the interval that these launches give: each counts as one value.

    Values of one launch share its clocks, its memory layout and its neighbours, so that more of them make nothing surer. One
    launch alone cannot show how launches differ: it has the interval of its own values, which says how steady that launch was.
    """
    launches = [values for values in launches if values]
    if len(launches) == 1:
        return summarise(launches[0])
    value, low, high = median_interval([median(values) for values in launches])
    return Stat(value=value, low=low, high=high, n=sum(map(len, launches)))


def noise_flags(
    launches: Sequence[Sequence[float]], *, throttled: Sequence[str] = (), values_expected_flat: bool = True
) -> tuple[str, ...]:
    """Why a cell is noisy; empty when it is not.

    `values_expected_flat`: the values of one launch should not drift (decode steps at one length do not).
    """
    flags = []
    medians = [median(values) for values in launches if values]
    if len(medians) > 1 and pstdev(medians) / fmean(medians) > LAUNCH_SPREAD:
        flags.append(f"launch medians vary by {pstdev(medians) / fmean(medians):.1%}")
    for values in launches:
        third = len(values) // 3
        if values_expected_flat and third >= 5:
            first, last = median(values[:third]), median(values[-third:])
            if abs(last / first - 1) > DRIFT:
                flags.append(f"drift of {last / first - 1:+.1%} within a launch")
    flags.extend(f"throttled: {reason}" for reason in throttled)
    return tuple(dict.fromkeys(flags))


def pool_cells(cells: Sequence[Cell]) -> Cell:
    """The same cell of several launches as one. Memory is the largest; a failure stands only if no launch worked."""
    worked = [cell for cell in cells if cell.failure is None]
    if len(worked) < 2:
        return (worked or list(cells))[0]
    names = [name for name in worked[0].times if all(name in cell.times for cell in worked)]
    times = {name: pool_launches([cell.times[name].values for cell in worked]) for name in names}
    main = "ttft_ms" if worked[0].phase == "prefill" else "tpot_ms"
    flags = noise_flags([cell.times[main].values for cell in worked], values_expected_flat=False)
    return worked[0].model_copy(
        update={
            "times": times,
            "launch": len(worked),
            "memory": max((c.memory for c in worked if c.memory), key=lambda m: m.peak, default=None),
            "energy": next((c.energy for c in worked if c.energy and c.energy.is_valid), worked[0].energy),
            "noise": tuple(dict.fromkeys((*flags, *(flag for cell in worked for flag in cell.noise)))),
        }
    )
