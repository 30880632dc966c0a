"""Numbers as people read them: digits follow the uncertainty, bytes take the binary prefix that fits.

Pages and exports for people share this; templates do no arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from longboard_tasks.sizes import unit_for

UNIT_WORDS = {"share": "", "ms": "ms", "bytes": "", "tokens/s": "tok/s", "J": "J", "tokens": "tokens", "1": ""}
NOISE = 1e-9  # of the value: what adding up equal numbers leaves in their interval is no width
LOPSIDED = 1.5  # arms of an interval that differ by more are written as its two ends, not as one ±


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number with its 95 % interval, as text. `number` stands for sorting and drawing."""

    number: float
    low: float
    high: float
    value: str  # "0.84", "512 MiB"
    interval: str  # "± 0.03", "(0.84–1.00)"; empty when the interval has no width
    n: int

    @property
    def text(self) -> str:
        return f"{self.value} {self.interval}".rstrip()

    def __str__(self) -> str:
        return f"{self.text}, n={self.count}"

    @property
    def count(self) -> str:
        """n as it is written, "2,000"."""
        return f"{self.n:,}"


@lru_cache(maxsize=8_192)  # shares of n samples take n + 1 values: most cells of a matrix are written elsewhere on it
def quantity(value: float, low: float, high: float, *, n: int, unit: str) -> Quantity:
    scale, word = _scale(value, unit)
    decimals = _decimals(value / scale, (high - low) / 2 / scale, unit)
    number = _fixed(value / scale, decimals)
    return Quantity(value, low, high, f"{number} {word}".rstrip(), _interval(value, low, high, scale, decimals), n)


def _interval(value: float, low: float, high: float, scale: float, decimals: int) -> str:
    below, above = (value - low) / scale, (high - value) / scale
    wider, narrower = max(below, above), min(below, above)
    if wider <= NOISE * abs(value / scale):
        return ""
    is_even = wider <= LOPSIDED * narrower
    # An interval that has a width must not read as one that has none: ± 0, or two ends alike.
    if round(wider if is_even else low / scale, decimals) == (0 if is_even else round(high / scale, decimals)):
        decimals = -math.floor(math.log10(wider))
    if is_even:
        return f"± {_fixed(wider, decimals)}"
    return f"({_fixed(low / scale, decimals)}–{_fixed(high / scale, decimals)})"


def _scale(value: float, unit: str) -> tuple[float, str]:
    if unit == "bytes":
        return unit_for(value)
    return 1, UNIT_WORDS.get(unit, unit)


def _decimals(value: float, half_width: float, unit: str) -> int:
    """Shares: as far as the half-width's first digit, 2 to 4. The rest: three significant digits of the value."""
    if unit == "share":
        return min(4, max(2, -math.floor(math.log10(half_width)))) if half_width > 0 else 2
    return 2 - math.floor(math.log10(abs(value))) if value else 0


def _fixed(value: float, decimals: int) -> str:
    """Rounded to that many decimals; negative ones round before the point: 27,176 to -2 decimals is 27,200."""
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def length_label(tokens: int) -> str:
    """512, 4K, 1M: the short name of a context length. What is no whole number of K stays in digits."""
    if tokens >= 2**20 and tokens % 2**20 == 0:
        return f"{tokens // 2**20}M"
    if tokens >= 2**10 and tokens % 2**10 == 0:
        return f"{tokens // 2**10}K"
    return f"{tokens:,}"


def figure_text(value: float) -> str:
    """Three significant digits, never as a power of ten: 0.355, 11.0, 1,410."""
    return _fixed(value, _decimals(value, 0, ""))


def percent_text(share: float) -> str:
    return f"{100 * share:.3g} %"


def count_text(count: float) -> str:
    """3.5M, 134M, 1.2B: parameters and tokens."""
    for size, word in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.3g}{word}"
    return f"{count:g}"


def many_text(count: int, word: str) -> str:
    """1 system, 1,200 systems."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def duration_text(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def ago_text(then: datetime, now: datetime) -> str:
    age = now - then
    if age < timedelta(minutes=1):
        return "just now"
    if age < timedelta(hours=1):
        return f"{age // timedelta(minutes=1)} min ago"
    if age < timedelta(days=1):
        return f"{age // timedelta(hours=1)} h ago"
    return f"{then:%Y-%m-%d}"
