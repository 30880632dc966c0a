"""How much has been measured in each suite, in one line: what a reader may expect behind a board's link."""

from __future__ import annotations

from collections import defaultdict

from longboard.boards.models import Column
from longboard.quantities import length_label, many_text


def extents() -> dict[int, str]:
    """Suite id -> "12 systems side by side, 512 to 16K tokens, on 3 machines".

    One statement; suites without numbers are left out.
    """
    rows: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for suite, *row in Column.objects.values_list("suite_id", "size", "context_length", "hardware_id"):
        rows[suite].append((row[0], row[1], row[2]))
    return {suite: _extent(found) for suite, found in rows.items()}


def _extent(rows: list[tuple[int, int, int]]) -> str:
    most = max(size for size, _, _ in rows)
    shortest, longest = (length_label(pick(length for _, length, _ in rows)) for pick in (min, max))
    machines = len({hardware for _, _, hardware in rows})
    span = f"{shortest} tokens" if shortest == longest else f"{shortest} to {longest} tokens"
    together = f"{most:,} systems side by side" if most > 1 else "one system"
    return f"{together}, {span}, on {many_text(machines, 'machine')}"
