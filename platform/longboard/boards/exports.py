"""Any table of the site as CSV, JSON or Parquet, and a board as a Plotly figure: what the page shows, with every digit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from django.http import FileResponse, Http404, HttpResponseBase, StreamingHttpResponse

from longboard.boards.board_rows import Row
from longboard.boards.marks import mark_of
from longboard.boards.queries import Board

PARQUET_ROWS = 10_000  # a row group: what is held in memory at once


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns, rows one at a time, and what the table is of. Types are "text", "number" or "whole"."""

    columns: Mapping[str, str]
    rows: Iterable[Sequence[Any]]
    about: Mapping[str, Any]


def download(kind: str, table: Table, *, name: str) -> HttpResponseBase:
    """The table as an attachment. Raises Http404 for a format that there is not."""
    if kind == "csv":
        return _attachment(StreamingHttpResponse(csv_lines(table), content_type="text/csv; charset=utf-8"), name, kind)
    if kind == "json":
        return _attachment(StreamingHttpResponse(json_parts(table), content_type="application/json"), name, kind)
    if kind == "parquet":
        file = FileResponse(parquet_file(table), content_type="application/vnd.apache.parquet")
        return _attachment(file, name, kind)
    raise Http404("Tables come as csv, json or parquet.")


def _attachment(response: HttpResponseBase, name: str, kind: str) -> HttpResponseBase:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return response


def csv_lines(table: Table) -> Iterator[str]:
    """One line at a time, the head first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([guarded("" if field is None else field) for field in row])
        if buffer.tell() > 30_000:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def json_parts(table: Table) -> Iterator[str]:
    """{"about": {...}, "columns": [...], "rows": [{...}, ...]}, a row at a time."""
    head = {"about": table.about, "columns": list(table.columns)}
    yield json.dumps(head, ensure_ascii=False)[:-1] + ', "rows": ['
    for at, row in enumerate(table.rows):
        line = json.dumps(dict(zip(table.columns, row, strict=True)), ensure_ascii=False)
        yield f"{',' if at else ''}\n{line}"
    yield "\n]}\n"


def parquet_file(table: Table) -> IO[bytes]:
    """A temporary file, written row group by row group: a Parquet file's index stands at its end, so it cannot be streamed."""
    import tempfile

    import pyarrow as pa  # here: it takes 0.2 s and 40 MB, and few processes are ever asked for Parquet
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "number": pa.float64(), "whole": pa.int64()}
    schema = pa.schema([(name, types[kind]) for name, kind in table.columns.items()])
    schema = schema.with_metadata({"longboard": json.dumps(dict(table.about))})
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the response closes it)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        rows: list[Sequence[Any]] = []

        def flush() -> None:
            arrays = [
                pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows.clear()

        for row in table.rows:
            rows.append(row)
            if len(rows) == PARQUET_ROWS:
                flush()
        if rows:
            flush()
    file.seek(0)
    return file


def guarded(field: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay numbers."""
    if isinstance(field, str) and field.lstrip("\ufeff \n").startswith(
        ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
    ):
        return f"'{field}"
    return field


BOARD_COLUMNS = {
    "system": "text", "model": "text", "family": "text", "method": "text", "suite": "text", "task": "text", "metric": "text",
    "context_length": "whole", "hardware": "text", "value": "number", "ci_low": "number", "ci_high": "number", "n": "whole",
    "normalised": "number", "trust": "text", "rank_best": "whole", "rank_worst": "whole", "missing": "text",
    "cost_metric": "text", "cost_value": "number", "cost_ci_low": "number", "cost_ci_high": "number", "cost_n": "whole",
    "cost_trust": "text", "cost_missing": "text", "on_front": "whole", "front_probability": "number",
}  # fmt: skip


def board_table(board: Board) -> Table:
    about = {"title": board.title, "permalink": board.permalink, "updated": board.updated}
    return Table(BOARD_COLUMNS, (_fields(board, row) for row in board.every_row()), about)


def _fields(board: Board, row: Row) -> tuple[Any, ...]:
    gain, cost = row.gain, row.cost
    measured: list[Any] = [None] * 8
    if gain:
        normalised = gain.number if row.normalised is None else row.normalised
        measured = [gain.number, gain.low, gain.high, gain.n, normalised, row.trust, row.rank_best, row.rank_worst]
    return (
        row.label, row.model, row.family, row.method, board.suite.label, board.task.name, board.metric.name, board.length,
        board.hardware,
        *measured,
        row.gain_missing.text if row.gain_missing else None,
        board.cost.name,
        *((cost.number, cost.low, cost.high, cost.n, row.cost_trust) if cost else [None] * 5),
        row.cost_missing.text if row.cost_missing else None,
        None if row.probability is None else int(row.on_front),
        row.probability,
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
            "marker": {"size": 11, "symbol": mark_of(p.system_id).symbol + ("" if p.certainty == "sure" else "-open")},
            "opacity": 0.6 if p.certainty == "off" else 1,
            "meta": {"colour": mark_of(p.system_id).number, "url": p.url},
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
