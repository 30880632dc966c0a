"""What every figure of a claim is made with: the pair of Systems, the cap, and the figure with its device and day."""

from __future__ import annotations

from collections.abc import Callable

from longboard.literature.catalogue import Claim
from longboard.literature.measurements import Table
from longboard.literature.verdicts import Evidence
from longboard_tasks.intervals import ratio_interval
from longboard_tasks.suites.efficiency.report import Cell, Stat

GIB = 2**30
CAP = 24 * GIB
PAPER_LENGTH = 57_344
SSM, TRANSFORMER = "mamba2-780m", "qwen2.5-0.5b"  # the pair of the characterisation paper
CLASSES = ("H100", "A100", "4090", "H200", "Orin")  # hardware classes that papers name

Measure = Callable[[Claim, Table], Evidence | None]


def is_same_class(claim: Claim, device: str) -> bool:
    """Whether the device is of the class that the paper measured on."""
    return any(name in device and name in claim.paper_hardware for name in CLASSES)


def measured(
    claim: Claim, table: Table, stat: tuple[float, float, float], basis: str, *, scaled: bool = False,
    outcome: str | None = None,
) -> Evidence:  # fmt: skip
    value, low, high = stat
    return Evidence(
        value=value,
        low=min(low, high),
        high=max(low, high),
        basis=basis,
        hardware=table.device,
        measured_on=table.measured_on,
        same_class=is_same_class(claim, table.device),
        scaled=scaled,
        outcome=outcome,  # type: ignore[arg-type]  # one of its words
        url=f"/efficiency/{table.slug}/",
    )


def ratio_of(a: Stat, b: Stat) -> tuple[float, float, float]:
    """a / b with its interval."""
    return ratio_interval((b.value, b.low, b.high), (a.value, a.low, a.high))


def prefill_cell(table: Table, system: str, length: int, logits: str = "last") -> Cell | None:
    cell = table.find(system, "prefill", length, logits=logits)  # type: ignore[arg-type]  # one of its words
    return cell if cell and not cell.failure else None
