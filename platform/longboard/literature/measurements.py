"""The measurement files that ship with the suite, one a device: pooled over launches, ready for pages and claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from longboard_tasks.architectures import Architecture, architecture_of
from longboard_tasks.costmodel import HardwareSheet, sheet_for
from longboard_tasks.shapes import load_shapes
from longboard_tasks.suites import efficiency
from longboard_tasks.suites.efficiency.report import (
    Breakdown,
    Cell,
    Limit,
    Logits,
    Phase,
    Reading,
    Report,
    Stat,
    read_report,
)
from longboard_tasks.suites.efficiency.spread import pool_cells

FOLDER = Path(efficiency.__path__[0]) / "measured"


@dataclass(frozen=True, slots=True)
class Table:
    """One report with every cell once. `slug` is the file's name and its place in URLs."""

    slug: str
    report: Report
    cells: tuple[Cell, ...]

    @property
    def device(self) -> str:
        return self.report.hardware.device

    @property
    def measured_on(self) -> str:
        return f"{self.report.measured_at:%Y-%m-%d}"

    @property
    def systems(self) -> list[str]:
        return list(self.report.systems)

    def find(
        self, system: str, phase: Phase, length: int, *, reading: Reading | None = None, logits: Logits = "last",
        batch: int = 1, cap: int | None = None,
    ) -> Cell | None:  # fmt: skip
        """`reading` None: the faster of those that worked; a failure only when none worked."""
        found = [
            cell
            for cell in self.cells
            if (cell.system, cell.phase, cell.context_length, cell.logits, cell.batch, cell.cap_bytes)
            == (system, phase, length, logits, batch, cap)
            and reading in (None, cell.reading)
        ]
        worked = [cell for cell in found if cell.failure is None]
        if worked:
            return min(worked, key=lambda cell: main_stat(cell).value)
        return found[0] if found else None

    def lengths(self, system: str, phase: Phase, *, logits: Logits = "last") -> list[int]:
        """Lengths with a number, batch 1, rising."""
        return sorted(
            {
                cell.context_length
                for cell in self.cells
                if (cell.system, cell.phase, cell.logits, cell.batch) == (system, phase, logits, 1) and not cell.failure
            }
        )

    def limit(self, system: str, reading: Reading, logits: Logits, cap: int | None) -> Limit | None:
        wanted = (system, reading, logits, cap)
        return next((x for x in self.report.limits if (x.system, x.reading, x.logits, x.cap_bytes) == wanted), None)

    def breakdowns(self, system: str, phase: Phase) -> Iterator[Breakdown]:
        mine = [b for b in self.report.breakdowns if (b.system, b.phase) == (system, phase)]
        yield from sorted(mine, key=lambda b: b.context_length)

    def architecture(self, system: str) -> Architecture | None:
        shape = load_shapes().get(self.report.systems[system].spec.model.id)
        return architecture_of(shape) if shape else None

    def sheet(self) -> HardwareSheet:
        """The machine as it measured itself: reached rates, not the vendor's."""
        reached = self.report.ceilings
        return sheet_for(
            name=self.device,
            kind=self.report.hardware.kind,
            memory_bytes=self.report.hardware.memory_bytes,
            flops=reached.matmul_flops if reached else None,
            bandwidth=reached.copy_bytes_per_s if reached else None,
        )


def main_stat(cell: Cell) -> Stat:
    return cell.times["ttft_ms" if cell.phase == "prefill" else "tpot_ms"]


@cache
def load_tables() -> dict[str, Table]:
    """By slug, the fullest first."""
    tables = [_load(path) for path in sorted(FOLDER.glob("*.json"))]
    return {t.slug: t for t in sorted(tables, key=lambda t: sum(not cell.failure for cell in t.cells), reverse=True)}


def _load(path: Path) -> Table:
    report = read_report(path)
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in report.cells:
        groups.setdefault((*cell.key, cell.filled), []).append(cell)
    return Table(path.stem, report, tuple(pool_cells(cells) for cells in groups.values()))
