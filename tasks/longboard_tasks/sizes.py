"""Bytes as people read them: in the binary unit that fits their size. Messages, pages and axes share this."""

from __future__ import annotations

import math

UNITS = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}


def unit_for(size: float) -> tuple[int, str]:
    """The largest unit that goes into a size at least once, in bytes, and its name."""
    return next(((unit, name) for name, unit in UNITS.items() if abs(size) >= unit), (1, "B"))


def bytes_text(size: float) -> str:
    """19.1 MiB, 80.0 GiB, 512 B: three significant digits."""
    unit, name = unit_for(size)
    if unit == 1:
        return f"{size:.0f} B"
    number = size / unit
    decimals = 2 - math.floor(math.log10(abs(number)))
    return f"{round(number, decimals):,.{max(0, decimals)}f} {name}"
