"""One board: its rows best first, with both numbers of each."""

from __future__ import annotations

from pydantic import BaseModel


class BoardRow(BaseModel):
    system: str
    label: str
    model: str
    gain: float
    gain_low: float
    gain_high: float
    gain_n: int
    cost: float
    cost_low: float
    cost_high: float
    cost_n: int
    rank_best: int
    rank_worst: int
    on_front: bool
    front_probability: float
    trust: str
    cost_trust: str


class BoardOut(BaseModel):
    suite: str
    task: str
    metric: str
    cost_metric: str
    context_length: int
    hardware: str
    rows: list[BoardRow]
