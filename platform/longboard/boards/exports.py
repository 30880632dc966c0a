"""A board as CSV and as a Plotly figure: the same rows that the page shows, with every digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from longboard.boards.queries import Board, Row

COLUMNS = (
    "system", "model", "family", "suite", "task", "metric", "context_length", "hardware",
    "value", "ci_low", "ci_high", "n", "trust", "rank_best", "rank_worst", "missing",
    "cost_metric", "cost_value", "cost_ci_low", "cost_ci_high", "cost_n", "cost_missing",
    "on_front", "front_probability",
)  # fmt: skip


def csv_lines(board: Board) -> Iterator[str]:
    """The whole view, one line at a time, the head first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for fields in (COLUMNS, *(_fields(board, row) for row in board.ranked)):
        writer.writerow([guarded(field) for field in fields])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def guarded(field: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay numbers."""
    if isinstance(field, str) and field.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{field}"
    return field


def _fields(board: Board, row: Row) -> tuple[Any, ...]:
    gain, cost = row.gain, row.cost
    return (
        row.label, row.model, row.family, board.suite.label, board.task.name, board.metric.name, board.length, board.hardware,
        *((gain.number, gain.low, gain.high, gain.n, row.trust, row.rank_best, row.rank_worst) if gain else [""] * 7),
        row.gain_missing.text if row.gain_missing else "",
        board.cost.name,
        *((cost.number, cost.low, cost.high, cost.n) if cost else [""] * 4),
        row.cost_missing.text if row.cost_missing else "",
        "" if row.probability is None else int(row.on_front),
        "" if row.probability is None else row.probability,
    )  # fmt: skip


def plotly_figure(board: Board) -> dict[str, Any]:
    """The board's figure for Plotly. Colours are numbers of our palette: the page's script puts the theme's in."""
    points = board.points
    more_is_better = board.cost.higher_is_better
    on_front = sorted((p for p in points if p.on_front), key=lambda p: p.cost.number, reverse=more_is_better)
    log = bool(points) and min(p.cost.low for p in points) > 0
    front = {
        "type": "scatter",
        "mode": "lines",
        "name": "front",
        "x": [p.cost.number for p in on_front],
        "y": [p.gain.number for p in on_front],
        "line": {"shape": "hv", "width": 1.5},  # steps: nothing was measured between two points
        "hoverinfo": "skip",
        "meta": {"colour": None},
    }
    systems = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": p.label,
            "x": [p.cost.number],
            "y": [p.gain.number],
            "error_x": _arms(p.cost.number, p.cost.low, p.cost.high),
            "error_y": _arms(p.gain.number, p.gain.low, p.gain.high),
            "text": [f"{p.gain}<br>{p.cost}<br>P(front) {p.probability:.2f}"],
            "hovertemplate": "%{text}",
            "marker": {"size": 11, "symbol": _symbol(p.system_id, hollow=p.certainty != "sure")},
            "opacity": 0.6 if p.certainty == "off" else 1,
            "meta": {"colour": p.system_id % 8, "url": p.url},
        }
        for p in points
    ]
    return {
        "data": [front, *systems],
        "layout": {
            "title": {"text": board.title},
            "xaxis": {"title": {"text": f"{board.cost.title}, {board.cost.unit}"}, "type": "log" if log else "linear"},
            "yaxis": {"title": {"text": board.metric.title}, "rangemode": "tozero"},
        },
        "permalink": board.view.url(),
    }


def _arms(value: float, low: float, high: float) -> dict[str, Any]:
    return {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "thickness": 1}


def _symbol(system_id: int, *, hollow: bool) -> str:
    names: Sequence[str] = ("circle", "square", "diamond", "triangle-up", "triangle-down")
    return names[system_id % len(names)] + ("-open" if hollow else "")
