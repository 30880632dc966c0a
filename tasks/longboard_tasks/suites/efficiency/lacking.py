"""What a table still lacks: a request without that which reports of the same device have already. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from longboard_tasks.suites.efficiency.report import Report
from longboard_tasks.suites.efficiency.request import Part, Request


def lacking(requests: Sequence[Request], reports: Iterable[Report]) -> list[Request]:
    """The requests of first launches with only the rows that no report has; those that lack nothing are left out.

    Rows that failed for want of time are lacking; any other failure is a result. Launches beyond the first repeat cells to see
    whether launches agree: they are left out too.
    """
    reports = list(reports)
    return [left for request in requests if request.launch == 1 and (left := _left(request, reports)).parts]


def _left(request: Request, reports: Sequence[Report]) -> Request:
    has = _Rows(request.name, reports)
    lengths = tuple(n for n in request.lengths if not has.cell("prefill", n))
    decoded = tuple(n for n in request.decode_lengths or request.lengths if not has.cell("decode", n))
    full = tuple(n for n in request.full_lengths if not has.cell("prefill", n, logits="full"))
    broken_down = tuple(n for n in request.breakdown_lengths if not has.breakdown(n))
    limits = tuple(limit for limit in request.limits if limit not in has.limits)
    wanted: dict[Part, bool] = {
        "cells": bool(lengths or decoded),
        "slope": not has.slope,
        "energy": not has.energy(request.energy_length),
        "limits": bool(limits),
        "full_logits": bool(full),
        "breakdown": bool(broken_down),
        "batch": not all(has.cell(phase, request.batch_length, batch=request.batch) for phase in ("prefill", "decode")),
    }
    return request.model_copy(
        update={
            "parts": tuple(part for part in request.parts if wanted[part]),
            "lengths": lengths,
            "decode_lengths": decoded or lengths,  # none would mean: as `lengths`
            "full_lengths": full,
            "breakdown_lengths": broken_down,
            "limits": limits,
        }
    )


class _Rows:
    """What the reports have of one System."""

    def __init__(self, system: str, reports: Sequence[Report]) -> None:
        self._cells = [c for report in reports for c in report.cells if c.system == system]
        self._breakdowns = {
            (b.phase, b.context_length) for report in reports for b in report.breakdowns if b.system == system
        }
        self.slope = any(slope.system == system for report in reports for slope in report.slopes)
        self.limits = {
            (limit.reading, limit.logits, limit.cap_bytes)
            for report in reports
            for limit in report.limits
            if limit.system == system and limit.is_edge
        }

    def cell(self, phase: str, length: int, *, batch: int = 1, logits: str = "last") -> bool:
        """In any reading, held to no cap."""
        return any(
            (c.phase, c.context_length, c.batch, c.logits, c.cap_bytes) == (phase, length, batch, logits, None)
            and (c.failure is None or c.failure.kind != "no_time")
            for c in self._cells
        )

    def energy(self, length: int) -> bool:
        valid = {
            c.phase for c in self._cells if c.context_length == length and c.energy is not None and c.energy.is_valid
        }
        return valid == {"prefill", "decode"}

    def breakdown(self, length: int) -> bool:
        return {("prefill", length), ("decode", length)} <= self._breakdowns
