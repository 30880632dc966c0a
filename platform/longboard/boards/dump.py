"""The whole archive as one stream: every published number, oldest first, with a checksum at the end.

Read in keyset chunks of the primary key up to the newest row at the start, so that memory stays flat, the first line is out
at once, and numbers that arrive meanwhile change nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

from longboard.boards.exports import guarded
from longboard.fleet.models import Hardware
from longboard.registry.models import Suite, System
from longboard.results.dates import measured_in
from longboard.results.models import Measurement

CHUNK = 5_000
FIRST_CHUNK = 200
FIELDS = (
    "id", "run", "system", "hardware", "suite", "task", "metric", "context_length", "depth", "value", "ci_low", "ci_high",
    "n", "unit", "trust", "created_at", "measured_at",
)  # fmt: skip
_COLUMNS = (
    "pk", "run_id", "system_id", "hardware_id", "suite_id", "task", "metric", "context_length", "depth", "value", "ci_low",
    "ci_high", "n", "unit", "trust", "created_at", "bundle_id",
)  # fmt: skip


def csv_stream() -> Iterator[bytes]:
    """A head, a line for each number, and a last line `# sha256=... rows=...` over all bytes before it."""

    def text(rows: list[tuple[Any, ...]]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer).writerows(rows)
        return buffer.getvalue()

    yield from _signed(text([FIELDS]), text, "# sha256={digest} rows={rows}\n")


def jsonl_stream() -> Iterator[bytes]:
    """An object a line; the last one is {"sha256": ..., "rows": ...} over all bytes before it."""

    def text(rows: list[tuple[Any, ...]]) -> str:
        return "".join(json.dumps(dict(zip(FIELDS, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)

    yield from _signed("", text, '{{"sha256": "{digest}", "rows": {rows}}}\n')


def _signed(head: str, text: Callable[[list[tuple[Any, ...]]], str], foot: str) -> Iterator[bytes]:
    digest, count = hashlib.sha256(head.encode()), 0
    if head:
        yield head.encode()
    for rows in _chunks():
        part = text(rows).encode()
        digest.update(part)
        count += len(rows)
        yield part
    yield foot.format(digest=digest.hexdigest(), rows=count).encode()


def _chunks() -> Iterator[list[tuple[Any, ...]]]:
    newest = Measurement.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    hardware = dict(Hardware.objects.values_list("pk", "slug"))
    suites = {suite.pk: suite.label for suite in Suite.objects.all()}
    systems: dict[int, str] = {}
    last, size = 0, FIRST_CHUNK
    while last < newest:
        rows = list(
            Measurement.objects.filter(pk__gt=last, pk__lte=newest).order_by("pk").values_list(*_COLUMNS)[:size]
        )
        if not rows:
            return
        unknown = {row[2] for row in rows} - systems.keys()
        if unknown:
            systems |= dict(System.objects.filter(pk__in=unknown).values_list("pk", "slug"))
        days = {bundle: at.isoformat() for bundle, at in measured_in(row[-1] for row in rows).items()}
        yield [
            (pk, str(run), systems[system], hardware[hw], suites[suite], guarded(task), *rest, created.isoformat())
            + (days.get(bundle, ""),)
            for pk, run, system, hw, suite, task, *rest, created, bundle in rows
        ]
        last, size = rows[-1][0], CHUNK
