"""Money: a rate times the price of the hardware's hour, worked out when a page is read, so that a new price shows at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from longboard.boards.columns import Slice
from longboard.boards.metrics import OUTPUT_PRICE, PRICED

SECONDS_PER_HOUR = 3_600


@dataclass(frozen=True, slots=True)
class Price:
    """What an hour of a hardware costs, and who says so."""

    usd_per_hour: float
    source: str
    url: str
    day: str  # ISO date; empty: not dated

    @property
    def text(self) -> str:
        return f"{self.usd_per_hour:,.4g} USD an hour"


# The columns of a Hardware that `price_of` takes, in its order.
PRICE_FIELDS = ("usd_per_hour", "price_source", "price_url", "price_day")


def price_of(usd_per_hour: float | None, source: str, url: str, day: date | None) -> Price | None:
    """None while staff have entered no price for the hardware."""
    if usd_per_hour is None:
        return None
    return Price(usd_per_hour, source, url, day.isoformat() if day else "")


def priced(cost: str, rates: Slice, price: Price | None) -> Slice:
    """The numbers of `cost` from those of `metrics.stored_cost(cost)`; no numbers without a price.

    USD per million tokens of one request alone (batch 1): the hour's price times the hours that a million tokens take.
    `tpot_ms` is time per token, so money is proportional to it; of `prefill_tokens_per_s` it is the reciprocal, and the ends
    of the interval change places. The price counts as exact. A cost that is no price comes back as it is.
    """
    if cost not in PRICED:
        return rates
    if price is None:
        return Slice.empty()
    numbers, per_second = rates.numbers.copy(), price.usd_per_hour / SECONDS_PER_HOUR
    for field, opposite in (("value", "value"), ("low", "high"), ("high", "low")):
        if cost == OUTPUT_PRICE:
            numbers[field] = rates.numbers[field] / 1_000 * 1e6 * per_second
        else:
            with np.errstate(divide="ignore"):
                numbers[field] = 1e6 / rates.numbers[opposite] * per_second
    return Slice(rates.systems, numbers)
