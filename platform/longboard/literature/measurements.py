"""The measurement files that ship with the suite, joined by device and pooled over launches, ready for pages and claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from longboard_tasks.architectures import Architecture
from longboard_tasks.costmodel import HardwareSheet, sheet_for
from longboard_tasks.families import architecture_of
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
    join_reports,
    read_report,
)
from longboard_tasks.suites.efficiency.spread import pool_cells

FOLDER = Path(efficiency.__path__[0]) / "measured"


@dataclass(frozen=True, slots=True)
class Table:
    """The reports of one device with every cell once. `slug` is the fullest file's name and its place in URLs."""

    slug: str
    report: Report
    cells: tuple[Cell, ...]
    days: tuple[str, ...]  # on which it was measured
    machines: int  # of how many machines the device was

    @property
    def device(self) -> str:
        return self.report.hardware.device

    @property
    def measured_on(self) -> str:
        return " and ".join(self.days)

    @property
    def systems(self) -> list[str]:
        """By name, so that a System stands beside its twin with our kernels."""
        return sorted(self.report.systems)

    @property
    def title(self) -> str:
        """What tells it from the other tables: a device can have several."""
        return f"{self.device}, {self.measured_on}"

    def is_ours(self, system: str) -> bool:
        """Whether it runs on our kernels."""
        return self.report.systems[system].spec.runtime.kernels == "longboard"

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
    """By slug, the fullest first. A file joins a fuller one of its device, unless they read a System in different ways."""
    found = [(path.stem, read_report(path)) for path in sorted(FOLDER.glob("*.json"))]
    found.sort(key=lambda one: sum(not cell.failure for cell in one[1].cells), reverse=True)
    groups: dict[str, list[Report]] = {}
    for slug, report in found:
        fuller = next((slug for slug, reports in groups.items() if all(_agree(report, r) for r in reports)), slug)
        groups.setdefault(fuller, []).append(report)
    return {slug: join_table(slug, reports) for slug, reports in groups.items()}


def _agree(one: Report, other: Report) -> bool:
    """The same device, and every System that both have was read alike: chunks make times that do not go into one row."""
    shared = one.systems.keys() & other.systems.keys()
    ways = [[(r.systems[s].spec, r.systems[s].chunk, r.systems[s].prefix_mode) for s in shared] for r in (one, other)]
    return one.hardware.device == other.hardware.device and ways[0] == ways[1]


def join_table(slug: str, reports: Sequence[Report]) -> Table:
    """Raises ValueError when the devices differ."""
    report = join_reports(reports)
    report = report.model_copy(update={"limits": one_limit_each(report.limits)})
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in report.cells:
        groups.setdefault((*cell.key, cell.filled), []).append(cell)
    days = sorted({f"{one.measured_at:%Y-%m-%d}" for one in reports})
    machines = {one.hardware.uuid_sha256 or slug for one in reports}
    return Table(slug, report, tuple(pool_cells(cells) for cells in groups.values()), tuple(days), len(machines))


def one_limit_each(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Of several searches for one limit the first that came to an edge, else the one that got furthest."""
    found: dict[tuple[object, ...], Limit] = {}
    for limit in limits:
        key = (limit.system, limit.reading, limit.logits, limit.cap_bytes)
        best = found.setdefault(key, limit)
        if not best.is_edge and (limit.is_edge or limit.tokens > best.tokens):
            found[key] = limit
    return tuple(found.values())
